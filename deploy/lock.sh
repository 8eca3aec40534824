#!/bin/sh
# Writes the locks anew: every version pinned, every file hashed, no address in them.
# The resolver lives in an environment of its own that is thrown away.
#   requirements.lock          everything, for those who work on the gateway
#   requirements.runtime.lock  what runs, for images; the same versions
#   requirements.build.lock    what makes the wheel; the same versions
set -eu

cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check uv

compile() {
    "$scratch/venv/bin/uv" pip compile --quiet --generate-hashes --universal --python-version 3.11 \
        --no-header --no-annotate --no-emit-index-url --no-emit-find-links "$@"
}

compile pyproject.toml --all-extras "$@" -o requirements.lock
compile pyproject.toml --constraint requirements.lock -o requirements.runtime.lock
printf 'hatchling\n' >"$scratch/build.in"
compile "$scratch/build.in" --constraint requirements.lock -o requirements.build.lock
if grep -n '://' requirements*.lock; then
    echo "lock: an address got into a lock" >&2
    exit 1
fi

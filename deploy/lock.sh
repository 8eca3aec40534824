#!/bin/sh
# Writes requirements.lock anew: every version pinned, every file hashed, no address in it.
# The resolver lives in an environment of its own that is thrown away.
set -eu

cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check uv
"$scratch/venv/bin/uv" pip compile pyproject.toml --quiet --all-extras --generate-hashes \
    --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url \
    --no-emit-find-links "$@" -o requirements.lock
if grep -n '://' requirements.lock; then
    echo "lock: an address got into requirements.lock" >&2
    exit 1
fi

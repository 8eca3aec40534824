#!/bin/sh
# Writes the lock files: every version pinned, every file hashed, no URL in them.
# The resolver runs in a temporary environment.
#   requirements.lock          all dependencies, for development
#   requirements.runtime.lock  dependencies of the image; the same versions
#   requirements.build.lock    dependencies of building the wheel; the same versions
#   requirements.site.lock     the generator of the documentation's site (docs/site/build.sh)
# clients/typescript/package-lock.json is npm's; its addresses are removed here.
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
printf 'furo\nmyst-parser\nsphinx\n' >"$scratch/site.in"
compile "$scratch/site.in" -o requirements.site.lock
# npm notes where to give money; the file is not written again, so that no version changes here.
"${PYTHON:-python3}" - clients/typescript/package-lock.json <<'EOF'
import json, sys
from pathlib import Path

file = Path(sys.argv[1])
lock = json.loads(file.read_text(encoding="utf-8"))
for package in lock["packages"].values():
    package.pop("funding", None)
file.write_text(json.dumps(lock, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
EOF
if grep -n '://' requirements*.lock clients/typescript/package-lock.json; then
    echo "lock: a lock file contains a URL" >&2
    exit 1
fi

#!/bin/sh
# Builds the documentation as a static site in build/site. Any warning is an error: a link to a page,
# a heading or a file that does not exist.
# The generator has an environment of its own, build/site-venv, from requirements.site.lock.
# Exit code 3: the environment could not be installed, and nothing was built.
set -eu

cd "$(dirname "$0")/../.."
venv=build/site-venv
stamp=$venv/.installed
wanted=$(cksum <requirements.site.lock)

if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    {
        .venv/bin/python -m venv --clear --without-pip "$venv" &&
            .venv/bin/python -m pip --disable-pip-version-check --python "$venv/bin/python" install --quiet \
                --no-deps --no-compile --require-hashes --only-binary :all: -r requirements.site.lock
    } || {
        echo "site: skipped: requirements.site.lock could not be installed" >&2
        exit 3
    }
    printf '%s\n' "$wanted" >"$stamp"
fi

rm -rf build/site
"$venv/bin/sphinx-build" --quiet --fresh-env --fail-on-warning --keep-going --nitpicky --builder html \
    --conf-dir docs/site --doctree-dir build/site-doctrees . build/site
echo "site: build/site/index.html"

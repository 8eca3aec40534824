#!/bin/sh
# Makes .venv/ with the `gateway` command in it, from requirements.lock and nothing else.
# Needs Python 3.11 or newer and pip; a second call finds its stamp and does nothing.
set -eu

cd "$(dirname "$0")/.."
venv=.venv
stamp=$venv/.installed

fail() {
    printf 'install: %s\n' "$*" >&2
    exit 1
}

# A name on PATH is not enough: version managers leave stand-ins that do not run.
runs() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        runs "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.11 or newer"
        printf '%s\n' "$PYTHON"
        return
    fi
    for name in python3.13 python3.12 python3.11 python3; do
        if runs "$name"; then
            printf '%s\n' "$name"
            return
        fi
    done
    fail "no Python 3.11 or newer found; on Debian or Ubuntu: apt-get install python3 python3-pip"
}

# What the environment was made from and where: a moved checkout has scripts that point nowhere.
wanted() {
    cat requirements.lock pyproject.toml deploy/install.sh | cksum
    pwd -P
    printf '%s\n' "${PYTHON:-any}"
}

make_venv() {
    if "$python" -c 'import ensurepip' >/dev/null 2>&1; then
        "$python" -m venv --clear "$venv"
        return
    fi
    # Debian keeps ensurepip in python3-venv; without it the system's pip fills the environment.
    "$python" -m pip --version >/dev/null 2>&1 ||
        fail "$python has neither ensurepip nor pip; on Debian or Ubuntu: apt-get install python3-venv"
    "$python" -m venv --clear --without-pip "$venv"
}

pip() {
    if "$venv/bin/python" -c 'import pip' >/dev/null 2>&1; then
        "$venv/bin/python" -m pip --disable-pip-version-check "$@"
    else
        "$python" -m pip --disable-pip-version-check --python "$venv/bin/python" "$@"
    fi
}

if [ -f "$stamp" ] && runs "$venv/bin/python" && [ "$(cat "$stamp")" = "$(wanted)" ]; then
    exit 0
fi
python=$(find_python)
rm -f "$stamp"
if ! runs "$venv/bin/python" || [ -n "${PYTHON:-}" ]; then
    echo "install: making $venv"
    make_venv
fi
echo "install: filling $venv from requirements.lock"
pip install --quiet --require-hashes --only-binary :all: -r requirements.lock
# The build backend came by the lock too, so that nothing unhashed is fetched.
pip install --quiet --no-deps --no-build-isolation --editable .
wanted >"$stamp"
echo "install: done; the command is $venv/bin/gateway"

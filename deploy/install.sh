#!/bin/sh
# Creates .venv/ with the `gateway` command, from requirements.lock only.
# Needs Python 3.11 or newer and pip. Does nothing if .venv/ is up to date.
set -eu

cd "$(dirname "$0")/.."
venv=.venv
stamp=$venv/.installed

fail() {
    printf 'install: %s\n' "$*" >&2
    exit 1
}

# Being on PATH is not enough: version managers install shims that fail when called.
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

# Print what .venv depends on. The path too: scripts of a moved checkout have a wrong interpreter.
inputs() {
    cat requirements.lock pyproject.toml deploy/install.sh | cksum
    pwd -P
    printf '%s\n' "${PYTHON:-any}"
}

make_venv() {
    if "$python" -c 'import ensurepip' >/dev/null 2>&1; then
        "$python" -m venv --clear "$venv"
        return
    fi
    # Debian ships ensurepip in python3-venv; without it the system's pip installs into .venv.
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

# Print a line for every twentieth package in place of pip's own lines.
progress() {
    awk -v total="$1" '
        /^Collecting |^Requirement already satisfied/ { if (++n % 20 == 0) print "install: " n " of " total }
        /^Installing collected packages/ { print "install: unpacking" }
        { fflush() }'
}

if [ -f "$stamp" ] && runs "$venv/bin/python" && [ "$(cat "$stamp")" = "$(inputs)" ]; then
    exit 0
fi
python=$(find_python)
rm -f "$stamp"
if ! runs "$venv/bin/python" || [ -n "${PYTHON:-}" ]; then
    echo "install: creating $venv"
    make_venv
fi
total=$(grep -c '^[a-zA-Z0-9]' requirements.lock)
echo "install: installing $total packages of requirements.lock; a minute or two"
done=$(mktemp)
trap 'rm -f "$done"' EXIT
# The lock is complete, so that pip need not resolve; bytecode is written by the first run.
{
    PYTHONUNBUFFERED=1 pip install --no-deps --no-compile --progress-bar off --require-hashes \
        --only-binary :all: -r requirements.lock && echo yes >"$done"
} | progress "$total"
[ -s "$done" ] || fail "pip could not install requirements.lock"
# The build backend is in the lock too, so that nothing without a hash is fetched.
pip install --quiet --no-deps --no-build-isolation --editable .
inputs >"$stamp"
echo "install: done; the command is $venv/bin/gateway"

#!/bin/sh
# Brings .venv up to requirements/dev.lock, every file checked against its hash, and installs the project into it.
# Nothing is done, and no network is needed, while lock, project and place are the ones installed last.
set -eu
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
stamp=.venv/paymesh-installed

fail() {
    printf 'paymesh: %s\n' "$1" >&2
    exit 1
}

check_python() {
    command -v "$python" >/dev/null 2>&1 ||
        fail "there is no $python here. Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.12"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$python is $("$python" -V 2>&1); Paymesh needs 3.11 or newer. Name another: make PYTHON=python3.12"
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "$python cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv"
}

make_venv() {
    if .venv/bin/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        return
    fi
    check_python
    echo "Making .venv with $("$python" -V 2>&1)"
    rm -rf .venv
    "$python" -m venv .venv || fail "$python could not make .venv (see above)"
}

pip() {
    .venv/bin/python -m pip --disable-pip-version-check --no-input -qq "$@"  # -qq: errors only
}

wanted() {
    pwd
    cat requirements/dev.lock pyproject.toml
}

if [ -x .venv/bin/python ] && .venv/bin/python -c '' 2>/dev/null && wanted | cmp -s - "$stamp"; then
    exit 0
fi
make_venv
rm -f "$stamp"
if ! cmp -s requirements/dev.lock .venv/paymesh-locked; then
    echo "Installing the locked requirements into .venv; this takes a minute or two, once"
    pip install --require-hashes --no-deps -r requirements/dev.lock || fail "the requirements were not installed (see above)"
    cp requirements/dev.lock .venv/paymesh-locked
fi
pip install --no-deps --no-build-isolation -e . || fail "the project was not installed (see above)"
wanted >"$stamp"

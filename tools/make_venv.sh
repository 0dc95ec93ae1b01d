#!/bin/sh
# Makes $VENV from $PYTHON, or from the first Python >= 3.11 on the PATH.
set -eu

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

if [ -z "${PYTHON:-}" ]; then
    for candidate in python3 python3.13 python3.12 python3.11 python3.14 python; do
        if new_enough "$candidate"; then
            PYTHON=$candidate
            break
        fi
    done
fi
if [ -z "${PYTHON:-}" ] || ! new_enough "$PYTHON"; then
    echo "poolkit needs Python >= 3.11; none found. Name one: make PYTHON=/path/to/python3 ..." >&2
    exit 1
fi
if ! "${CXX:-c++}" --version >/dev/null 2>&1; then
    echo "poolkit compiles a C++20 core, and there is no C++ compiler. On Debian: apt install g++" >&2
    exit 1
fi
if ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "$PYTHON cannot make virtual environments. On Debian: apt install python3-venv python3-dev" >&2
    exit 1
fi
if ! "$PYTHON" -c 'import sysconfig, pathlib, sys; sys.exit(not (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists())'; then
    echo "Python.h, which the compiled core needs, is missing for $PYTHON. On Debian: apt install python3-dev" >&2
    exit 1
fi
"$PYTHON" -m venv "$VENV"

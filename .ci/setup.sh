#!/usr/bin/env bash
# Make the virtual environment $VENV with $PYTHON and install the package there, as `setup.sh .` or
# `setup.sh '.[dev]'`. Safe to repeat: it mends what an interrupted call left.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v "$PYTHON" >/dev/null; then
    echo "error: no '$PYTHON' on the PATH: name a Python 3.10 or newer, e.g. make PYTHON=/usr/bin/python3.11" >&2
    exit 2
fi
if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    echo "error: $("$PYTHON" --version 2>&1) is too old, 3.10 or newer is needed: make PYTHON=/path/to/python3.11" >&2
    exit 2
fi

say() { echo "[setup] $*"; }
# onedl-mmcv is a source package. In pip's isolated build there is no torch, so that it installs as pure
# Python in seconds; without isolation it would compile for many minutes what is not needed here.
unset PIP_NO_BUILD_ISOLATION
install() { "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt "$@"; }

# A call that was cut short leaves this mark, and maybe half a package that pip takes for whole.
mark="$VENV/.setup-under-way"
if [ -e "$mark" ] || ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
    if [ -n "$(ls -A "$VENV" 2>/dev/null)" ] && [ ! -e "$VENV/pyvenv.cfg" ]; then
        echo "error: $VENV is not empty and no virtual environment: name another folder, make VENV=.venv" >&2
        exit 2
    fi
    say "making $VENV with $("$PYTHON" --version)"
    "$PYTHON" -m venv --clear "$VENV"
fi
touch "$mark"
say "installing torch (1 of 3)"
install torch
say "installing convnext-dense and what it needs (2 of 3)"
install -e "$1"
# Two dependencies ask for opencv-python and opencv-python-headless, which write the same files. The one
# installed last wins; only the headless one loads on a server without libGL.
say "installing OpenCV without a window system (3 of 3)"
install --force-reinstall --no-deps opencv-python-headless

if ! "$VENV/bin/python" -c 'import cv2, torch, convnext_dense.register'; then
    echo "error: the installed libraries do not load. See above; 'make clean' and a second try starts afresh" >&2
    exit 1
fi
rm "$mark"
say "done"

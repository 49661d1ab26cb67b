#!/bin/sh
# Builds the kernel and installs it for PYTHON, where this machine can; else says what is slower without it.
#
#   kernel/install.sh PYTHON STAMP
#
# STAMP is touched when the kernel is installed. What cannot be built is no failure: the same is computed in Python.
set -eu
python=$1
stamp=$2
folder=$(cd "$(dirname "$0")" && pwd) # a name without a slash would be a package of the registry
slower="records are digested in Python, about ten times as slowly"

include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
if ! command -v "${CC:-gcc}" >/dev/null 2>&1 || ! [ -e "$include/Python.h" ]; then
    echo "cenotaph: no gcc or no headers of Python (apt-get install gcc python3-dev): $slower" >&2
elif "$python" -m pip --disable-pip-version-check --quiet install --force-reinstall --no-deps --no-build-isolation "$folder"; then
    touch "$stamp"
else
    echo "cenotaph: the kernel could not be built: $slower" >&2
fi

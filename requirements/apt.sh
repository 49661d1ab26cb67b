#!/bin/sh
# Installs the Debian packages of commands that this machine lacks; does nothing, quickly, when all are there.
#
#   requirements/apt.sh COMMAND:PACKAGE… [-- COMMAND:PACKAGE…]
#
# What stands before `--` is needed: without it, and without the right to install it, this fails and says what to
# install. What stands after it is optional: the tests that use it skip and say so. COMMAND may be
# `PYTHON+MODULE`: the interpreter PYTHON must be able to import MODULE; or the absolute path of a file.
set -eu
PATH=$PATH:/usr/sbin:/sbin
export PATH

have() {
    case $1 in
    /*) [ -e "$1" ] ;;
    *+*) "${1%%+*}" -c "import ${1#*+}" >/dev/null 2>&1 ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

needed=
optional=
list=needed
for pair in "$@"; do
    if [ "$pair" = -- ]; then
        list=optional
    elif ! have "${pair%%:*}"; then
        eval "$list=\"\$$list \${pair#*:}\""
    fi
done
[ -n "$needed$optional" ] || exit 0

root=
if [ "$(id -u)" -ne 0 ]; then
    if sudo -n true 2>/dev/null; then root=sudo; else root=none; fi
fi
if [ "$root" = none ] || ! command -v apt-get >/dev/null 2>&1; then
    [ -z "$optional" ] || echo "cenotaph: not installed, so some tests will skip:$optional" >&2
    [ -n "$needed" ] || exit 0
    echo "cenotaph: error: this machine lacks:$needed" >&2
    echo "cenotaph: hint: as root: apt-get install$needed" >&2
    exit 1
fi

install() {
    $root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "$@" >&2
}

echo "cenotaph: installing with apt-get:$needed$optional" >&2
$root apt-get update --quiet >&2
# shellcheck disable=SC2086 # lists of words
[ -z "$needed" ] || install $needed
# shellcheck disable=SC2086
[ -z "$optional" ] || install $optional || echo "cenotaph: could not install, so some tests will skip:$optional" >&2

#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# The demo's door: sees that fio and python3 are there, then hands over.
#   LIB=path/to/libaio_shim.so sh examples/demo.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)

missing=
for program in fio python3 "${CC:-cc}"; do
    # CC may hold options ("gcc -m64"): its first word is the program.
    command -v "${program%% *}" >/dev/null 2>&1 || missing="$missing ${program%% *}"
done

if [ -n "$missing" ]; then
    packages=$(echo "$missing" | sed -E 's/ (cc|gcc)( |$)/ gcc\2/')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "installing$packages"
        apt-get -qq update
        # shellcheck disable=SC2086 # one word a package
        DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $packages >/dev/null
    else
        echo "demo: missing:$missing" >&2
        echo "demo: install it first, for example: sudo apt-get install$packages (or dnf, pacman, zypper)" >&2
        exit 1
    fi
fi

export PYTHONDONTWRITEBYTECODE=1 # nothing is left in the source tree
exec python3 "$here/demo.py" "$@"

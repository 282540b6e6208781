#!/bin/sh
# Compares the table of symbolize/python/abi.c with CPython's own headers: check_abi.sh [INCLUDE...]
#
# INCLUDE is a folder with Python.h and internal/; without one, all that are found are taken: pyenv's, the system's, and
# those in chroots that make_chroots.sh has made. Status 1 if one differs, 77 if there are none.
set -eu
cd "$(dirname "$0")/../.."
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT

if [ $# = 0 ]; then
	for each in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/include/python3.* /usr/include/python3.* \
		"${BUILD:-build}"/chroots/*/usr/include/python3.*; do
		case $each in
		*/python3.[0-7] | */python3.[0-7]m) ;; # too old
		*t) ;; # free-threaded
		*) [ ! -d "$each/internal" ] || set -- "$@" "$each" ;;
		esac
	done
fi
if [ $# = 0 ]; then
	echo "no CPython headers (Python.h and internal/) were found"
	exit 77
fi

status=0
for include in "$@"; do
	# Debian's pyconfig.h includes another one by its path from /usr/include.
	if ${CC:-gcc} -w -std=gnu11 -I. -I"$include" -I"$include/internal" -idirafter "$(dirname "$include")" \
		-o "$temporary/check_abi" tests/pythons/check_abi.c symbolize/python/abi.c \
		-Wl,--unresolved-symbols=ignore-all && "$temporary/check_abi"; then
		echo "ok $include"
	else
		echo "FAILED $include"
		status=1
	fi
done
exit $status

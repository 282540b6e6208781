#!/bin/sh
# Makes a Debian with CPython 3.14 and 3.15 in a folder: make_chroots.sh DIR
#
# For MEMLINE_CHROOT and enter_chroot.sh. Needs root, mmdebstrap, a Debian mirror and some 700 MB; does nothing where it
# has been done. The headers are for check_abi.sh.
set -eu
dir=${1:?usage: make_chroots.sh DIR}
suite=forky
packages=python3.14,python3.15,libpython3.14-dev,libpython3.15-dev,libpython3.14-testsuite,libpython3.15-testsuite

if [ -x "$dir/usr/bin/python3.14" ] && [ -x "$dir/usr/bin/python3.15" ]; then
	exit 0
fi
if [ "$(id -u)" != 0 ]; then
	echo "make_chroots.sh: only root can make and enter a chroot" >&2
	exit 2
fi
if ! command -v mmdebstrap >/dev/null; then
	echo "make_chroots.sh: mmdebstrap is missing: apt-get install mmdebstrap" >&2
	exit 2
fi

mkdir -p "$(dirname "$dir")"
unfinished=$(mktemp -d "$dir.XXXXXX")
trap 'rm -rf "$unfinished"' EXIT
chmod 755 "$unfinished"
# The mirror may be a snapshot, whose index says that it is out of date.
mmdebstrap --mode=root --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' --include="$packages" \
	"$suite" "$unfinished"
rm -rf "$dir"
mv "$unfinished" "$dir"
trap - EXIT

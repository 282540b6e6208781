#!/bin/sh
# Makes Debians with other CPythons in folders: make_chroots.sh DIR SUITE...
#
# Each becomes DIR/SUITE, for MEMLINE_CHROOT and enter_chroot.sh:
#	forky		3.14 and 3.15, and PyPy; glibc 2.43
#	trixie		3.13; glibc 2.41
#	bullseye	3.9; glibc 2.31, the oldest that memline runs with
#
# Needs root, mmdebstrap, a Debian mirror and 300 to 800 MB for each; does nothing where it has been done. The -dev
# packages have the headers for check_abi.sh and the shared libraries for the programs that embed CPython. Where the C
# library is older than it may be here there is a compiler too, for the objects and programs of the tests.
set -eu
dir=${1:?usage: make_chroots.sh DIR SUITE...}
shift

cpython() {
	echo "python$1,libpython$1-dev,libpython$1-testsuite"
}

packages() {
	case $1 in
	forky) echo "$(cpython 3.14),$(cpython 3.15),pypy3" ;;
	trixie) cpython 3.13 ;;
	bullseye) echo "$(cpython 3.9),gcc" ;;
	*)
		echo "make_chroots.sh: no packages are known for $1" >&2
		exit 2
		;;
	esac
}

make_chroot() {
	include=$(packages "$1")
	if [ "$(id -u)" != 0 ]; then
		echo "make_chroots.sh: only root can make and enter a chroot" >&2
		exit 2
	fi
	if ! command -v mmdebstrap >/dev/null; then
		echo "make_chroots.sh: mmdebstrap is missing: apt-get install mmdebstrap" >&2
		exit 2
	fi
	unfinished=$(mktemp -d "$dir/$1.XXXXXX")
	trap 'rm -rf "$unfinished"' EXIT
	chmod 755 "$unfinished"
	# The mirror may be a snapshot, whose index says that it is out of date.
	mmdebstrap --mode=root --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' --include="$include" \
		"$1" "$unfinished"
	mv "$unfinished" "$dir/$1"
	trap - EXIT
}

mkdir -p "$dir"
for suite; do
	[ -d "$dir/$suite" ] || make_chroot "$suite"
done

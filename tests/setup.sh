#!/bin/sh
# Installs what a task needs on Debian or Ubuntu: setup.sh demo|check
#
# Does nothing where all is there. Installs with apt-get as root or with a sudo that asks for no password; otherwise
# prints the one line to type and exits 2. What is optional is installed if it can be; a test that misses it is skipped
# and says so.
task=${1:-check}
needed='' optional=''

# need COMMAND PACKAGES...: the packages are needed where the shell command fails.
need() {
	probe=$1
	shift
	sh -c "$probe" >/dev/null 2>&1 || needed="$needed $*"
}

want() {
	probe=$1
	shift
	sh -c "$probe" >/dev/null 2>&1 || optional="$optional $*"
}

header() {
	echo "echo '#include <$1>' | \${CC:-gcc} -E -x c -"
}

python=${PYTHON:-/usr/bin/python3}

need 'command -v gcc' gcc
need "$(header stdlib.h)" libc6-dev
need "$(header jansson.h)" libjansson-dev
need "$(header elfutils/libdwfl.h)" libdw-dev
need "$(header libiberty/demangle.h)" libiberty-dev
need "$(header protobuf-c/protobuf-c.h)" libprotobuf-c-dev
need 'command -v protoc-c' protobuf-c-compiler
need "$(header zlib.h)" zlib1g-dev
need "$(header zstd.h)" libzstd-dev
need "command -v $python" python3
want "$python -c 'import pip'" python3-pip
if [ "$task" = check ]; then
	need 'command -v g++' g++
	need 'command -v clang' clang
	need 'command -v readelf && command -v objdump' binutils
	need 'command -v pkg-config' pkg-config
	need 'pkg-config --exists check' check
	need "$python -c 'import pytest'" python3-pytest
	want "$python -c 'import xdist'" python3-pytest-xdist
	want 'command -v xz' xz-utils
	want 'command -v shellcheck' shellcheck
	want 'command -v valgrind' valgrind
	want 'command -v clang-format' clang-format
	want 'command -v flamegraph.pl || ls /usr/share/perl5/Devel/NYTProf/flamegraph.pl' libdevel-nytprof-perl
	want 'command -v zsh' zsh
	want 'command -v go' golang-go
	want 'command -v aarch64-linux-gnu-gcc' gcc-aarch64-linux-gnu libc6-dev-arm64-cross
fi

tried=${BUILD:-build}/optional-packages-tried-$task
[ -e "$tried" ] && optional=''
[ -z "$needed$optional" ] && exit 0

as_root=''
if [ "$(id -u)" != 0 ]; then
	as_root='sudo -n'
	sudo -n true 2>/dev/null || as_root=none
fi
if [ "$as_root" = none ] || ! command -v apt-get >/dev/null; then
	[ -z "$needed" ] && exit 0
	echo "memline needs packages that are not installed. Type this, then try again:" >&2
	echo "    sudo apt-get install -y$needed" >&2
	exit 2
fi

install_packages() {
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

$as_root apt-get update
# shellcheck disable=SC2086 # lists of words
if [ -n "$needed" ]; then
	install_packages $needed || exit 2
fi
# One by one: a package that this distribution does not have takes no other with it.
for package in $optional; do
	install_packages "$package" || echo "memline: going on without $package" >&2
done
[ -z "$optional" ] || { mkdir -p "${BUILD:-build}" && touch "$tried"; }

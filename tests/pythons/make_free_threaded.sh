#!/bin/sh
# Builds a free-threaded CPython from Debian's sources: make_free_threaded.sh DIR
#
# It is installed in DIR, for tests/interpreters.py. Needs apt-get, a Debian mirror, debian-archive-keyring, a compiler,
# the headers of libffi and zlib, 500 MB and some minutes; does nothing where it has been done.
set -eu
dir=${1:?usage: make_free_threaded.sh DIR}
[ ! -x "$dir/bin/python3" ] || exit 0

mkdir -p "$(dirname "$dir")"
dir=$(cd "$(dirname "$dir")" && pwd)/$(basename "$dir")
work=$(mktemp -d "$dir.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

# An apt of its own, which knows of Debian's sources alone. The mirror may be a snapshot, whose index is out of date.
apt_get() {
	apt-get -o Dir::State="$work/state" -o Dir::Cache="$work/cache" -o Dir::Etc::sourcelist="$work/sources.list" \
		-o Dir::Etc::sourceparts=- -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User=root "$@"
}

mkdir -p state/lists/partial cache/archives/partial
for suite in forky trixie; do
	echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $suite main"
done >sources.list
apt_get update
fetch() {
	apt_get source --download-only --tar-only "$1"
}
fetch python3.14 || fetch python3.13

mkdir source
tar xf python3.*.orig.tar.xz -C source --strip-components=1
cd source
./configure -q --disable-gil --enable-shared --without-ensurepip --prefix="$dir" \
	CFLAGS=-g0 LDFLAGS="-Wl,-rpath,$dir/lib"
make -s -j"$(nproc)" >/dev/null
make -s install DESTDIR="$work/installed" >/dev/null
rm -rf "$dir"
mv "$work/installed$dir" "$dir"

#!/bin/sh
# Records tests/demo/app.py as anyone would record a program of theirs, then prints its table and its summary.
cd "$(dirname "$0")/../.." || exit 2
build=$(pwd)/${BUILD:-build}
python=${PYTHON:-/usr/bin/python3}
traces=$(mktemp -d) || exit 1
trap 'rm -rf "$traces"' EXIT

say() {
	printf '\n$ %s\n' "$*"
}

say "LD_PRELOAD=build/libmemline.so MEMLINE_DIR=$traces $python tests/demo/app.py"
LD_PRELOAD=$build/libmemline.so MEMLINE_DIR=$traces "$python" tests/demo/app.py || exit
say "build/memline report $traces"
"$build/memline" report "$traces" || exit
say "build/memline summary $traces"
"$build/memline" summary "$traces"

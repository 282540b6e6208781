#!/bin/sh
# Records the howto's functions under the Azure Functions worker, or, where that cannot be installed, tests/demo/app.py,
# as anyone would record a program of theirs. Prints the table and the summary.
cd "$(dirname "$0")/../.." || exit 2
build=$(pwd)/${BUILD:-build}
python=${PYTHON:-/usr/bin/python3}
folder=$(mktemp -d) || exit 1
traces=$folder/traces
trap 'rm -rf "$folder"' EXIT

say() {
	printf '\n$ %s\n' "$*"
}

"$python" tests/functions/demo.py "$folder"
status=$?
if [ $status = 77 ]; then
	echo "The Azure Functions worker cannot be had here, so this is a plain program."
	say "LD_PRELOAD=build/libmemline.so MEMLINE_DIR=$traces $python tests/demo/app.py"
	LD_PRELOAD=$build/libmemline.so MEMLINE_DIR=$traces "$python" tests/demo/app.py
	status=$?
fi
[ $status = 0 ] || exit $status
say "build/memline report $traces"
"$build/memline" report "$traces" || exit
say "build/memline summary $traces"
"$build/memline" summary "$traces"

#!/bin/sh
# Runs a command in a chroot that sees this project, /tmp, /proc and /dev where they are outside:
#
#	enter_chroot.sh DIR COMMAND [ARGUMENT...]
#
# The command keeps the environment, the working folder, and this script's pid. Its mounts end with it. Needs root.
set -eu
if [ "$1" != --mounted ]; then
	exec unshare --mount --propagation private "$0" --mounted "$@"
fi
shift
dir=$1
shift
if [ ! -x "$dir/bin/sh" ]; then
	echo "enter_chroot.sh: no system is in $dir" >&2
	exit 2
fi
project=$(cd "$(dirname "$0")/../.." && pwd)

for each in /proc /dev /tmp "$project"; do
	mkdir -p "$dir$each"
	mount --rbind "$each" "$dir$each" # with what is mounted in there
done
# shellcheck disable=SC2016 # for the shell inside
exec chroot "$dir" /bin/sh -c 'cd "$0" && exec "$@"' "$PWD" "$@"

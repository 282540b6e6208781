#!/bin/sh
# check_object.sh OBJECT [EXPORTS]: whether a built libmemline.so can be preloaded into any program. Prints what is
# wrong with it; exit status 1 if anything is. EXPORTS: the version script that lists what it interposes.
object=$1
exports=${2:-$(dirname "$0")/../../preload/exports.map}
readelf=${READELF:-readelf}
export LC_ALL=C

if [ ! -f "$object" ] || [ ! -f "$exports" ]; then
	echo "usage: check_object.sh OBJECT [EXPORTS]" >&2
	exit 2
fi

# All that it may ask of libc: what neither allocates nor locks nor prints nor reads the locale, and may be called
# before libc's constructors have run, in any allocator hook. dl_iterate_phdr takes the loader's recursive lock.
allowed='
memchr memcmp bcmp memcpy memmove memset
strchr strcmp strcspn strlen strncmp strnlen strrchr strspn strstr
dl_iterate_phdr getauxval __getauxval clock_gettime pthread_self __errno_location environ __environ __register_atfork
__cxa_finalize __gmon_start__ _ITM_registerTMCloneTable _ITM_deregisterTMCloneTable
'

# The newest glibc whose symbols it may ask for.
newest=2.31

dynamic=$($readelf -dW "$object") || exit 2
symbols=$($readelf --dyn-syms -W "$object" | awk '$1 ~ /^[0-9]+:$/ && NF >= 8 { print $5, $6, $7, $8 }')
segments=$($readelf -lW "$object")
relocations=$($readelf -rW "$object")

# Everything that is printed here is a complaint.
complaints() {
	# Needed libraries and search paths.
	echo "$dynamic" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -vxF libc.so.6 |
		sed 's/^/needs another library: /'
	echo "$dynamic" | grep -E '\((RPATH|RUNPATH)\)' | sed 's/^/has a search path: /'

	# Versions of undefined symbols.
	echo "$symbols" | awk '$3 == "UND" && $4 ~ /@/ { print $4 }' | awk -F@ -v newest="$newest" '
		function newer(a, b,   x, y) {
			split(a, x, "."); split(b, y, ".")
			return x[1] + 0 != y[1] + 0 ? x[1] + 0 > y[1] + 0 : x[2] + 0 > y[2] + 0
		}
		$2 !~ /^GLIBC_[0-9.]+$/ { print "asks for a version that is not of glibc: " $0; next }
		newer(substr($2, 7), newest) { print "asks for a glibc newer than " newest ": " $0 }'
	$readelf -VW "$object" | sed -n 's/.* Name: \(GLIBC_ABI_[A-Z0-9_]*\).*/asks for a newer loader: \1/p'

	# Imported functions.
	echo "$symbols" | awk -v allowed="$allowed" '
		BEGIN { n = split(allowed, name); for (i = 1; i <= n; i++) ok[name[i]] = 1 }
		$3 != "UND" || $4 == "" { next }
		{ sub(/@.*/, "", $4) }
		!($4 in ok) { print "imports what it should not: " $4 }'

	# Exported symbols: those of the version script, and every one of them.
	echo "$symbols" | awk '$3 != "UND" && $3 != "ABS" && $1 != "LOCAL" { sub(/@.*/, "", $4); print $4 }' |
		sort -u >"$tmp/defined"
	sed 's|/\*.*\*/||' "$exports" | tr ';' '\n' | tr -d ' \t{}' |
		awk '/^global:/ { on = 1; sub(/global:/, "") } /^local:/ { on = 0 } on && $0 != ""' |
		sort -u >"$tmp/wanted"
	[ -s "$tmp/wanted" ] || echo "$exports names nothing"
	comm -23 "$tmp/defined" "$tmp/wanted" | sed 's/^/exports what it should not: /'
	comm -13 "$tmp/defined" "$tmp/wanted" | sed 's/^/does not export: /'

	# Thread-local storage by the initial-exec model alone: any other may allocate on first use.
	if echo "$relocations" | grep -qE 'R_[A-Z0-9_]*(DTPMOD|TLSDESC)'; then
		echo "reaches thread-local storage by another model than initial-exec"
	fi

	# Text and stack.
	echo "$dynamic" | grep -q TEXTREL && echo "has relocations in its text"
	echo "$dynamic" | grep -qE 'BIND_NOW|FLAGS_1.* NOW' ||
		echo "is bound lazily: the loader would run inside a hook"
	stack=$(echo "$segments" | awk '$1 == "GNU_STACK" { print $7 $8 }')
	case $stack in
	RW | RW0x*) ;;
	'') echo "does not say that its stack needs not be executable" ;;
	*) echo "asks for an executable stack" ;;
	esac
	echo "$segments" | awk '$1 == "LOAD" && /RWE/ { print "has a segment that is writable and executable" }'
	echo "$segments" | grep -q GNU_RELRO || echo "leaves its relocated data writable (no RELRO)"
}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
complaints >"$tmp/complaints"
sed "s|^|$object: |" "$tmp/complaints"
[ ! -s "$tmp/complaints" ]

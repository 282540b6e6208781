#!/bin/sh
# What a compiler does not check: layers, names, lengths. Prints every offence; exit status 1 if there is one.
cd "$(dirname "$0")/.." || exit 2
build=${BUILD:-build}
offences=$(mktemp)
trap 'rm -f "$offences"' EXIT

# offence TEXT: every line of standard input is one, reported with TEXT.
offence() {
	awk -v text="$1" '{ print $0 "    <- " text }' >>"$offences"
}

sources() {
	find "$@" -name '*.[ch]' | sort
}

# may_include FOLDER ALLOWED: quoted includes of the folder match the extended expression ALLOWED.
may_include() {
	sources "$1" | xargs -r grep -nE '^#include "' /dev/null | grep -vE "#include \"($2)\"" |
		offence "$1/ may not include this"
}

may_include trace 'trace/[a-z_]+\.h'
may_include symbolize '(trace/[a-z_]+|symbolize/((python|native)/)?[a-z_]+)\.h'
in_process='symbolize/(readable|python/(abi|walk|code)|native/(modules|unwind))'
may_include preload "(trace/[a-z_]+|preload/[a-z_]+|$in_process)\.h"
may_include report '(trace/[a-z_]+|report/[a-z_]+(\.pb-c)?|symbolize/(python/lines|native/(dwarf|cache)))\.h'

# only_in EXPRESSION PATHS: system headers that match may be included under these paths alone.
only_in() {
	sources trace symbolize preload report tests | xargs grep -nE "^#include <($1)>" | grep -vE "^($2)" |
		offence "to be included under $2 alone"
}

only_in 'Python\.h|internal/pycore.*' 'tests/'
only_in 'dwarf\.h|elfutils/.*|libelf\.h|gelf\.h' 'symbolize/native/dwarf|tests/'
only_in 'libiberty/.*' 'symbolize/native/demangle|tests/'
only_in 'libunwind.*' 'tests/'
only_in 'zstd\.h' 'report/pack|tests/'
only_in 'zlib\.h' 'report/export_pprof|tests/'
only_in 'jansson\.h' 'report/|tests/'

# The preloaded object does not print: its sources have no business with these headers.
sources preload symbolize | grep -vE 'python/lines|native/(dwarf|demangle|cache)' |
	xargs -r grep -nE '^#include <(stdio|locale|wchar)\.h>' | offence 'not in the preloaded object'

# Names that cross files start with ml_ (or are main, or what tools ask for by name).
if [ -d "$build/obj" ]; then
	find "$build/obj/trace" "$build/obj/report" "$build/obj/symbolize" -name '*.o' -print0 2>/dev/null |
		xargs -0 -r nm -A -g --defined-only | awk '$NF !~ /^(ml_|main$|argp_program_|__odr_asan|LLVMFuzzer)/' |
		offence 'a name without ml_ that other files can see'
fi

# Functions fit a screen. A definition starts in the first column and its braces stand there too.
sources trace symbolize preload report | xargs awk '
	FNR == 1 { start = 0 }
	/^\{/ { start = FNR }
	/^\}/ { if (start && FNR - start > 60) print FILENAME ":" start ": " FNR - start " lines"; start = 0 }
' | offence 'longer than a screen of 60 lines'

files() {
	git ls-files -co --exclude-standard 2>/dev/null | grep -vE '^(LICENSE|tests/data/)'
}

files | grep -E '\.(c|h|py|sh|md)$|^Makefile$|^\.ci/run$' | while read -r file; do
	[ -f "$file" ] && expand -t 8 "$file" | LC_ALL=C.UTF-8 grep -nE '^.{121,}$' | grep -vE 'https?:|^[0-9]+:\|' |
		sed "s|^|$file:|"
done | offence 'longer than 120 columns'

files | grep -v '^tests/lint.sh$' | xargs grep -nIE 'TODO|FIXME|\<XXX\>' 2>/dev/null | offence 'finish it'
files | grep -E '\.(c|h|py|sh)$' | xargs grep -nE '[[:blank:]]+$' 2>/dev/null | offence 'blanks at the end of the line'

if command -v shellcheck >/dev/null; then
	files | grep -E '\.sh$|^\.ci/run$' | xargs shellcheck -S warning -f gcc | offence 'shellcheck'
fi

# Advice, since its versions differ and it does not know what ElfW(Sym) is.
if command -v clang-format >/dev/null; then
	for file in $(sources trace symbolize preload report); do
		clang-format "$file" | cmp -s - "$file" || echo "clang-format would change $file"
	done
fi

cat "$offences"
[ ! -s "$offences" ]

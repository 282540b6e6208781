#include "symbolize/native/dwarf.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwelf.h>
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "symbolize/native/demangle.h"

#define NONE UINT32_MAX

/* Rank of a symbol without a size: it goes up to the next one. */
#define RANK_OPEN (-1)

/* Deeper nesting of blocks and inlined calls is damage. */
#define DEPTH_MAX 512

/* Addresses that belong to something. Spans lie in one another, or apart. */
struct span {
	uint64_t low;
	uint64_t high;  /* one past the last */
	uint32_t item;  /* an outer span's is smaller */
	uint32_t outer; /* index of the span around it, or NONE */
};

struct spans {
	struct span *at;
	uint32_t n;
};

/* A function, or a call of one that was inlined. */
struct scope {
	Dwarf_Die die;
	char *name;     /* NULL: not asked for yet, or there is none */
	uint32_t outer; /* of an inlined call: index of the scope around it */
};

struct unit {
	Dwarf_Die die;      /* has the lines */
	Dwarf_Die contents; /* has the functions: the same but with split DWARF */
	bool read;
	struct spans spans; /* of scopes; empty until the first look-up in the unit */
	struct scope *scopes;
	uint32_t scopes_n;
	char **paths; /* of its files, by number; NULL: not asked for yet */
	size_t paths_n;
};

struct symbol {
	uint64_t address;
	uint64_t bytes;
	const char *mangled;
	char *name; /* NULL: not asked for yet */
	int rank;   /* of several names for one address, the one that is higher is shown */
};

struct ml_dwarf {
	Dwfl *dwfl;
	Dwfl_Module *module;
	Dwfl_Callbacks callbacks;
	char *directory;
	Dwarf_Addr bias;    /* of DWARF's addresses */
	struct spans spans; /* of units */
	struct unit *units;
	uint32_t units_n;
	bool symbols_read;
	struct spans symbol_spans;
	struct symbol *symbols;
	uint32_t symbols_n;
};

/* Memory that runs out costs names, nothing else. Arrays of n items grow when n is a power of two. */
static bool grow(void *array, uint32_t n, size_t size)
{
	void **at = array, *larger;

	if (n & (n - 1))
		return true;
	if (n > NONE / 4)
		return false;
	larger = realloc(*at, (n ? (size_t)n * 2 : 1) * size);
	if (larger)
		*at = larger;
	return larger != NULL;
}

/* Spans. */

static void add_span(struct spans *s, uint64_t low, uint64_t high, uint32_t item)
{
	if (low < high && grow(&s->at, s->n, sizeof(*s->at)))
		s->at[s->n++] = (struct span){low, high, item, NONE};
}

static int compare_spans(const void *left, const void *right)
{
	const struct span *a = left, *b = right;

	if (a->low != b->low)
		return a->low < b->low ? -1 : 1;
	if (a->high != b->high)
		return a->high > b->high ? -1 : 1;
	return (a->item > b->item) - (a->item < b->item);
}

static void sort_spans(struct spans *s)
{
	uint32_t i, outer;

	if (s->n)
		qsort(s->at, s->n, sizeof(*s->at), compare_spans);
	for (i = 1; i < s->n; i++) {
		for (outer = i - 1; outer != NONE && s->at[outer].high <= s->at[i].low; outer = s->at[outer].outer)
			continue;
		s->at[i].outer = outer;
	}
}

/* The item of the innermost span around the address, or NONE. */
static uint32_t find_span(const struct spans *s, uint64_t address)
{
	uint32_t low = 0, high = s->n, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (s->at[middle].low <= address)
			low = middle + 1;
		else
			high = middle;
	}
	for (low = low ? low - 1 : NONE; low != NONE && s->at[low].high <= address; low = s->at[low].outer)
		continue;
	return low == NONE ? NONE : s->at[low].item;
}

/* The spans of a DIE that has code. */
static void add_die(struct spans *s, Dwarf_Die *die, uint32_t item)
{
	Dwarf_Addr base, low, high;
	ptrdiff_t at = 0;

	while ((at = dwarf_ranges(die, at, &base, &low, &high)) > 0)
		add_span(s, low, high, item);
}

/* Functions of a unit. */

static void read_dies(struct unit *u, Dwarf_Die *parent, uint32_t outer, int depth);

static void read_die(struct unit *u, Dwarf_Die *die, uint32_t outer, int depth)
{
	switch (dwarf_tag(die)) {
	case DW_TAG_subprogram:
	case DW_TAG_inlined_subroutine:
		if (!grow(&u->scopes, u->scopes_n, sizeof(*u->scopes)))
			return;
		u->scopes[u->scopes_n] = (struct scope){
			.die = *die, .outer = dwarf_tag(die) == DW_TAG_inlined_subroutine ? outer : NONE};
		add_die(&u->spans, die, u->scopes_n);
		read_dies(u, die, u->scopes_n++, depth);
		break;
	/* What functions may lie in. */
	case DW_TAG_lexical_block:
	case DW_TAG_try_block:
	case DW_TAG_catch_block:
	case DW_TAG_namespace:
	case DW_TAG_module:
	case DW_TAG_class_type:
	case DW_TAG_structure_type:
	case DW_TAG_union_type:
		read_dies(u, die, outer, depth);
		break;
	default:
		break;
	}
}

static void read_dies(struct unit *u, Dwarf_Die *parent, uint32_t outer, int depth)
{
	Dwarf_Die die;
	int status;

	if (depth == DEPTH_MAX)
		return;
	for (status = dwarf_child(parent, &die); !status; status = dwarf_siblingof(&die, &die))
		read_die(u, &die, outer, depth + 1);
}

static void read_unit(struct unit *u)
{
	u->read = true;
	read_dies(u, &u->contents, NONE, 0);
	sort_spans(&u->spans);
}

/* A unit's own DIE says where its code is; .debug_aranges, which not all compilers write, isn't needed. */
static void read_units(struct ml_dwarf *d)
{
	Dwarf_Die *die = NULL, contents;
	Dwarf_Addr bias;
	uint8_t type;

	if (!dwfl_module_getdwarf(d->module, &d->bias))
		return;
	while ((die = dwfl_module_nextcu(d->module, die, &bias)) && grow(&d->units, d->units_n, sizeof(*d->units))) {
		struct unit *u = &d->units[d->units_n];
		*u = (struct unit){.die = *die, .contents = *die};
		if (!dwarf_cu_info(die->cu, NULL, &type, NULL, &contents, NULL, NULL, NULL) && type == DW_UT_skeleton &&
		    contents.addr)
			u->contents = contents;
		add_die(&d->spans, &u->die, d->units_n++);
	}
	sort_spans(&d->spans);
}

/* Symbols. */

static int rank_of(const GElf_Sym *symbol, const char *name)
{
	int binding = GELF_ST_BIND(symbol->st_info);

	return (name[0] != '_' ? 4 : 0) + (binding == STB_GLOBAL ? 2 : binding == STB_WEAK ? 1 : 0);
}

/* One past the last address of the section that the symbol is in; 0 if that has no code. */
static uint64_t section_end(Elf *elf, GElf_Word index, uint64_t bias)
{
	GElf_Shdr header;
	Elf_Scn *section = elf ? elf_getscn(elf, index) : NULL;

	if (!section || !gelf_getshdr(section, &header) || !(header.sh_flags & SHF_EXECINSTR))
		return 0;
	return header.sh_addr + header.sh_size + bias;
}

static void add_symbol(struct ml_dwarf *d, int i)
{
	GElf_Sym symbol;
	GElf_Addr address;
	GElf_Word section;
	Dwarf_Addr bias;
	Elf *elf;
	const char *name = dwfl_module_getsym_info(d->module, i, &symbol, &address, &section, &elf, &bias);
	int type = name ? GELF_ST_TYPE(symbol.st_info) : STT_NOTYPE;
	uint64_t end, bytes;

	if (!name || !*name || section == SHN_UNDEF || section >= SHN_LORESERVE ||
	    (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE))
		return;
	/* Marks of assemblers for code and data ($x, $d), which name nothing. */
	if (type == STT_NOTYPE && *name == '$')
		return;
	end = section_end(elf, section, bias);
	if (address >= end || !grow(&d->symbols, d->symbols_n, sizeof(*d->symbols)))
		return;
	bytes = symbol.st_size && symbol.st_size < end - address ? symbol.st_size : end - address;
	d->symbols[d->symbols_n++] = (struct symbol){
		.address = address,
		.bytes = bytes,
		.mangled = name,
		.rank = symbol.st_size ? rank_of(&symbol, name) : RANK_OPEN,
	};
}

static int compare_symbols(const void *left, const void *right)
{
	const struct symbol *a = left, *b = right;

	if (a->address != b->address)
		return a->address < b->address ? -1 : 1;
	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	return strcmp(b->mangled, a->mangled);
}

static void read_symbols(struct ml_dwarf *d)
{
	int n = dwfl_module_getsymtab(d->module), i;
	uint32_t at;

	d->symbols_read = true;
	for (i = 1; i < n; i++)
		add_symbol(d, i);
	if (d->symbols_n)
		qsort(d->symbols, d->symbols_n, sizeof(*d->symbols), compare_symbols);
	for (at = 0; at < d->symbols_n; at++) {
		struct symbol *s = &d->symbols[at], *next = at + 1 < d->symbols_n ? s + 1 : NULL;
		if (s->rank == RANK_OPEN && next && next->address - s->address < s->bytes)
			s->bytes = next->address - s->address;
		add_span(&d->symbol_spans, s->address, s->address + s->bytes, at);
	}
	sort_spans(&d->symbol_spans);
}

static const char *find_symbol(struct ml_dwarf *d, uint64_t address)
{
	struct symbol *s;
	uint32_t at;

	if (!d->symbols_read)
		read_symbols(d);
	at = find_span(&d->symbol_spans, address);
	if (at == NONE)
		return NULL;
	s = &d->symbols[at];
	if (!s->name)
		s->name = ml_demangle(s->mangled);
	return s->name;
}

/* Frames. */

/* The linkage name where it says more than the name: that of a C function may be an alias that nobody wrote. */
static const char *name_of(struct scope *s)
{
	Dwarf_Attribute attribute;
	const char *name, *linkage;

	if (s->name)
		return s->name;
	name = dwarf_diename(&s->die);
	linkage = dwarf_formstring(dwarf_attr_integrate(&s->die, DW_AT_linkage_name, &attribute));
	if (!linkage)
		linkage = dwarf_formstring(dwarf_attr_integrate(&s->die, DW_AT_MIPS_linkage_name, &attribute));
	if (linkage && (!name || ml_demangle_can(linkage)))
		name = linkage;
	return name ? (s->name = ml_demangle(name)) : NULL;
}

/* The path, put behind the folder of compilation where it is relative, without "./" in front. A folder that is relative
   itself (packages that are built so) says nothing, and libdw may have put it there already. */
static char *whole_path(Dwarf_Die *die, const char *path)
{
	Dwarf_Attribute attribute;
	const char *folder = dwarf_formstring(dwarf_attr(die, DW_AT_comp_dir, &attribute));
	char *whole;

	while (path[0] == '.' && path[1] == '/')
		path += 2;
	if (path[0] == '/' || !folder || folder[0] != '/')
		return strdup(path);
	whole = malloc(strlen(folder) + strlen(path) + 2);
	return whole ? strcat(strcat(strcpy(whole, folder), "/"), path) : NULL;
}

static void set_place(struct ml_dwarf_frame *f, struct unit *u, size_t file, Dwarf_Word line)
{
	Dwarf_Files *files;
	const char *path;
	size_t n;

	if (!line || line > INT32_MAX || dwarf_getsrcfiles(&u->die, &files, &n) || file >= n)
		return;
	if (!u->paths) {
		u->paths = calloc(n, sizeof(*u->paths));
		u->paths_n = u->paths ? n : 0;
	}
	if (file >= u->paths_n)
		return;
	path = dwarf_filesrc(files, file, NULL, NULL);
	if (!u->paths[file] && path)
		u->paths[file] = whole_path(&u->die, path);
	f->file = u->paths[file];
	f->line = f->file ? (uint32_t)line : 0;
}

/* Where the inlined call was written. */
static void set_call(struct ml_dwarf_frame *f, struct unit *u, struct scope *s)
{
	Dwarf_Attribute attribute;
	Dwarf_Word file, line;

	if (!dwarf_formudata(dwarf_attr(&s->die, DW_AT_call_file, &attribute), &file) &&
	    !dwarf_formudata(dwarf_attr(&s->die, DW_AT_call_line, &attribute), &line))
		set_place(f, u, file, line);
}

static void set_line(struct ml_dwarf_frame *f, struct unit *u, uint64_t address)
{
	Dwarf_Line *line = dwarf_getsrc_die(&u->die, address);
	Dwarf_Files *files;
	size_t file;
	int number;

	if (line && !dwarf_lineno(line, &number) && number > 0 && !dwarf_line_file(line, &files, &file))
		set_place(f, u, file, (Dwarf_Word)number);
}

size_t ml_dwarf_find(struct ml_dwarf *d, uint64_t address, struct ml_dwarf_frame *frames, size_t room)
{
	uint32_t at = find_span(&d->spans, address - d->bias), scope = NONE;
	struct unit *u = at == NONE ? NULL : &d->units[at];
	size_t n = 1;

	if (!room)
		return 0;
	frames[0] = (struct ml_dwarf_frame){0};
	if (u) {
		if (!u->read)
			read_unit(u);
		scope = find_span(&u->spans, address - d->bias);
		set_line(&frames[0], u, address - d->bias);
	}
	if (scope == NONE) {
		frames[0].function = find_symbol(d, address);
		return frames[0].function || frames[0].file;
	}
	for (;; n++) {
		struct scope *s = &u->scopes[scope];
		frames[n - 1].function = name_of(s);
		if (s->outer == NONE && !frames[n - 1].function)
			frames[n - 1].function = find_symbol(d, address);
		if (s->outer == NONE || n == room)
			return n;
		frames[n] = (struct ml_dwarf_frame){0};
		set_call(&frames[n], u, s);
		scope = s->outer;
	}
}

/* Files. */

/* A descriptor of the file if it is a regular one, else -1. */
static int open_file(const char *path)
{
	/* O_NONBLOCK: a FIFO must not make us wait. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat status;

	if (fd >= 0 && (fstat(fd, &status) || !S_ISREG(status.st_mode))) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool has_build_id(int fd, const void *build_id, size_t bytes)
{
	Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	const void *found;
	ssize_t n = elf_kind(elf) == ELF_K_ELF ? dwelf_elf_gnu_build_id(elf, &found) : -1;
	bool same =
		elf_kind(elf) == ELF_K_ELF && (n > 0 ? (size_t)n == bytes && !memcmp(found, build_id, bytes) : !bytes);

	elf_end(elf);
	return same;
}

/* Takes the descriptor. False where it is no object of that build id. */
static bool take_file(struct ml_dwarf *d, const char *path, int fd, const void *build_id, size_t bytes)
{
	if (!has_build_id(fd, build_id, bytes)) {
		close(fd);
		return false;
	}
	dwfl_report_begin(d->dwfl);
	d->module = dwfl_report_elf(d->dwfl, path, path, fd, 0, true);
	if (!d->module)
		close(fd);
	return !dwfl_report_end(d->dwfl, NULL, NULL) && d->module;
}

/* The object by its build id alone, or its debug file, from wherever libdw can get one; -1 if there is none. A module
   without a file asks for it. */
static int find_by_build_id(struct ml_dwarf *d, const char *path, const void *build_id, size_t bytes)
{
	Dwfl_Module *m;
	char *name = NULL;
	Elf *elf = NULL;
	int fd = -1;

	dwfl_report_begin(d->dwfl);
	m = dwfl_report_module(d->dwfl, path, 0, 1);
	if (m && !dwfl_module_report_build_id(m, build_id, bytes, 0)) {
		fd = dwfl_build_id_find_elf(m, NULL, path, 0, &name, &elf);
		if (fd < 0 && !elf)
			fd = dwfl_standard_find_debuginfo(m, NULL, path, 0, NULL, NULL, 0, &name);
	}
	elf_end(elf);
	free(name);
	return fd;
}

static bool take_any_file(struct ml_dwarf *d, const char *path, const void *build_id, size_t bytes,
			  enum ml_dwarf_problem *problem)
{
	int fd = open_file(path);

	*problem = fd < 0 ? ML_DWARF_MISSING : ML_DWARF_CHANGED;
	if (fd >= 0 && take_file(d, path, fd, build_id, bytes))
		return true;
	fd = bytes ? find_by_build_id(d, path, build_id, bytes) : -1;
	return fd >= 0 && take_file(d, path, fd, build_id, bytes);
}

struct ml_dwarf *ml_dwarf_open(const char *path, const void *build_id, size_t build_id_bytes, const char *directory,
			       enum ml_dwarf_problem *problem)
{
	struct ml_dwarf *d = calloc(1, sizeof(*d));
	size_t bytes = sizeof(":.debug:") + strlen(directory);

	*problem = ML_DWARF_MISSING;
	if (!d)
		return NULL;
	elf_version(EV_CURRENT);
	d->directory = malloc(bytes);
	if (d->directory)
		strcat(strcpy(d->directory, ":.debug:"), directory);
	d->callbacks = (Dwfl_Callbacks){
		.find_elf = dwfl_build_id_find_elf,
		.find_debuginfo = dwfl_standard_find_debuginfo,
		.debuginfo_path = &d->directory,
	};
	d->dwfl = d->directory ? dwfl_begin(&d->callbacks) : NULL;
	if (!d->dwfl || !take_any_file(d, path, build_id, build_id_bytes, problem)) {
		ml_dwarf_close(d);
		return NULL;
	}
	read_units(d);
	return d;
}

static void free_unit(struct unit *u)
{
	uint32_t scope;
	size_t path;

	for (scope = 0; scope < u->scopes_n; scope++)
		free(u->scopes[scope].name);
	for (path = 0; path < u->paths_n; path++)
		free(u->paths[path]);
	free(u->scopes);
	free(u->paths);
	free(u->spans.at);
}

void ml_dwarf_close(struct ml_dwarf *d)
{
	uint32_t i;

	if (!d)
		return;
	for (i = 0; i < d->units_n; i++)
		free_unit(&d->units[i]);
	for (i = 0; i < d->symbols_n; i++)
		free(d->symbols[i].name);
	free(d->symbols);
	free(d->symbol_spans.at);
	free(d->units);
	free(d->spans.at);
	if (d->dwfl)
		dwfl_end(d->dwfl);
	free(d->directory);
	free(d);
}

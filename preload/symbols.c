#include "preload/symbols.h"

#include <string.h>

#if defined(__aarch64__)
#include <sys/auxv.h>
#define RELATIVE R_AARCH64_RELATIVE
#define IRELATIVE R_AARCH64_IRELATIVE
#define GLOB_DAT R_AARCH64_GLOB_DAT
#define JUMP_SLOT R_AARCH64_JUMP_SLOT
#else
#define RELATIVE R_X86_64_RELATIVE
#define IRELATIVE R_X86_64_IRELATIVE
#define GLOB_DAT R_X86_64_GLOB_DAT
#define JUMP_SLOT R_X86_64_JUMP_SLOT
#endif

/* In a DT_VERSYM entry: not the default version of the symbol. */
#define VERSION_HIDDEN 0x8000u

/* The dynamic section holds addresses that glibc has relocated, but not those of the vdso or of read-only sections. */
static const void *dynamic_pointer(const struct ml_object *o, ElfW(Addr) value)
{
	uintptr_t at = value;

	if (at < o->start || at >= o->end)
		at += o->base;
	return at >= o->start && at < o->end ? (const void *)at : NULL;
}

static const ElfW(Dyn) * find_extent(struct ml_object *o, const struct dl_phdr_info *info)
{
	const ElfW(Dyn) *dynamic = NULL;
	ElfW(Half) i;

	o->base = info->dlpi_addr;
	o->start = UINTPTR_MAX;
	o->end = 0;
	o->tls_module = info->dlpi_tls_modid;
	for (i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		uintptr_t start = o->base + segment->p_vaddr;

		if (segment->p_type == PT_DYNAMIC)
			dynamic = (const ElfW(Dyn) *)start;
		if (segment->p_type == PT_TLS)
			o->tls_bytes = segment->p_memsz;
		if (segment->p_type != PT_LOAD)
			continue;
		if (start < o->start)
			o->start = start;
		if (start + segment->p_memsz > o->end)
			o->end = start + segment->p_memsz;
	}
	return dynamic;
}

/* Returns false for an object without symbols that can be looked up. */
static bool open_object(struct ml_object *o, const struct dl_phdr_info *info)
{
	const ElfW(Dyn) * d;

	memset(o, 0, sizeof(*o));
	o->path = info->dlpi_name;
	d = find_extent(o, info);
	for (; d && d->d_tag != DT_NULL; d++) {
		switch (d->d_tag) {
		case DT_SYMTAB:
			o->symbols = dynamic_pointer(o, d->d_un.d_ptr);
			break;
		case DT_STRTAB:
			o->strings = dynamic_pointer(o, d->d_un.d_ptr);
			break;
		case DT_GNU_HASH:
			o->gnu_hash = dynamic_pointer(o, d->d_un.d_ptr);
			break;
		case DT_HASH:
			o->sysv_hash = dynamic_pointer(o, d->d_un.d_ptr);
			break;
		case DT_VERSYM:
			o->versions = dynamic_pointer(o, d->d_un.d_ptr);
			break;
		case DT_RELA:
			o->data.table = dynamic_pointer(o, d->d_un.d_ptr);
			break;
		case DT_RELASZ:
			o->data.count = d->d_un.d_val / sizeof(ElfW(Rela));
			break;
		case DT_JMPREL:
			o->calls.table = dynamic_pointer(o, d->d_un.d_ptr);
			break;
		case DT_PLTRELSZ:
			o->calls.count = d->d_un.d_val / sizeof(ElfW(Rela));
			break;
		}
	}
	return o->symbols && o->strings && (o->gnu_hash || o->sysv_hash);
}

/* The conditions under which glibc's dlsym takes a symbol (elf/dl-lookup.c, check_match), without thread-local ones. */
static bool matches(const struct ml_object *o, uint32_t index, const char *name)
{
	const ElfW(Sym) *s = &o->symbols[index];
	unsigned type = ELF64_ST_TYPE(s->st_info);
	unsigned binding = ELF64_ST_BIND(s->st_info);
	unsigned visibility = ELF64_ST_VISIBILITY(s->st_other);

	if (s->st_shndx == SHN_UNDEF || (s->st_value == 0 && s->st_shndx != SHN_ABS))
		return false;
	if (type != STT_NOTYPE && type != STT_OBJECT && type != STT_FUNC && type != STT_COMMON && type != STT_GNU_IFUNC)
		return false;
	if (binding != STB_GLOBAL && binding != STB_WEAK && binding != STB_GNU_UNIQUE)
		return false;
	if (visibility != STV_DEFAULT && visibility != STV_PROTECTED)
		return false;
	if (o->versions && (o->versions[index] & VERSION_HIDDEN))
		return false;
	return strcmp(o->strings + s->st_name, name) == 0;
}

/* DT_GNU_HASH: bucket count, index of the first hashed symbol, words of the Bloom filter, its second shift; the filter;
   the buckets; one word per hashed symbol, whose lowest bit ends a chain. */
static const ElfW(Sym) * find_gnu(const struct ml_object *o, const char *name)
{
	const uint32_t *table = o->gnu_hash;
	uint32_t buckets = table[0], first = table[1], words = table[2], shift = table[3];
	const uint64_t *filter = (const uint64_t *)(table + 4);
	const uint32_t *bucket = (const uint32_t *)(filter + words);
	const uint32_t *chain = bucket + buckets;
	uint32_t hash = 5381, i;
	const char *c;
	uint64_t word;

	for (c = name; *c; c++)
		hash = hash * 33 + (unsigned char)*c;
	if (!buckets || !words)
		return NULL;
	word = filter[hash / 64 % words];
	if (!(word >> hash % 64 & word >> (hash >> shift) % 64 & 1))
		return NULL;
	i = bucket[hash % buckets];
	if (i < first)
		return NULL;
	for (;; i++) {
		if ((chain[i - first] | 1) == (hash | 1) && matches(o, i, name))
			return &o->symbols[i];
		if (chain[i - first] & 1)
			return NULL;
	}
}

/* DT_HASH: bucket count, symbol count, the buckets, one link per symbol; 0 ends a chain. */
static const ElfW(Sym) * find_sysv(const struct ml_object *o, const char *name)
{
	uint32_t buckets = o->sysv_hash[0], count = o->sysv_hash[1];
	const uint32_t *bucket = o->sysv_hash + 2;
	const uint32_t *chain = bucket + buckets;
	uint32_t hash = 0, i;
	const char *c;

	for (c = name; *c; c++) {
		hash = (hash << 4) + (unsigned char)*c;
		hash = (hash ^ (hash >> 24 & 0xf0)) & 0x0fffffff;
	}
	if (!buckets)
		return NULL;
	for (i = bucket[hash % buckets]; i != STN_UNDEF && i < count; i = chain[i])
		if (matches(o, i, name))
			return &o->symbols[i];
	return NULL;
}

static const ElfW(Sym) * find(const struct ml_object *o, const char *name)
{
	return o->gnu_hash ? find_gnu(o, name) : find_sysv(o, name);
}

/* Asks the resolver of an indirect function for the function. */
static void *resolve(uintptr_t resolver)
{
#if defined(__aarch64__)
	/* "System V ABI for the Arm 64-bit Architecture", GNU C Library IFUNC interface: bit 62 says that the second
	   argument is there. */
	struct {
		unsigned long size, hwcap, hwcap2;
	} argument = {sizeof(argument), getauxval(AT_HWCAP), getauxval(AT_HWCAP2)};

	return ((void *(*)(uint64_t, const void *))resolver)(argument.hwcap | 1ull << 62, &argument);
#else
	return ((void *(*)(void))resolver)();
#endif
}

static void *address_of(const struct ml_object *o, const ElfW(Sym) * s)
{
	uintptr_t address = s->st_value;

	if (s->st_shndx != SHN_ABS)
		address += o->base;
	if (ELF64_ST_TYPE(s->st_info) == STT_GNU_IFUNC)
		return resolve(address);
	return (void *)address;
}

/* What one walk over the loaded objects looks for and finds. */
struct search {
	const char *name;
	struct ml_object object;
	const ElfW(Sym) * symbol; /* in object; NULL: not found */
	bool behind;              /* the object that holds this code has been passed */
};

static int visit_any(struct dl_phdr_info *info, size_t size, void *context)
{
	struct search *s = context;

	(void)size;
	if (open_object(&s->object, info))
		s->symbol = find(&s->object, s->name);
	return s->symbol != NULL;
}

/* Not so the vdso, in which the loader looks no name up. A file has the folder in its name where it was found. */
static bool is_file(const struct dl_phdr_info *info)
{
	return strchr(info->dlpi_name, '/') != NULL;
}

static int visit_next(struct dl_phdr_info *info, size_t size, void *context)
{
	struct search *s = context;
	uintptr_t here = (uintptr_t)ml_symbols_next;

	if (s->behind)
		return is_file(info) ? visit_any(info, size, context) : 0;
	find_extent(&s->object, info);
	s->behind = here >= s->object.start && here < s->object.end;
	return 0;
}

/* The loader lists the program first. */
static int visit_program(struct dl_phdr_info *info, size_t size, void *context)
{
	visit_any(info, size, context);
	return 1;
}

void *ml_symbols_next(const char *name)
{
	struct search s = {.name = name};

	dl_iterate_phdr(visit_next, &s);
	return s.symbol ? address_of(&s.object, s.symbol) : NULL;
}

int ml_symbols_object_with(const char *name, struct ml_object *out)
{
	struct search s = {.name = name};

	dl_iterate_phdr(visit_any, &s);
	if (!s.symbol)
		return -1;
	*out = s.object;
	return 0;
}

void *ml_symbols_in(const struct ml_object *object, const char *name)
{
	const ElfW(Sym) *symbol = find(object, name);
	struct search s = {.name = name};

	if (!symbol)
		return NULL;
	if (ELF64_ST_TYPE(symbol->st_info) != STT_OBJECT)
		return address_of(object, symbol);
	dl_iterate_phdr(visit_program, &s);
	if (s.symbol && ELF64_ST_TYPE(s.symbol->st_info) == STT_OBJECT)
		return address_of(&s.object, s.symbol);
	return address_of(object, symbol);
}

/* Whether the word that r relocates is an address in memory afterwards, whatever happens. */
static bool makes_address(const struct ml_object *o, const ElfW(Rela) * r)
{
	const ElfW(Sym) *s = &o->symbols[ELF64_R_SYM(r->r_info)];

	switch (ELF64_R_TYPE(r->r_info)) {
	case RELATIVE:
	case IRELATIVE:
		return true;
	case GLOB_DAT:
	case JUMP_SLOT:
		/* A weak symbol that nobody defines stays 0. */
		return s->st_shndx != SHN_UNDEF || ELF64_ST_BIND(s->st_info) == STB_GLOBAL;
	default:
		return false;
	}
}

static const ElfW(Rela) * last_address(const struct ml_object *o, const struct ml_relocations *relocations)
{
	size_t i;

	if (!relocations->table)
		return NULL;
	for (i = relocations->count; i > 0; i--)
		if (makes_address(o, &relocations->table[i - 1]))
			return &relocations->table[i - 1];
	return NULL;
}

bool ml_symbols_relocated(const struct ml_object *object)
{
	/* In the order of glibc's elf/dynamic-link.h the calls come last. */
	const ElfW(Rela) *last = last_address(object, &object->calls);
	uintptr_t word;

	if (!last)
		last = last_address(object, &object->data);
	if (!last || !object->base)
		return true;
	memcpy(&word, (const void *)(object->base + last->r_offset), sizeof(word));
	/* Before, the word is 0 or an address in the file. */
	return word >= object->end - object->base;
}

static int visit_counters(struct dl_phdr_info *info, size_t size, void *context)
{
	(void)size;
	*(uint64_t *)context = info->dlpi_adds + info->dlpi_subs;
	return 1;
}

bool ml_symbols_changed(uint64_t *seen)
{
	uint64_t now = *seen;
	bool changed;

	/* Neither counter ever goes back. */
	dl_iterate_phdr(visit_counters, &now);
	changed = now != *seen;
	*seen = now;
	return changed;
}

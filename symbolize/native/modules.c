#include "symbolize/native/modules.h"

#include <link.h>
#include <stdbool.h>
#include <string.h>

#define PAGE_BYTES 65536u      /* a multiple of every page size that Linux has on these machines */
#define FIRST_SEGMENTS 2000u   /* enough for some 400 objects */
#define BUILD_ID_BYTES_MAX 64u /* linkers make 8 to 32 */

struct segment {
	uintptr_t start;
	uintptr_t end;
	uintptr_t base;
	uint32_t id;
};

/*
 * The blocks of memory. Each knows its own size, and is complete before the one pointer to it is stored: a fork in the
 * middle of a refresh finds either the old block or the new one.
 */

struct ml_module_texts {
	size_t bytes;
	size_t used;
	char text[];
};

struct ml_module_segments {
	size_t room;
	size_t count;
	struct segment segment[];
};

/* A segment that may be overwritten while it is read: the reader finds out afterwards, from the epoch. */
struct entry {
	_Atomic uintptr_t start;
	_Atomic uintptr_t end;
	_Atomic uintptr_t base;
	_Atomic uint32_t id;
};

/* Loaded segments by ascending address. */
struct ml_module_index {
	size_t room;
	_Atomic size_t count;
	struct entry entry[];
};

/* One walk over the loader's list. */
struct walk {
	struct ml_modules *modules;
	unsigned visited;
	unsigned left_out;
};

/* Acquire and release on every field, instead of fences, which the thread sanitizer doesn't follow. */
#define LOAD(field) atomic_load_explicit(&(field), memory_order_acquire)
#define STORE(field, value) atomic_store_explicit(&(field), (value), memory_order_release)

void ml_modules_init(struct ml_modules *m, void *(*pages)(size_t bytes), const char *program)
{
	memset(m, 0, sizeof(*m));
	m->pages = pages;
	m->program = program;
}

static void *get_pages(struct ml_modules *m, size_t bytes)
{
	return m->pages((bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES);
}

/* Room for bytes of text. What is left of the last block is given up when it is too small. */
static char *get_text(struct ml_modules *m, size_t bytes)
{
	struct ml_module_texts *texts = LOAD(m->texts);

	if (!texts || bytes > texts->bytes - texts->used) {
		size_t room = sizeof(*texts) + bytes > PAGE_BYTES ? sizeof(*texts) + bytes : PAGE_BYTES;

		texts = get_pages(m, room);
		if (!texts)
			return NULL;
		texts->bytes = room - sizeof(*texts);
		STORE(m->texts, texts);
	}
	texts->used += bytes;
	return texts->text + texts->used - bytes;
}

/* The array of segments, with room for more of them. Each new one has twice the size, so that all those that were given
   up are together no larger than the last. */
static struct ml_module_segments *get_segments(struct ml_modules *m, size_t more)
{
	struct ml_module_segments *old = LOAD(m->segments), *s;
	size_t count = old ? old->count : 0, room = old ? old->room : FIRST_SEGMENTS;

	if (old && room - count >= more)
		return old;
	while (room - count < more)
		room *= 2;
	s = get_pages(m, sizeof(*s) + room * sizeof(s->segment[0]));
	if (!s)
		return NULL;
	s->room = room;
	s->count = count;
	if (old)
		memcpy(s->segment, old->segment, count * sizeof(s->segment[0]));
	STORE(m->segments, s);
	return s;
}

/* Whether a part of the file is in memory. */
static bool is_loaded(const struct dl_phdr_info *info, const ElfW(Phdr) * part)
{
	ElfW(Half) i;

	for (i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];

		if (segment->p_type == PT_LOAD && part->p_vaddr >= segment->p_vaddr &&
		    part->p_vaddr + part->p_memsz <= segment->p_vaddr + segment->p_memsz)
			return true;
	}
	return false;
}

/* Notes: a header, name and description, each padded to the segment's alignment. */
static void read_notes(struct ml_module *d, const char *at, size_t bytes, size_t align)
{
	ElfW(Nhdr) note;

	while (bytes >= sizeof(note)) {
		size_t description, next;

		memcpy(&note, at, sizeof(note));
		description = (sizeof(note) + note.n_namesz + align - 1) / align * align;
		next = (description + note.n_descsz + align - 1) / align * align;
		if (description + note.n_descsz > bytes)
			return;
		if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == sizeof("GNU") &&
		    memcmp(at + sizeof(note), "GNU", sizeof("GNU")) == 0 && note.n_descsz <= BUILD_ID_BYTES_MAX) {
			d->build_id = (const uint8_t *)at + description;
			d->build_id_bytes = note.n_descsz;
			return;
		}
		if (next >= bytes)
			return;
		at += next;
		bytes -= next;
	}
}

static const char *path_of(const struct walk *walk, const struct dl_phdr_info *info)
{
	const char *name = info->dlpi_name ? info->dlpi_name : "";

	if (strncmp(name, "linux-vdso.", strlen("linux-vdso.")) == 0)
		return "[vdso]";
	if (*name)
		return name;
	/* The loader lists the program first, and gives neither it nor, in some versions, the vdso a name. */
	return walk->visited == 1 ? walk->modules->program : "[vdso]";
}

/* A module with everything but id and epoch; its texts are the loader's. */
static struct ml_module describe(const struct walk *walk, const struct dl_phdr_info *info)
{
	struct ml_module d = {.base = info->dlpi_addr, .start = UINTPTR_MAX, .path = path_of(walk, info)};
	ElfW(Half) i;

	d.path_bytes = (uint32_t)strlen(d.path);
	for (i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		uintptr_t start = d.base + segment->p_vaddr;

		if (segment->p_type == PT_NOTE && !d.build_id && is_loaded(info, segment))
			read_notes(&d, (const char *)start, segment->p_memsz, segment->p_align == 8 ? 8 : 4);
		if (segment->p_type == PT_GNU_EH_FRAME && is_loaded(info, segment))
			d.unwind_table = start;
		if (segment->p_type != PT_LOAD)
			continue;
		if (start < d.start)
			d.start = start;
		if (start + segment->p_memsz > d.end)
			d.end = start + segment->p_memsz;
	}
	return d;
}

static bool same_file(const struct ml_module *a, const struct ml_module *b)
{
	return a->path_bytes == b->path_bytes && a->build_id_bytes == b->build_id_bytes &&
	       memcmp(a->path, b->path, a->path_bytes) == 0 &&
	       (!a->build_id_bytes || memcmp(a->build_id, b->build_id, a->build_id_bytes) == 0);
}

static bool same_place(const struct ml_module *a, const struct ml_module *b)
{
	return a->base == b->base && a->start == b->start && a->end == b->end;
}

/* The known module that d describes; or NULL, and then in *twin one of the same file elsewhere, if there is one. */
static const struct ml_module *known(const struct ml_modules *m, const struct ml_module *d,
				     const struct ml_module **twin)
{
	const struct ml_module *module = ml_modules_at(m, d->start);
	const uint32_t count = ml_modules_count(m);
	uint32_t id;

	*twin = NULL;
	if (module && same_place(module, d) && same_file(module, d))
		return module;
	for (id = 1; id <= count; id++) {
		bool here;

		module = ml_modules_get(m, id);
		here = same_place(module, d);
		if ((*twin && !here) || !same_file(module, d))
			continue;
		if (here)
			return module;
		*twin = module;
	}
	return NULL;
}

/* Copies of d's texts, of which the loader may free its own. */
static bool keep_texts(struct ml_modules *m, struct ml_module *d)
{
	char *texts = get_text(m, d->path_bytes + 1 + d->build_id_bytes);

	if (!texts)
		return false;
	memcpy(texts, d->path, d->path_bytes);
	texts[d->path_bytes] = '\0';
	if (d->build_id_bytes)
		memcpy(texts + d->path_bytes + 1, d->build_id, d->build_id_bytes);
	d->path = texts;
	d->build_id = (const uint8_t *)texts + d->path_bytes + 1;
	return true;
}

/* The last store is the one that makes the module known: a fork in between leaves the table as it was. */
static const struct ml_module *add(struct ml_modules *m, struct ml_module *d, const struct ml_module *twin)
{
	uint32_t count = ml_modules_count(m);
	struct ml_module **block = &m->block[count / ML_MODULES_PER_BLOCK];

	if (count == ML_MODULES_MAX)
		return NULL;
	if (!*block)
		*block = get_pages(m, ML_MODULES_PER_BLOCK * sizeof(**block));
	if (!*block)
		return NULL;
	if (twin) {
		d->path = twin->path;
		d->build_id = twin->build_id;
	} else if (!keep_texts(m, d)) {
		return NULL;
	}
	d->id = count + 1;
	d->epoch = ml_modules_epoch(m) + 1;
	(*block)[count % ML_MODULES_PER_BLOCK] = *d;
	STORE(m->count, count + 1);
	return &(*block)[count % ML_MODULES_PER_BLOCK];
}

static int visit(struct dl_phdr_info *info, size_t size, void *context)
{
	struct walk *walk = context;
	struct ml_modules *m = walk->modules;
	struct ml_module_segments *s;
	const struct ml_module *module, *twin;
	struct ml_module d;
	ElfW(Half) i;

	(void)size;
	walk->visited++;
	d = describe(walk, info);
	module = known(m, &d, &twin);
	if (!module)
		module = add(m, &d, twin);
	s = module ? get_segments(m, info->dlpi_phnum) : NULL;
	if (!s) {
		walk->left_out++;
		return 0;
	}
	for (i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		uintptr_t start = module->base + segment->p_vaddr;

		if (segment->p_type == PT_LOAD)
			s->segment[s->count++] =
				(struct segment){start, start + segment->p_memsz, module->base, module->id};
	}
	return 0;
}

/* Shell's sort. No two segments overlap, so the starts say it all. */
static void sort(struct segment *segments, size_t count)
{
	size_t gap, i, j;

	for (gap = count / 2; gap > 0; gap /= 2) {
		for (i = gap; i < count; i++) {
			struct segment one = segments[i];

			for (j = i; j >= gap && segments[j - gap].start > one.start; j -= gap)
				segments[j] = segments[j - gap];
			segments[j] = one;
		}
	}
}

static bool is_published(const struct ml_modules *m, const struct ml_module_segments *s)
{
	const struct ml_module_index *x = LOAD(m->index[ml_modules_epoch(m) % 2]);
	size_t i;

	if (!x || LOAD(x->count) != s->count)
		return false;
	for (i = 0; i < s->count; i++)
		if (LOAD(x->entry[i].start) != s->segment[i].start || LOAD(x->entry[i].end) != s->segment[i].end ||
		    LOAD(x->entry[i].id) != s->segment[i].id)
			return false;
	return true;
}

/* Writes the next epoch's index. One that is too small is given up for one with as much room as s has. */
static bool publish(struct ml_modules *m, const struct ml_module_segments *s)
{
	uint32_t epoch = ml_modules_epoch(m) + 1;
	struct ml_module_index *x = LOAD(m->index[epoch % 2]);
	size_t i;

	if (!x || x->room < s->count) {
		x = get_pages(m, sizeof(*x) + s->room * sizeof(x->entry[0]));
		if (!x)
			return false;
		x->room = s->room;
		STORE(m->index[epoch % 2], x);
	}
	STORE(x->count, s->count);
	for (i = 0; i < s->count; i++) {
		STORE(x->entry[i].start, s->segment[i].start);
		STORE(x->entry[i].end, s->segment[i].end);
		STORE(x->entry[i].base, s->segment[i].base);
		STORE(x->entry[i].id, s->segment[i].id);
	}
	STORE(m->epoch, epoch);
	return true;
}

unsigned ml_modules_refresh(struct ml_modules *m, void (*added)(void *context, const struct ml_module *module),
			    void *context)
{
	struct walk walk = {.modules = m};
	struct ml_module_segments *s = get_segments(m, 0);
	uint32_t id = ml_modules_count(m);

	if (s)
		s->count = 0;
	dl_iterate_phdr(visit, &walk);
	while (added && id < ml_modules_count(m))
		added(context, ml_modules_get(m, ++id));
	s = LOAD(m->segments);
	if (!s)
		return walk.visited;
	sort(s->segment, s->count);
	if (!is_published(m, s) && !publish(m, s))
		return walk.visited;
	return walk.left_out;
}

/* The segment around the address; all zero if there is none. */
static struct segment search(const struct ml_module_index *x, uintptr_t address)
{
	struct segment found = {0};
	size_t low = 0, high = LOAD(x->count);

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (LOAD(x->entry[middle].start) <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low > 0 && address < LOAD(x->entry[low - 1].end)) {
		found.base = LOAD(x->entry[low - 1].base);
		found.id = LOAD(x->entry[low - 1].id);
	}
	return found;
}

uint32_t ml_modules_find(const struct ml_modules *m, uintptr_t address, uint64_t *offset)
{
	struct segment found = {0};
	const struct ml_module_index *x;
	uint32_t epoch;

	/* A refresh writes into the index of epoch e only after it has published e + 1. */
	do {
		epoch = ml_modules_epoch(m);
		x = LOAD(m->index[epoch % 2]);
		if (x)
			found = search(x, address);
	} while (ml_modules_epoch(m) != epoch);
	*offset = address - found.base;
	return found.id;
}

const struct ml_module *ml_modules_at(const struct ml_modules *m, uintptr_t address)
{
	uint64_t offset;
	uint32_t id = ml_modules_find(m, address, &offset);

	return id ? ml_modules_get(m, id) : NULL;
}

uint32_t ml_modules_count(const struct ml_modules *m)
{
	return LOAD(m->count);
}

const struct ml_module *ml_modules_get(const struct ml_modules *m, uint32_t id)
{
	return &m->block[(id - 1) / ML_MODULES_PER_BLOCK][(id - 1) % ML_MODULES_PER_BLOCK];
}

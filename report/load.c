#include "report/load.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report/file.h"
#include "report/inherit.h"
#include "report/memory.h"
#include "report/merge.h"

/* The directory and extents of nodes are scanned whole, holes and all; no recorder makes them larger. */
#define SCAN_MAX (16u << 20)

/* Numbers of nodes that may be missing where an extent of nodes was lost, before a number is taken for damage. */
#define NODE_SLACK 65536u

#define PAGE_BYTES 4096u

/* How often all rings are read again since new ones have come up meanwhile. */
#define SNAPSHOT_TRIES 16

/* Opening: an error here means that the file gives nothing. */

static char *fail(const struct ml_trace *t, uint64_t offset, const char *what)
{
	return ml_memory_print("%s: offset %" PRIu64 ": %s", t->path, offset, what);
}

/* How long the file is now. 0, or -1 if that cannot be had. */
static int measure(struct ml_trace *t, struct stat *status)
{
	if (t->pack)
		return 0;
	if (fstat(t->fd, status) < 0)
		return -1;
	t->file_bytes = (uint64_t)status->st_size;
	return 0;
}

/* Opens the pack whose path is followed by the trace's name. False: there is none; *error may say why. */
static bool open_packed(struct ml_trace *t, char **error)
{
	const char *slash = strrchr(t->path, '/');
	char *path = ml_memory_text(t->path, slash ? (size_t)(slash - t->path) : 0);

	t->pack = ml_pack_open(path, error);
	free(path);
	if (!t->pack)
		return false;
	t->packed = ml_pack_find(t->pack, ML_PACK_TRACE, slash + 1);
	if (!t->packed)
		*error = ml_memory_print("%s: there is no such trace in the pack", t->path);
	else
		t->file_bytes = t->packed->bytes;
	return t->packed != NULL;
}

static char *open_file(struct ml_trace *t)
{
	struct stat status;
	char *error = NULL;
	int wrong;

	/* O_NONBLOCK: a FIFO must not make us wait. */
	t->fd = open(t->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	wrong = errno;
	if (t->fd < 0 && wrong == ENOTDIR && open_packed(t, &error))
		return NULL;
	if (error)
		return error;
	if (t->fd < 0)
		return ml_memory_print("%s: cannot be opened: %s", t->path, strerror(wrong));
	if (measure(t, &status) < 0)
		return ml_memory_print("%s: cannot be opened: %s", t->path, strerror(errno));
	if (!S_ISREG(status.st_mode))
		return ml_memory_print("%s: is not a file, so no trace; give a file that ends in .memline", t->path);
	return NULL;
}

static char *check_header(struct ml_trace *t)
{
	const struct ml_header *h = &t->header;
	size_t got = ml_file_read(t, 0, &t->header, sizeof t->header);

	if (got >= sizeof h->magic && memcmp(h->magic, ML_MAGIC, sizeof h->magic) != 0)
		return fail(t, 0, "this is not a memline trace; give a file that memline recorded");
	if (got < sizeof *h)
		return fail(t, got, "the file ends within the header, so nothing was recorded; record again");
	if (h->byte_order != ML_BYTE_ORDER)
		return fail(t, offsetof(struct ml_header, byte_order),
			    "the trace has another byte order or is damaged; read it where it was recorded");
	if (h->version != ML_VERSION) {
		char *what = ml_memory_print("the trace has format version %" PRIu32 " and this memline reads %d; "
					     "use the memline that recorded it",
					     h->version, ML_VERSION);
		char *error = fail(t, offsetof(struct ml_header, version), what);
		free(what);
		return error;
	}
	if (h->header_bytes < sizeof *h || h->directory < h->header_bytes || h->directory >= t->file_bytes ||
	    h->directory_bytes < sizeof(struct ml_extent) || h->directory_bytes > SCAN_MAX)
		return fail(
			t, offsetof(struct ml_header, header_bytes),
			"the header does not lead to a directory; the file is damaged or was cut off, record again");
	return NULL;
}

/* The directory. */

static void add_extent(struct ml_trace *t, const struct ml_extent *e)
{
	t->extents = ml_memory_grow(t->extents, t->extents_n, sizeof *t->extents);
	t->extents[t->extents_n++] = *e;
}

static int extent_makes_sense(const struct ml_trace *t, const struct ml_extent *e)
{
	if (e->offset < t->header.header_bytes || e->length > INT64_MAX || e->offset > INT64_MAX - e->length)
		return 0;
	switch (e->kind) {
	case ML_EXTENT_DIRECTORY:
	case ML_EXTENT_NODES:
		return e->length <= SCAN_MAX;
	case ML_EXTENT_RING:
	case ML_EXTENT_EVENTS:
		return e->length > sizeof(struct ml_piece) && e->length <= ML_PIECE_MAX + sizeof(struct ml_piece);
	}
	return 1;
}

/* Adds the entries of one chunk. The file only grows, so the next chunk lies behind this one: there are no cycles. */
static void read_directory_chunk(struct ml_trace *t, const struct ml_extent *chunk, struct ml_extent *next)
{
	uint64_t at = chunk->offset, end = at + ml_file_within(t, chunk);
	struct ml_file_window w;
	const struct ml_extent *e;

	ml_file_window_open(&w, t, at, end - at);
	for (; (at = ml_file_window_data(&w, at)) < end; at += sizeof *e) {
		at -= (at - chunk->offset) % sizeof *e;
		e = ml_file_window_get(&w, at, sizeof *e);
		if (!e)
			break;
		if (!e->length)
			continue;
		if (!extent_makes_sense(t, e) ||
		    (e->kind == ML_EXTENT_DIRECTORY && e->offset < chunk->offset + chunk->length)) {
			ml_file_damaged(t, ML_DAMAGE_DIRECTORY, at);
			continue;
		}
		add_extent(t, e);
		if (e->kind == ML_EXTENT_DIRECTORY)
			*next = *e;
	}
	if (end - chunk->offset < chunk->length)
		ml_file_damaged(t, ML_DAMAGE_CUT_OFF, end);
	ml_file_window_close(&w);
}

static int by_offset(const void *a, const void *b)
{
	const struct ml_extent *const *x = a, *const *y = b;

	if ((*x)->offset != (*y)->offset)
		return (*x)->offset < (*y)->offset ? -1 : 1;
	return *x < *y ? -1 : *x > *y;
}

/* Of two extents that overlap the longer one is more likely the damaged one, and goes. */
static void drop_overlaps(struct ml_trace *t)
{
	struct ml_extent **sorted = ml_memory_get(t->extents_n, sizeof *sorted), *last = NULL;
	bool is_sorted = true; /* as recorders write it */
	size_t kept = 0;

	for (size_t i = 0; i < t->extents_n; i++) {
		sorted[i] = &t->extents[i];
		is_sorted &= !i || by_offset(&sorted[i - 1], &sorted[i]) <= 0;
	}
	if (!is_sorted)
		qsort(sorted, t->extents_n, sizeof *sorted, by_offset);
	for (size_t i = 0; i < t->extents_n; i++) {
		struct ml_extent *e = sorted[i];
		if (last && e->offset < last->offset + last->length) {
			ml_file_damaged(t, ML_DAMAGE_DIRECTORY, e->offset);
			if (e->length >= last->length) {
				e->length = 0;
				continue;
			}
			last->length = 0;
		}
		last = e;
	}
	free(sorted);
	for (size_t i = 0; i < t->extents_n; i++)
		if (t->extents[i].length)
			t->extents[kept++] = t->extents[i];
	t->extents_n = kept;
}

static void read_directory(struct ml_trace *t)
{
	struct ml_extent next = {
		.offset = t->header.directory, .length = t->header.directory_bytes, .kind = ML_EXTENT_DIRECTORY};
	struct stat status;

	memset(t->damage, 0, sizeof t->damage);
	free(t->extents);
	t->extents = NULL;
	t->extents_n = 0;
	add_extent(t, &next);
	while (next.length) {
		struct ml_extent chunk = next;
		next.length = 0;
		read_directory_chunk(t, &chunk, &next);
		measure(t, &status); /* what an entry names may have come later than the last look at the size */
	}
	drop_overlaps(t);
}

/* META. */

/* Appends the string at *at, its NUL included, and moves on. Returns its length, or -1 if it is cut off. */
static int64_t append_string(struct ml_trace *t, struct ml_file_window *w, uint64_t *at, size_t *used)
{
	uint64_t start = *at;
	const char *c;

	while ((c = ml_file_window_get(w, *at, 1))) {
		t->meta_text = ml_memory_grow(t->meta_text, *used, 1);
		t->meta_text[(*used)++] = *c;
		++*at;
		if (!*c)
			return (int64_t)(*at - start - 1);
	}
	return -1;
}

/* Appends the pairs of an extent to t->meta_text, of which `used` bytes are in use. Returns how many are then. */
static size_t append_pairs(struct ml_trace *t, const struct ml_extent *e, size_t used)
{
	uint64_t at = e->offset;
	struct ml_file_window w;
	size_t whole = used;
	int64_t length;

	ml_file_window_open(&w, t, at, ml_file_within(t, e));
	while ((length = append_string(t, &w, &at, &used)) > 0 && (length = append_string(t, &w, &at, &used)) >= 0)
		whole = used;
	if (length < 0)
		ml_file_damaged(t, ML_DAMAGE_META, at);
	ml_file_window_close(&w);
	return whole;
}

static void read_meta(struct ml_trace *t)
{
	size_t used = 0, n = 0;
	char *at;

	for (size_t i = 0; i < t->extents_n; i++)
		if (t->extents[i].kind == ML_EXTENT_META)
			used = append_pairs(t, &t->extents[i], used);
	for (size_t i = 0; i < used; i++)
		n += !t->meta_text[i];
	t->meta_n = n / 2;
	t->meta = ml_memory_get(t->meta_n, sizeof *t->meta);
	at = t->meta_text;
	for (size_t i = 0; i < t->meta_n; i++) {
		t->meta[i].key = at;
		t->meta[i].value = at += strlen(at) + 1;
		at += strlen(at) + 1;
	}
}

/* DEFS. */

/* Of the text and bytes that follow a definition's fixed part: are they all within it? */
static int texts_fit(const struct ml_def *def, size_t fixed, uint64_t a, uint64_t b, uint64_t c)
{
	return a + b + c <= def->length - fixed;
}

static int add_code(struct ml_trace *t, const struct ml_def *def)
{
	const struct ml_def_code *d = (const void *)def;
	const char *text = (const char *)(d + 1);
	struct ml_code *code;

	if (def->length < sizeof *d || !texts_fit(def, sizeof *d, d->file_bytes, d->name_bytes, d->table_bytes))
		return 0;
	t->codes = ml_memory_grow(t->codes, t->codes_n, sizeof *t->codes);
	code = &t->codes[t->codes_n++];
	*code = (struct ml_code){
		.id = d->id, .first_line = d->first_line, .flags = d->code_flags, .table_bytes = d->table_bytes};
	code->file = ml_memory_get((size_t)d->file_bytes + d->name_bytes + d->table_bytes + 2, 1);
	memcpy(code->file, text, d->file_bytes);
	code->name = code->file + d->file_bytes + 1;
	memcpy(code->name, text + d->file_bytes, d->name_bytes);
	code->table = (uint8_t *)code->name + d->name_bytes + 1;
	memcpy(code->table, text + d->file_bytes + d->name_bytes, d->table_bytes);
	return 1;
}

static int add_module(struct ml_trace *t, const struct ml_def *def)
{
	const struct ml_def_module *d = (const void *)def;
	const char *text = (const char *)(d + 1);
	struct ml_module *module;

	if (def->length < sizeof *d || !texts_fit(def, sizeof *d, d->path_bytes, d->build_id_bytes, 0))
		return 0;
	t->modules = ml_memory_grow(t->modules, t->modules_n, sizeof *t->modules);
	module = &t->modules[t->modules_n++];
	*module = (struct ml_module){.id = d->id,
				     .epoch = d->epoch,
				     .base = d->base,
				     .start = d->start,
				     .end = d->end,
				     .build_id_bytes = d->build_id_bytes};
	module->path = ml_memory_get((size_t)d->path_bytes + d->build_id_bytes + 1, 1);
	memcpy(module->path, text, d->path_bytes);
	module->build_id = (uint8_t *)module->path + d->path_bytes + 1;
	memcpy(module->build_id, text + d->path_bytes, d->build_id_bytes);
	return 1;
}

/* Reads those from an offset in the file on. */
static void read_definitions(struct ml_trace *t, const struct ml_extent *e, uint64_t from)
{
	uint64_t at = e->offset > from ? e->offset : from, end = e->offset + ml_file_within(t, e);
	struct ml_file_window w;
	const struct ml_def *def;
	uint32_t length;

	if (at > end)
		return;
	ml_file_window_open(&w, t, at, end - at);
	for (; (def = ml_file_window_get(&w, at, sizeof *def)) && def->length; at += length) {
		length = def->length;
		if (length % 8 || length > ML_DEF_MAX || !(def = ml_file_window_get(&w, at, length))) {
			ml_file_damaged(t, ML_DAMAGE_DEFINITION, at);
			break;
		}
		if ((def->kind == ML_DEF_CODE && !add_code(t, def)) ||
		    (def->kind == ML_DEF_MODULE && !add_module(t, def)))
			ml_file_damaged(t, ML_DAMAGE_DEFINITION, at);
	}
	if (!def && end - e->offset < e->length)
		ml_file_damaged(t, ML_DAMAGE_CUT_OFF, end);
	if (at > t->definitions_end)
		t->definitions_end = at;
	ml_file_window_close(&w);
}

/* Both kinds begin with their id. */
static int by_id(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

_Static_assert(offsetof(struct ml_code, id) == 0 && offsetof(struct ml_module, id) == 0, "by_id");

/* Those that were not read before: a process defines one behind the other. */
static void read_all_definitions(struct ml_trace *t)
{
	const uint64_t from = t->definitions_end;

	for (size_t i = 0; i < t->extents_n; i++)
		if (t->extents[i].kind == ML_EXTENT_DEFS)
			read_definitions(t, &t->extents[i], from);
	if (t->codes_n)
		qsort(t->codes, t->codes_n, sizeof *t->codes, by_id);
	if (t->modules_n)
		qsort(t->modules, t->modules_n, sizeof *t->modules, by_id);
}

/* NODES. */

static void add_node(struct ml_trace *t, uint32_t number, const struct ml_node *node, uint64_t offset)
{
	enum ml_node_kind kind = ML_SUBJECT_KIND(node->subject);

	if (kind < ML_NODE_PYTHON || kind > ML_NODE_MARK || (number < t->nodes_n && t->nodes[number].subject)) {
		ml_file_damaged(t, ML_DAMAGE_NODE, offset);
		return;
	}
	while (t->nodes_n <= number) {
		t->nodes = ml_memory_grow(t->nodes, t->nodes_n, sizeof *t->nodes);
		t->nodes[t->nodes_n++] = (struct ml_node){0};
	}
	t->nodes[number] = *node;
	if (node->parent >= number || (node->parent && !t->nodes[node->parent].subject)) {
		ml_file_damaged(t, ML_DAMAGE_NODE, offset);
		t->nodes[number].parent = 0;
	}
}

/* `slots` is the number of nodes that the data seen so far can hold: a number far beyond it is damage, not a stack. */
static void read_nodes(struct ml_trace *t, const struct ml_extent *e, uint32_t from, uint32_t to, uint64_t *slots)
{
	uint64_t at = e->offset, end = at + ml_file_within(t, e);
	struct ml_file_window w;
	const struct ml_node *node;

	if (from > e->id)
		at += (uint64_t)(from - e->id) * sizeof *node;
	if (at > end)
		return;
	ml_file_window_open(&w, t, at, end - at);
	for (; (at = ml_file_window_data(&w, at)) < end; at += sizeof *node, ++*slots) {
		uint64_t number;
		at -= (at - e->offset) % sizeof *node;
		number = e->id + (at - e->offset) / sizeof *node;
		node = ml_file_window_get(&w, at, sizeof *node);
		if (!node || number >= to)
			break;
		if (!node->subject)
			continue;
		if (!number || number > *slots + NODE_SLACK || number > UINT32_MAX - 1) {
			ml_file_damaged(t, ML_DAMAGE_NODE, at);
			break;
		}
		add_node(t, (uint32_t)number, node, at);
	}
	if (end - e->offset < e->length)
		ml_file_damaged(t, ML_DAMAGE_CUT_OFF, end);
	ml_file_window_close(&w);
}

static int by_first_node(const void *a, const void *b)
{
	const struct ml_extent *x = a, *y = b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Reads those from a number on that lie below another, in the order of their numbers, so that parents come first. */
static void read_nodes_between(struct ml_trace *t, uint32_t from, uint32_t to)
{
	struct ml_extent *sorted = ml_memory_get(t->extents_n, sizeof *sorted);
	uint64_t slots = from;
	size_t n = 0;

	for (size_t i = 0; i < t->extents_n; i++)
		if (t->extents[i].kind == ML_EXTENT_NODES)
			sorted[n++] = t->extents[i];
	qsort(sorted, n, sizeof *sorted, by_first_node);
	for (size_t i = 0; i < n; i++)
		read_nodes(t, &sorted[i], from, to, &slots);
	free(sorted);
}

/* The first from a number on that is not there. */
static uint32_t missing_node(const struct ml_trace *t, uint32_t from)
{
	while (from < t->nodes_n && t->nodes[from].subject)
		from++;
	return from;
}

/* Those that were not read before. A process that runs makes one behind the other: where one is missing it may have
   come since, and those behind it, too. So they are read once more as far as the first reading went. */
static void read_all_nodes(struct ml_trace *t)
{
	struct ml_damage_count before[ML_DAMAGES];
	uint32_t from, to;

	if (!t->nodes_n) {
		t->nodes = ml_memory_grow(t->nodes, 0, sizeof *t->nodes);
		t->nodes[t->nodes_n++] = (struct ml_node){0};
	}
	from = t->nodes_n;
	memcpy(before, t->damage, sizeof before);
	read_nodes_between(t, from, UINT32_MAX);
	to = t->nodes_n;
	if (missing_node(t, from) == to)
		return;
	memcpy(t->damage, before, sizeof before);
	t->nodes_n = from;
	read_nodes_between(t, from, to);
}

/* COUNTS. */

/* The counts as they are in the file, and where. */
struct found_counts {
	struct found_count {
		struct ml_count count;
		uint64_t offset;
	} * items;
	size_t n;
};

static void find_counts_in(struct ml_trace *t, const struct ml_extent *e, struct found_counts *found)
{
	uint64_t at = e->offset, end = at + ml_file_within(t, e);
	struct ml_file_window w;
	const struct ml_count *c;

	ml_file_window_open(&w, t, at, end - at);
	for (; (c = ml_file_window_get(&w, at, sizeof *c)); at += sizeof *c) {
		if (!c->count)
			continue;
		found->items = ml_memory_grow(found->items, found->n, sizeof *found->items);
		found->items[found->n++] = (struct found_count){*c, at};
	}
	ml_file_window_close(&w);
	t->counts_lines = true;
}

static struct found_counts find_counts(struct ml_trace *t)
{
	struct found_counts found = {NULL, 0};

	for (size_t i = 0; i < t->extents_n; i++)
		if (t->extents[i].kind == ML_EXTENT_COUNTS)
			find_counts_in(t, &t->extents[i], &found);
	return found;
}

static bool count_makes_sense(const struct ml_trace *t, const struct ml_count *c)
{
	return c->count <= ML_COUNT_MAX + 1 && ml_load_code(t, c->code) && c->line && c->line <= INT32_MAX;
}

/* In the place of what was read before: counts grow, and new ones come between. */
static void take_counts(struct ml_trace *t, const struct found_counts *found)
{
	free(t->counts);
	t->counts = ml_memory_get(found->n, sizeof *t->counts);
	t->counts_n = 0;
	for (size_t i = 0; i < found->n; i++) {
		const struct found_count *f = &found->items[i];
		if (count_makes_sense(t, &f->count))
			t->counts[t->counts_n++] = f->count;
		else
			ml_file_damaged(t, ML_DAMAGE_COUNT, f->offset);
	}
	free(found->items);
}

/* The whole. */

static struct ml_trace *open_directory(const char *path, char **error)
{
	struct ml_trace *t = ml_memory_get(1, sizeof *t);

	t->path = ml_memory_text(path, strlen(path));
	*error = open_file(t);
	if (!*error)
		*error = check_header(t);
	if (*error) {
		ml_load_close(t);
		return NULL;
	}
	read_directory(t);
	return t;
}

struct ml_trace *ml_load_open_meta(const char *path, char **error)
{
	struct ml_trace *t = open_directory(path, error);

	if (t)
		read_meta(t);
	return t;
}

/* To be called before what the events use is read. */
static void read_rings(struct ml_trace *t)
{
	int tries = SNAPSHOT_TRIES;

	do {
		ml_merge_snapshot(t);
		read_directory(t);
	} while (!ml_merge_has_all_rings(t) && --tries);
}

/* A process that runs defines things first and then uses them: what uses others is read before these, last of all the
   definitions. */
static void read_own(struct ml_trace *t)
{
	const struct found_counts counts = find_counts(t);

	read_all_nodes(t);
	read_all_definitions(t);
	take_counts(t, &counts);
	t->own_nodes_n = t->nodes_n;
	t->own_codes_n = t->codes_n;
	t->own_modules_n = t->modules_n;
}

struct ml_trace *ml_load_open(const char *path, char **error)
{
	struct ml_trace *t = open_directory(path, error);
	uint64_t page;

	if (!t)
		return NULL;
	read_rings(t);
	read_meta(t);
	read_own(t);
	page = ml_load_number(t, "page_bytes", PAGE_BYTES);
	t->page_bytes = page & (page - 1) || page > SCAN_MAX || !page ? PAGE_BYTES : page;
	ml_merge_start(t);
	return t;
}

void ml_load_follow(struct ml_trace *t)
{
	struct ml_header now;
	struct stat status;

	measure(t, &status);
	if (ml_file_read(t, 0, &now, sizeof now) == sizeof now && now.directory == t->header.directory &&
	    now.directory_bytes == t->header.directory_bytes)
		t->header = now;
	read_rings(t);
	read_own(t);
	ml_merge_start(t);
}

void ml_load_close(struct ml_trace *t)
{
	if (!t)
		return;
	ml_merge_free(t->merge);
	for (size_t i = 0; i < t->own_codes_n; i++)
		free(t->codes[i].file);
	for (size_t i = 0; i < t->own_modules_n; i++)
		free(t->modules[i].path);
	free(t->codes);
	free(t->modules);
	free(t->nodes);
	free(t->counts);
	free(t->meta);
	free(t->meta_text);
	free(t->extents);
	ml_inherit_drop(t);
	free(t->path);
	if (t->fd >= 0)
		close(t->fd);
	ml_pack_close(t->pack);
	free(t);
}

size_t ml_load_next(struct ml_trace *t, const struct ml_moment **moments)
{
	if (t->inherited_n && !t->inherited_is_read) {
		t->inherited_is_read = true;
		*moments = t->inherited;
		return t->inherited_n;
	}
	return ml_merge_next(t, moments);
}

void ml_load_rewind(struct ml_trace *t)
{
	ml_merge_start(t);
	t->inherited_is_read = false;
}

uint32_t ml_load_ring(const struct ml_trace *t, uint32_t id)
{
	return ml_merge_ring(t->merge, id);
}

double ml_load_progress(const struct ml_trace *t)
{
	return ml_merge_progress(t->merge);
}

const struct ml_code *ml_load_code(const struct ml_trace *t, uint32_t id)
{
	return t->codes_n ? bsearch(&id, t->codes, t->codes_n, sizeof *t->codes, by_id) : NULL;
}

const struct ml_code *ml_load_node_code(const struct ml_trace *t, const struct ml_node *node)
{
	return ML_SUBJECT_KIND(node->subject) == ML_NODE_PYTHON ? ml_load_code(t, ML_SUBJECT_NUMBER(node->subject))
								: NULL;
}

const struct ml_module *ml_load_module(const struct ml_trace *t, uint32_t id)
{
	return t->modules_n ? bsearch(&id, t->modules, t->modules_n, sizeof *t->modules, by_id) : NULL;
}

const char *ml_load_meta(const struct ml_trace *t, const char *key)
{
	for (size_t i = 0; i < t->meta_n; i++)
		if (!strcmp(t->meta[i].key, key))
			return t->meta[i].value;
	return NULL;
}

uint64_t ml_load_number(const struct ml_trace *t, const char *key, uint64_t otherwise)
{
	const char *value = ml_load_meta(t, key);
	uint64_t number;
	char *end;

	if (!value || *value < '0' || *value > '9')
		return otherwise;
	errno = 0;
	number = strtoull(value, &end, 10);
	return *end || errno ? otherwise : number;
}

uint64_t ml_load_dropped(const struct ml_trace *t)
{
	static const enum ml_counter dropped[] = {ML_COUNTER_DROPPED_STOPPED, ML_COUNTER_DROPPED_SIGNAL,
						  ML_COUNTER_DROPPED_EARLY, ML_COUNTER_DROPPED_NO_RING};
	uint64_t sum = 0;

	for (size_t i = 0; i < sizeof dropped / sizeof *dropped; i++)
		sum += t->header.counter[dropped[i]];
	return sum;
}

const char *ml_load_damage_text(enum ml_damage kind)
{
	static const char *const what[] = {
#define X(name, text) [ML_DAMAGE_##name] = (text),
		ML_DAMAGE_LIST(X)
#undef X
	};

	return what[kind];
}

int ml_load_warning(const struct ml_trace *t, unsigned i, char *text, size_t room)
{
	for (unsigned kind = 0; kind < ML_DAMAGES; kind++)
		if (t->damage[kind].count && i-- == 0) {
			snprintf(text, room, "%s: %" PRIu64 " (the first at offset %" PRIu64 ")",
				 ml_load_damage_text(kind), t->damage[kind].count, t->damage[kind].offset);
			return 1;
		}
	return 0;
}

#include "tests/preload/trace_file.h"

#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const void *at(const struct trace_file *t, uint64_t offset, uint64_t bytes)
{
	ck_assert_msg(offset <= t->bytes && bytes <= t->bytes - offset, "extent outside the file");
	return t->data + offset;
}

static void add_directory(struct trace_file *t, uint64_t offset, uint64_t bytes)
{
	const struct ml_extent *entries = at(t, offset, bytes);
	size_t count = bytes / sizeof *entries;

	t->extents = realloc(t->extents, (t->extent_count + count) * sizeof *entries);
	for (size_t i = 0; i < count; i++) {
		if (!entries[i].length)
			continue;
		if (entries[i].kind == ML_EXTENT_DIRECTORY)
			add_directory(t, entries[i].offset, entries[i].length);
		else
			t->extents[t->extent_count++] = entries[i];
	}
}

static void add_nodes(struct trace_file *t, const struct ml_extent *x)
{
	size_t count = x->length / sizeof(struct ml_node);

	ck_assert_uint_eq(x->id % ML_NODES_PER_EXTENT, 0);
	if (x->id + count > t->node_count) {
		t->nodes = realloc(t->nodes, (x->id + count) * sizeof *t->nodes);
		memset(t->nodes + t->node_count, 0, (x->id + count - t->node_count) * sizeof *t->nodes);
		t->node_count = x->id + count;
	}
	memcpy(t->nodes + x->id, at(t, x->offset, x->length), count * sizeof *t->nodes);
}

/* No two extents share a byte. */
static int by_offset(const void *a, const void *b)
{
	const struct ml_extent *x = a, *y = b;

	return (x->offset > y->offset) - (x->offset < y->offset);
}

static void check_disjoint(const struct trace_file *t)
{
	struct ml_extent *sorted = malloc(t->extent_count * sizeof *sorted);

	memcpy(sorted, t->extents, t->extent_count * sizeof *sorted);
	qsort(sorted, t->extent_count, sizeof *sorted, by_offset);
	for (size_t i = 1; i < t->extent_count; i++)
		ck_assert_uint_le(sorted[i - 1].offset + sorted[i - 1].length, sorted[i].offset);
	free(sorted);
}

void trace_open(struct trace_file *t, const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY);

	free(t->extents);
	free(t->nodes);
	if (t->data)
		munmap((void *)(uintptr_t)t->data, t->bytes);
	memset(t, 0, sizeof *t);
	ck_assert_msg(fd >= 0, "%s", path);
	ck_assert_int_eq(fstat(fd, &st), 0);
	t->bytes = (size_t)st.st_size;
	t->data = mmap(NULL, t->bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	ck_assert_ptr_ne(t->data, MAP_FAILED);
	close(fd);
	t->header = at(t, 0, sizeof *t->header);
	ck_assert(!memcmp(t->header->magic, ML_MAGIC, sizeof t->header->magic));
	ck_assert_uint_eq(t->header->version, ML_VERSION);
	ck_assert_uint_eq(t->header->byte_order, ML_BYTE_ORDER);
	ck_assert_uint_eq(t->header->header_bytes, sizeof *t->header);
	ck_assert_uint_eq(t->header->counters, ML_COUNTERS);
	add_directory(t, t->header->directory, t->header->directory_bytes);
	check_disjoint(t);
	for (size_t i = 0; i < t->extent_count; i++)
		if (t->extents[i].kind == ML_EXTENT_NODES)
			add_nodes(t, &t->extents[i]);
}

uint32_t trace_count_rings(const struct trace_file *t)
{
	uint32_t rings = 0;

	for (size_t i = 0; i < t->extent_count; i++)
		if (t->extents[i].kind == ML_EXTENT_RING && t->extents[i].id >= rings)
			rings = t->extents[i].id + 1;
	return rings;
}

size_t trace_count_extents(const struct trace_file *t, enum ml_extent_kind kind)
{
	size_t count = 0;

	for (size_t i = 0; i < t->extent_count; i++)
		count += t->extents[i].kind == kind;
	return count;
}

/* The value of the key's entry number *nth in one extent; counts down those that come before it. */
static const char *meta_in(const struct trace_file *t, const struct ml_extent *x, const char *key, unsigned *nth)
{
	const char *p = at(t, x->offset, x->length), *end = p + x->length;

	while (*p) {
		const char *value = p + strlen(p) + 1;
		ck_assert(value < end);
		if (!strcmp(p, key) && !(*nth)--)
			return value;
		p = value + strlen(value) + 1;
		ck_assert(p < end);
	}
	return NULL;
}

const char *trace_meta(const struct trace_file *t, const char *key, unsigned nth)
{
	const char *value = NULL;

	for (size_t i = 0; i < t->extent_count && !value; i++)
		if (t->extents[i].kind == ML_EXTENT_META)
			value = meta_in(t, &t->extents[i], key, &nth);
	return value;
}

/* The nth definition of a kind, or NULL; *count: how many there are. */
static const struct ml_def *find_def(const struct trace_file *t, enum ml_def_kind kind, uint32_t id, size_t *count)
{
	const struct ml_def *found = NULL;

	*count = 0;
	for (size_t i = 0; i < t->extent_count; i++) {
		const struct ml_extent *x = &t->extents[i];
		const uint8_t *p, *end;
		if (x->kind != ML_EXTENT_DEFS)
			continue;
		p = at(t, x->offset, x->length);
		end = p + x->length;
		for (; p < end && ((const struct ml_def *)p)->length; p += ((const struct ml_def *)p)->length) {
			const struct ml_def *d = (const struct ml_def *)p;
			if (d->length % 8 || d->length > (size_t)(end - p))
				ck_abort_msg("a definition of %u bytes", d->length);
			*count += d->kind == kind;
			if (d->kind != kind || ((const uint32_t *)(d + 1))[0] != id)
				continue;
			if (found)
				ck_abort_msg("two definitions of %u", id);
			found = d;
		}
	}
	return found;
}

const struct ml_def_code *trace_code(const struct trace_file *t, uint32_t id)
{
	size_t count;

	return (const struct ml_def_code *)find_def(t, ML_DEF_CODE, id, &count);
}

const struct ml_def_module *trace_module(const struct trace_file *t, uint32_t id)
{
	size_t count;

	return (const struct ml_def_module *)find_def(t, ML_DEF_MODULE, id, &count);
}

size_t trace_count_defs(const struct trace_file *t, enum ml_def_kind kind)
{
	size_t count;

	find_def(t, kind, UINT32_MAX, &count);
	return count;
}

struct list {
	struct trace_event *events;
	size_t count, room;
};

static void add_event(struct list *l, const struct trace_event *e)
{
	if (l->count == l->room) {
		l->room = l->room ? 2 * l->room : 1024;
		l->events = realloc(l->events, l->room * sizeof *l->events);
	}
	l->events[l->count++] = *e;
}

/* Pieces in EVENTS extents stand at any address. */
static struct ml_piece head_of(const void *piece)
{
	struct ml_piece head;

	memcpy(&head, piece, sizeof head);
	return head;
}

static void decode(const void *piece, struct list *l)
{
	struct ml_cursor c;
	struct ml_piece head = head_of(piece);
	struct trace_event now = {.ring = head.ring};
	int got;

	ml_cursor_init(&c, (const char *)piece + sizeof head, ML_PIECE_USED(head.state));
	while ((got = ml_get(&c, &now.e)) == 1) {
		if (now.e.record == ML_RECORD_BASE) {
			now.turn = now.e.turn;
			now.ns = now.e.ns;
			now.tid = now.e.tid;
		} else if (now.e.record == ML_RECORD_TURN) {
			if (!now.e.turn)
				ck_abort_msg("a turn of nothing");
			now.turn += now.e.turn;
		} else if (now.e.record == ML_RECORD_TIME) {
			now.ns += now.e.ns;
		}
		add_event(l, &now);
	}
	ck_assert_int_eq(got, 0);
}

/* The piece of a ring with the number, if an EVENTS extent holds it whole. */
static const void *find_piece(const struct trace_file *t, uint32_t ring, uint64_t sequence)
{
	for (size_t i = 0; i < t->extent_count; i++) {
		const struct ml_extent *x = &t->extents[i];
		const void *p;
		struct ml_piece head;
		if (x->kind != ML_EXTENT_EVENTS || x->id != ring || x->sequence != sequence ||
		    x->offset + x->length > t->bytes)
			continue;
		p = at(t, x->offset, x->length);
		head = head_of(p);
		if (ML_PIECE_SEQUENCE(head.state) != sequence || ML_PIECE_USED(head.state) > x->length - sizeof head ||
		    head.checksum != ml_checksum((const char *)p + sizeof head, ML_PIECE_USED(head.state)))
			continue;
		ck_assert_uint_eq(head.ring, ring);
		return p;
	}
	return NULL;
}

struct trace_event *trace_ring_events(struct trace_file *t, uint32_t ring, size_t *count)
{
	struct list l = {NULL, 0, 0};
	const struct ml_piece *newest = NULL;

	for (size_t i = 0; i < t->extent_count; i++) {
		const struct ml_piece *p;
		if (t->extents[i].kind != ML_EXTENT_RING || t->extents[i].id != ring)
			continue;
		p = at(t, t->extents[i].offset, t->extents[i].length);
		if (!newest || p->state > newest->state) /* a larger extent may not be in use yet */
			newest = p;
	}
	ck_assert_ptr_nonnull(newest);
	ck_assert_uint_eq(newest->ring, ring);
	for (uint32_t sequence = 0; sequence < ML_PIECE_SEQUENCE(newest->state); sequence++) {
		const void *p = find_piece(t, ring, sequence);
		size_t first = l.count;
		struct ml_piece head;
		if (!p) {
			t->damaged++;
			continue;
		}
		head = head_of(p);
		decode(p, &l);
		ck_assert_int_eq(l.events[first].e.record, ML_RECORD_BASE);
		ck_assert_uint_eq(l.events[first].turn, head.first_turn);
		ck_assert_uint_eq(l.events[l.count - 1].turn, head.last_turn);
		ck_assert_uint_eq(l.events[first].tid, head.tid);
	}
	decode(newest, &l);
	*count = l.count;
	return l.events;
}

static int by_turn(const void *a, const void *b)
{
	const struct trace_event *x = *(const struct trace_event *const *)a, *y = *(const struct trace_event *const *)b;

	if (x->turn != y->turn)
		return x->turn < y->turn ? -1 : 1;
	if (x->ring != y->ring)
		ck_abort_msg("two rings in turn %llu", (unsigned long long)x->turn);
	return (x > y) - (x < y);
}

struct trace_event *trace_events(struct trace_file *t, size_t *count)
{
	struct list all = {NULL, 0, 0};
	struct trace_event **order, *sorted;

	for (uint32_t ring = 0; ring < trace_count_rings(t); ring++) {
		size_t n;
		struct trace_event *events = trace_ring_events(t, ring, &n);
		for (size_t i = 0; i < n; i++)
			if (events[i].e.record != ML_RECORD_BASE && events[i].e.record != ML_RECORD_TURN &&
			    events[i].e.record != ML_RECORD_TIME)
				add_event(&all, &events[i]);
		free(events);
	}
	order = malloc((all.count + 1) * sizeof *order);
	sorted = malloc((all.count + 1) * sizeof *sorted);
	for (size_t i = 0; i < all.count; i++)
		order[i] = &all.events[i];
	qsort(order, all.count, sizeof *order, by_turn);
	for (size_t i = 0; i < all.count; i++)
		sorted[i] = *order[i];
	free(order);
	free(all.events);
	*count = all.count;
	return sorted;
}

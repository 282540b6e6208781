#include "tests/report/build_trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/memory.h"
#include "trace/put.h"

struct bytes {
	uint8_t *at;
	size_t n;
	size_t room;
};

/* An extent and what is in it. */
struct part {
	struct ml_extent extent; /* offset and length are set when the file is put together */
	struct bytes bytes;
};

struct build_ring {
	struct build *build;
	uint32_t id;
	uint32_t tid;
	uint32_t sequence;
	uint32_t first_tid; /* of the piece, as the next two */
	uint64_t first_turn;
	uint64_t first_ns;
	uint64_t turn;
	uint64_t ns;
	struct ml_coder coder;
	struct ml_tables tables;
	struct bytes events;
};

struct build {
	struct build_layout layout;
	struct ml_header header;
	struct bytes meta;
	struct bytes definitions;
	struct bytes nodes;
	struct bytes counts;
	uint32_t codes_n;
	uint32_t code_flags;
	uint32_t modules_n;
	struct build_ring **rings;
	uint32_t rings_n;
	struct part *pieces; /* EVENTS */
	size_t pieces_n;
	struct ml_control *control; /* NULL: there is none */
	uint64_t turn;
	const struct build_ring *owner; /* of the turn */
	struct bytes file;
};

static uint8_t *room_for(struct bytes *b, size_t more)
{
	if (b->n + more > b->room) {
		b->room = (b->n + more) * 2;
		b->at = ml_memory_resize(b->at, b->room, 1);
	}
	return b->at + b->n;
}

static void add(struct bytes *b, const void *bytes, size_t n)
{
	if (!n)
		return;
	memcpy(room_for(b, n), bytes, n);
	b->n += n;
}

static void add_zeros(struct bytes *b, size_t n)
{
	memset(room_for(b, n), 0, n);
	b->n += n;
}

static void align(struct bytes *b)
{
	add_zeros(b, -b->n % 8);
}

struct build *build_new(void)
{
	struct build *b = ml_memory_get(1, sizeof *b);

	b->layout = (struct build_layout){
		.piece_bytes = ML_RING_BYTES - sizeof(struct ml_piece), .chunk_entries = 64, .nodes_in_extent = 64};
	b->header.exit_status = -1;
	return b;
}

void build_done(struct build *b)
{
	for (uint32_t i = 0; i < b->rings_n; i++) {
		free(b->rings[i]->events.at);
		free(b->rings[i]);
	}
	for (size_t i = 0; i < b->pieces_n; i++)
		free(b->pieces[i].bytes.at);
	free(b->control);
	free(b->rings);
	free(b->pieces);
	free(b->meta.at);
	free(b->definitions.at);
	free(b->nodes.at);
	free(b->counts.at);
	free(b->file.at);
	free(b);
}

struct build_layout *build_layout(struct build *b)
{
	return &b->layout;
}

struct ml_header *build_header(struct build *b)
{
	return &b->header;
}

void build_meta(struct build *b, const char *key, const char *value)
{
	add(&b->meta, key, strlen(key) + 1);
	add(&b->meta, value, strlen(value) + 1);
}

void build_code_flags(struct build *b, uint32_t flags)
{
	b->code_flags = flags;
}

uint32_t build_code(struct build *b, const char *file, const char *name, uint32_t first_line, const void *table,
		    uint32_t table_bytes)
{
	struct ml_def_code d = {.def.kind = ML_DEF_CODE,
				.id = b->codes_n++,
				.first_line = first_line,
				.file_bytes = (uint32_t)strlen(file),
				.name_bytes = (uint32_t)strlen(name),
				.table_bytes = table_bytes,
				.code_flags = b->code_flags};

	d.def.length = (uint32_t)((sizeof d + d.file_bytes + d.name_bytes + d.table_bytes + 7) / 8 * 8);
	add(&b->definitions, &d, sizeof d);
	add(&b->definitions, file, d.file_bytes);
	add(&b->definitions, name, d.name_bytes);
	add(&b->definitions, table, d.table_bytes);
	align(&b->definitions);
	return d.id;
}

uint32_t build_module(struct build *b, const char *path, uint64_t start, uint64_t bytes)
{
	static const uint8_t build_id[] = {0xca, 0xfe, 0xba, 0xbe};
	struct ml_def_module d = {.def.kind = ML_DEF_MODULE,
				  .id = ++b->modules_n,
				  .epoch = 1,
				  .base = start,
				  .start = start,
				  .end = start + bytes,
				  .path_bytes = (uint32_t)strlen(path),
				  .build_id_bytes = sizeof build_id};

	d.def.length = (uint32_t)((sizeof d + d.path_bytes + d.build_id_bytes + 7) / 8 * 8);
	add(&b->definitions, &d, sizeof d);
	add(&b->definitions, path, d.path_bytes);
	add(&b->definitions, build_id, sizeof build_id);
	align(&b->definitions);
	return d.id;
}

uint32_t build_node(struct build *b, uint32_t parent, enum ml_node_kind kind, uint32_t number, int64_t place)
{
	struct ml_node node = {parent, ML_SUBJECT(kind, number), (uint64_t)place};

	add(&b->nodes, &node, sizeof node);
	return (uint32_t)(b->nodes.n / sizeof node);
}

/* Rings. */

static void start_piece(struct build_ring *r)
{
	r->first_tid = r->tid;
	r->first_turn = r->turn;
	r->first_ns = r->ns;
	r->tables = (struct ml_tables){{0}, {0}};
	r->coder = (struct ml_coder){.tables = &r->tables};
	r->events.n = 0;
	r->events.n = (size_t)(ml_put_base(room_for(&r->events, ML_RECORD_MAX), r->turn, r->ns, r->tid) - r->events.at);
}

struct build_ring *build_ring(struct build *b, uint32_t tid)
{
	struct build_ring *r = ml_memory_get(1, sizeof *r);

	r->build = b;
	r->id = b->rings_n;
	r->tid = tid;
	b->rings = ml_memory_resize(b->rings, b->rings_n + 1, sizeof(struct build_ring *));
	b->rings[b->rings_n++] = r;
	start_piece(r);
	return r;
}

static void add_piece(struct bytes *to, const struct build_ring *r, int is_events)
{
	struct ml_piece head = {.state = ML_PIECE_STATE(r->sequence, r->events.n), .ring = r->id};

	if (is_events) {
		head.checksum = ml_checksum(r->events.at, r->events.n);
		head.first_turn = r->first_turn;
		head.last_turn = r->turn;
		head.first_ns = r->first_ns;
		head.last_ns = r->ns;
		head.tid = r->first_tid;
	}
	add(to, &head, sizeof head);
	add(to, r->events.at, r->events.n);
}

void build_flush(struct build_ring *r)
{
	struct build *b = r->build;
	struct part *p;

	b->pieces = ml_memory_resize(b->pieces, b->pieces_n + 1, sizeof *b->pieces);
	p = &b->pieces[b->pieces_n++];
	*p = (struct part){.extent = {.kind = ML_EXTENT_EVENTS, .id = r->id, .sequence = r->sequence}};
	add_piece(&p->bytes, r, 1);
	r->sequence++;
	start_piece(r);
}

/* Room for a record and what may have to go before it. */
static uint8_t *ready(struct build_ring *r)
{
	if (r->events.n + 4 * ML_RECORD_MAX > r->build->layout.piece_bytes)
		build_flush(r);
	return room_for(&r->events, 4 * ML_RECORD_MAX);
}

static void done(struct build_ring *r, const uint8_t *end)
{
	r->events.n = (size_t)(end - r->events.at);
}

void build_owner(struct build_ring *r, uint32_t tid)
{
	uint8_t *at = ready(r);

	r->tid = tid;
	done(r, ml_put_base(at, r->turn, r->ns, tid));
}

static uint8_t *take_turn(struct build_ring *r, uint8_t *at)
{
	struct build *b = r->build;

	if (b->owner == r)
		return at;
	b->owner = r;
	b->turn++;
	at = ml_put_turn(at, b->turn - r->turn);
	r->turn = b->turn;
	return at;
}

static uint8_t *put_range(uint8_t *at, struct build_ring *r, const struct ml_event *e)
{
	unsigned head = e->record | (e->brk ? ML_REC_BREAK : 0);

	at = ml_put_range(at, &r->coder, head, e->node, e->address, e->bytes);
	if (e->record == ML_RECORD_MAP || e->record == ML_RECORD_PROTECT)
		at = ml_put_varint(at, e->prot);
	if (e->record == ML_RECORD_MAP || e->record == ML_RECORD_REMAP_BEGIN)
		at = ml_put_varint(at, e->flags);
	return at;
}

/* It belongs to the record before, so nothing may come between. */
static void put_ours(struct build_ring *r)
{
	done(r, ml_put_ours(room_for(&r->events, ML_RECORD_MAX)));
}

void build_event(struct build_ring *r, const struct ml_event *e)
{
	uint8_t *at;

	if (e->record == ML_RECORD_OTHER && e->other == ML_OTHER_OURS) {
		put_ours(r);
		return;
	}
	at = take_turn(r, ready(r));
	switch (e->record) {
	case ML_RECORD_ALLOC:
		at = ml_put_alloc(at, &r->coder, e->domain, e->node, e->address, e->bytes);
		break;
	case ML_RECORD_FREE:
	case ML_RECORD_REALLOC_BEGIN:
		at = ml_put_free(at, &r->coder, e->record, e->domain, e->node, e->address);
		break;
	case ML_RECORD_REALLOC_END:
		at = ml_put_realloc_end(at, &r->coder, e->outcome, e->address, e->bytes);
		break;
	case ML_RECORD_MAP:
	case ML_RECORD_UNMAP_BEGIN:
	case ML_RECORD_REMAP_BEGIN:
	case ML_RECORD_PROTECT:
		at = put_range(at, r, e);
		break;
	case ML_RECORD_UNMAP_END:
	case ML_RECORD_REMAP_END:
		at = ml_put_range_end(at, &r->coder, e->record, e->outcome, e->address, e->bytes);
		break;
	case ML_RECORD_ARENA:
		at = ml_put_arena(at, &r->coder, e->released, e->address, e->bytes);
		break;
	case ML_RECORD_TIME:
		r->ns += e->ns;
		at = ml_put_time(at, e->ns, e->pages);
		break;
	case ML_RECORD_OTHER:
		at = e->other == ML_OTHER_GENERATOR ? ml_put_generator(at, &r->coder, e->address) : ml_put_finalize(at);
		break;
	case ML_RECORD_BASE:
	case ML_RECORD_TURN:
		break;
	}
	done(r, at);
}

void build_alloc(struct build_ring *r, enum ml_domain domain, uint32_t node, uint64_t address, uint64_t bytes)
{
	build_event(
		r,
		&(struct ml_event){
			.record = ML_RECORD_ALLOC, .domain = domain, .node = node, .address = address, .bytes = bytes});
}

void build_free(struct build_ring *r, enum ml_domain domain, uint32_t node, uint64_t address)
{
	build_event(r,
		    &(struct ml_event){.record = ML_RECORD_FREE, .domain = domain, .node = node, .address = address});
}

void build_realloc(struct build_ring *r, enum ml_domain domain, uint32_t node, uint64_t from, uint64_t to,
		   uint64_t bytes)
{
	build_event(r, &(struct ml_event){
			       .record = ML_RECORD_REALLOC_BEGIN, .domain = domain, .node = node, .address = from});
	build_event(r, &(struct ml_event){.record = ML_RECORD_REALLOC_END, .address = to, .bytes = bytes});
}

void build_map(struct build_ring *r, uint32_t node, uint64_t address, uint64_t bytes, int prot, int flags)
{
	build_event(r, &(struct ml_event){.record = ML_RECORD_MAP,
					  .node = node,
					  .address = address,
					  .bytes = bytes,
					  .prot = (unsigned)prot,
					  .flags = (unsigned)flags});
}

void build_unmap(struct build_ring *r, uint32_t node, uint64_t address, uint64_t bytes)
{
	build_event(r, &(struct ml_event){
			       .record = ML_RECORD_UNMAP_BEGIN, .node = node, .address = address, .bytes = bytes});
	build_event(r, &(struct ml_event){.record = ML_RECORD_UNMAP_END});
}

void build_time(struct build_ring *r, uint64_t ns, uint64_t pages)
{
	build_event(r, &(struct ml_event){.record = ML_RECORD_TIME, .ns = ns - r->ns, .pages = pages});
}

void build_generator(struct build_ring *r, uint64_t address)
{
	build_event(r, &(struct ml_event){.record = ML_RECORD_OTHER, .other = ML_OTHER_GENERATOR, .address = address});
}

void build_finalize(struct build_ring *r)
{
	build_event(r, &(struct ml_event){.record = ML_RECORD_OTHER, .other = ML_OTHER_FINALIZE});
}

void build_count_never(struct build *b, uint32_t code, uint32_t line, uint64_t count)
{
	struct ml_count c = {.code = code, .line = line, .ring = ML_COUNT_NO_RING, .count = count};

	add(&b->counts, &c, sizeof c);
}

void build_count(struct build *b, uint32_t code, uint32_t line, uint64_t count)
{
	const struct build_ring *r = b->owner;
	struct ml_count c = {.code = code, .line = line, .count = count};

	if (!r) {
		build_count_never(b, code, line, count);
		return;
	}
	c.ring = r->id;
	c.state = ML_PIECE_STATE(r->sequence, r->events.n);
	add(&b->counts, &c, sizeof c);
}

/* The file. */

struct parts {
	struct part *at;
	size_t n;
};

static struct part *add_part(struct parts *parts, enum ml_extent_kind kind, uint32_t id)
{
	parts->at = ml_memory_resize(parts->at, parts->n + 1, sizeof *parts->at);
	parts->at[parts->n] = (struct part){.extent = {.kind = kind, .id = id}};
	return &parts->at[parts->n++];
}

/* Everything but the directory, in the order in which a recorder makes it: pieces come last. */
static struct parts all_parts(const struct build *b)
{
	struct parts parts = {0};
	size_t in_extent = b->layout.nodes_in_extent * sizeof(struct ml_node);
	struct part *p;

	p = add_part(&parts, ML_EXTENT_META, 0);
	add(&p->bytes, b->meta.at, b->meta.n);
	add_zeros(&p->bytes, 8);
	p = add_part(&parts, ML_EXTENT_DEFS, 0);
	add(&p->bytes, b->definitions.at, b->definitions.n);
	add_zeros(&p->bytes, 8);
	for (size_t at = 0; at < b->nodes.n; at += in_extent) {
		size_t n = b->nodes.n - at < in_extent ? b->nodes.n - at : in_extent;
		p = add_part(&parts, ML_EXTENT_NODES, (uint32_t)(1 + at / sizeof(struct ml_node)));
		add(&p->bytes, b->nodes.at + at, n);
		add_zeros(&p->bytes, in_extent - n);
	}
	if (b->control) {
		p = add_part(&parts, ML_EXTENT_CONTROL, 0);
		add(&p->bytes, b->control, sizeof *b->control);
	}
	if (b->counts.n) {
		p = add_part(&parts, ML_EXTENT_COUNTS, 0);
		add(&p->bytes, b->counts.at, b->counts.n);
		add_zeros(&p->bytes, sizeof(struct ml_count));
	}
	for (uint32_t i = 0; i < b->rings_n; i++) {
		p = add_part(&parts, ML_EXTENT_RING, i);
		add_piece(&p->bytes, b->rings[i], 0);
		add_zeros(&p->bytes, b->layout.piece_bytes > p->bytes.n ? b->layout.piece_bytes - p->bytes.n : 0);
	}
	for (size_t i = 0; i < b->pieces_n; i++) {
		p = add_part(&parts, ML_EXTENT_EVENTS, 0);
		p->extent = b->pieces[i].extent;
		add(&p->bytes, b->pieces[i].bytes.at, b->pieces[i].bytes.n);
	}
	return parts;
}

struct ml_control *build_control(struct build *b)
{
	if (!b->control && !(b->control = calloc(1, sizeof *b->control)))
		abort();
	return b->control;
}

/* What an entry of the directory takes, with the holes before it. */
static size_t entry_bytes(const struct build *b)
{
	return (b->layout.holes + (size_t)1) * sizeof(struct ml_extent);
}

/* A chunk of the directory with room for its entries; returns its offset. */
static size_t add_chunk(struct build *b)
{
	size_t at;

	align(&b->file);
	at = b->file.n;
	add_zeros(&b->file, b->layout.chunk_entries * entry_bytes(b));
	return at;
}

/* Fills in the entry at the offset; returns the offset of the next one. */
static size_t set_entry(struct build *b, size_t at, struct ml_extent extent)
{
	at += entry_bytes(b);
	memcpy(b->file.at + at - sizeof extent, &extent, sizeof extent);
	return at;
}

const uint8_t *build_bytes(struct build *b, size_t *bytes)
{
	struct parts parts = all_parts(b);
	struct ml_header h = b->header;
	size_t chunk, entry, chunk_bytes;

	b->file.n = 0;
	add_zeros(&b->file, sizeof h);
	chunk = entry = add_chunk(b);
	chunk_bytes = b->file.n - chunk;
	memcpy(h.magic, ML_MAGIC, sizeof h.magic);
	h.version = ML_VERSION;
	h.byte_order = ML_BYTE_ORDER;
	h.header_bytes = sizeof h;
	h.counters = ML_COUNTERS;
	h.directory = chunk;
	h.directory_bytes = chunk_bytes;
	for (size_t i = 0; i < parts.n; i++) {
		struct part *p = &parts.at[i];
		if (entry + entry_bytes(b) == chunk + chunk_bytes && i + 1 < parts.n) {
			size_t next = add_chunk(b);
			set_entry(b, entry, (struct ml_extent){next, chunk_bytes, ML_EXTENT_DIRECTORY, 0, 0});
			chunk = entry = next;
		}
		align(&b->file);
		p->extent.offset = b->file.n;
		p->extent.length = p->bytes.n;
		add(&b->file, p->bytes.at, p->bytes.n);
		entry = set_entry(b, entry, p->extent);
		free(p->bytes.at);
	}
	free(parts.at);
	memcpy(b->file.at, &h, sizeof h);
	*bytes = b->file.n;
	return b->file.at;
}

void build_save(const char *path, const void *bytes, size_t length)
{
	FILE *file = fopen(path, "wb");

	if (!file || fwrite(bytes, 1, length, file) != length || fclose(file) != 0) {
		perror(path);
		exit(1);
	}
}

void build_write(struct build *b, const char *path)
{
	size_t length;
	const uint8_t *bytes = build_bytes(b, &length);

	build_save(path, bytes, length);
}

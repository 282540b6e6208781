#include "preload/tree.h"

#include <stdatomic.h>
#include <string.h>

#include "preload/file.h"
#include "preload/identity.h"
#include "preload/options.h"
#include "preload/process.h"
#include "preload/sys.h"
#include "symbolize/python/code.h"
#include "trace/put.h"

/* Nodes beyond MEMLINE_MAX_NODES, for frames under <truncated>. */
#define RESERVE(max_nodes) ((max_nodes) / 4 + 2)

#define CHUNKS_MAX ((ML_NODES_MAX + RESERVE(ML_NODES_MAX)) / ML_NODES_PER_EXTENT + 1)
#define TEXT_MAX 16384u
#define DEFS_BYTES 65536u

/*
 * Open addressing over nodes, at most half full: each slot has a node's number and its hash, so that mostly no other
 * node is looked at than the one that is looked for. Read without the lock: a slot is stored after its node, a larger
 * table replaces this one only when it is complete, and this one stays where it is, empty.
 */
struct index {
	uint32_t mask;
	_Atomic uint64_t slots[]; /* SLOT(hash, id); 0: free */
};

#define SLOT(hash, id) ((uint64_t)(hash) << 32 | (id))
#define SLOT_HASH(slot) ((uint32_t)((slot) >> 32))
#define SLOT_ID(slot) ((uint32_t)(slot))

/* What is known of a code object's address. The id is invalid while the rest changes, so a reader that sees the same
   valid id before and after has read what belongs together. */
struct seen_code {
	const void *_Atomic code;
	_Atomic uint64_t fingerprint;
	_Atomic uint32_t id; /* the id plus 1, with flags; 0: the entry is changing */
};

#define SEEN_TRAITS_BIT 29
#define SEEN_UNJUDGED (1u << 31) /* nothing was known of the scope */
#define SEEN_ID(id) ((id) & ((1u << SEEN_TRAITS_BIT) - 1))
_Static_assert(ML_SUBJECT_NUMBERS < 1u << SEEN_TRAITS_BIT, "ids of code objects leave room for flags");

struct seen_codes {
	uint32_t mask;
	struct seen_code slots[];
};

/* Code objects by content, so that a loop of exec makes one definition. Used under the lock only. */
struct content {
	uint64_t hash;
	uint32_t id; /* plus 1 */
};

static struct {
	struct ml_node *chunks[CHUNKS_MAX];
	_Atomic uint32_t nodes; /* the next number */
	struct index *_Atomic index;
	struct seen_codes *_Atomic codes;
	uint32_t codes_used;
	struct content *contents;
	uint32_t contents_mask;
	uint32_t code_ids;
	uint8_t *defs; /* the DEFS extent that is being filled */
	uint64_t defs_used, defs_room;
	char *text; /* where names are spelled out, under the lock */
} tree;

_Atomic uint32_t ml_tree_epoch;
uint64_t ml_tree_code_bits[(1u << ML_CODE_BITS) / 64];

static uint64_t mix(uint64_t h)
{
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93u;
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93u;
	return h ^ h >> 32;
}

static struct ml_node *node_at(uint32_t id)
{
	return &tree.chunks[id / ML_NODES_PER_EXTENT][id % ML_NODES_PER_EXTENT];
}

static uint32_t node_hash(uint32_t parent, uint32_t subject, uint64_t place)
{
	return (uint32_t)mix(((uint64_t)parent << 32 | subject) * 0x9e3779b97f4a7c15u ^ place);
}

/* 0: not there. */
static uint32_t find_node(const struct index *ix, uint32_t parent, uint32_t subject, uint64_t place)
{
	const uint32_t hash = node_hash(parent, subject, place);

	for (uint32_t i = hash;; i++) {
		uint64_t slot = atomic_load_explicit(&ix->slots[i & ix->mask], memory_order_acquire);
		const struct ml_node *n;
		if (!slot)
			return 0;
		if (SLOT_HASH(slot) != hash)
			continue;
		n = node_at(SLOT_ID(slot));
		if (n->parent == parent && n->subject == subject && n->place == place)
			return SLOT_ID(slot);
	}
}

static void add_slot(struct index *ix, uint64_t slot)
{
	uint32_t i = SLOT_HASH(slot);

	while (atomic_load_explicit(&ix->slots[i & ix->mask], memory_order_relaxed))
		i++;
	atomic_store_explicit(&ix->slots[i & ix->mask], slot, memory_order_release);
}

#define INDEX_BYTES(slots) (sizeof(struct index) + (slots) * sizeof(uint64_t))

static struct index *new_index(uint32_t slots)
{
	struct index *ix = ml_sys_pages(INDEX_BYTES(slots));

	if (!ix)
		return NULL;
	ml_sys_populate(ix, INDEX_BYTES(slots));
	ix->mask = slots - 1;
	return ix;
}

/* Twice the room where the index is half full. False: no memory for it. Who still reads the old one finds nothing there
   and looks again under the lock. */
static bool grow_index(void)
{
	struct index *old = atomic_load_explicit(&tree.index, memory_order_relaxed), *ix;
	uint32_t nodes = atomic_load_explicit(&tree.nodes, memory_order_relaxed);

	if (nodes <= old->mask / 2)
		return true;
	ix = new_index((old->mask + 1) * 2);
	if (!ix)
		return false;
	for (uint32_t i = 0; i <= old->mask; i++) {
		uint64_t slot = atomic_load_explicit(&old->slots[i], memory_order_relaxed);
		if (slot)
			add_slot(ix, slot);
	}
	atomic_store_explicit(&tree.index, ix, memory_order_release);
	ml_sys_empty(old, INDEX_BYTES(old->mask + (uint64_t)1));
	return true;
}

static uint32_t add_node(uint32_t parent, uint32_t subject, uint64_t place)
{
	uint32_t id = atomic_load_explicit(&tree.nodes, memory_order_relaxed), chunk = id / ML_NODES_PER_EXTENT;
	struct ml_node *n;

	if (!grow_index())
		return 0;
	if (!tree.chunks[chunk]) {
		tree.chunks[chunk] =
			ml_file_map(ML_EXTENT_NODES, chunk * ML_NODES_PER_EXTENT, ML_NODES_PER_EXTENT * sizeof *n);
		if (!tree.chunks[chunk])
			return 0;
		ml_sys_populate(tree.chunks[chunk], ML_NODES_PER_EXTENT * sizeof *n);
	}
	n = node_at(id);
	n->parent = parent;
	n->place = place;
	__atomic_store_n(&n->subject, subject, __ATOMIC_RELEASE);
	add_slot(atomic_load_explicit(&tree.index, memory_order_relaxed), SLOT(node_hash(parent, subject, place), id));
	atomic_store_explicit(&tree.nodes, id + 1, memory_order_release);
	return id;
}

/* With the lock held: looks again, since another thread may have come first. */
static uint32_t find_or_add(uint32_t parent, uint32_t subject, uint64_t place)
{
	uint32_t id = find_node(atomic_load_explicit(&tree.index, memory_order_relaxed), parent, subject, place);

	return id ? id : add_node(parent, subject, place);
}

/* The tree is full: a Python frame keeps its place under <truncated>, a native one stays on the frame that called
   it. */
static uint32_t add_truncated(uint32_t parent, uint32_t subject, uint64_t place)
{
	uint32_t under = parent, id;

	ml_process_count(ML_COUNTER_TRUNCATED_STACKS, 1);
	if (!parent || ML_SUBJECT_KIND(subject) != ML_NODE_NATIVE)
		under = find_or_add(0, ML_SUBJECT(ML_NODE_MARK, ML_MARK_TRUNCATED), 0);
	if (!under)
		return 0;
	id = find_node(atomic_load_explicit(&tree.index, memory_order_relaxed), under, subject, place);
	if (id)
		return id;
	if (tree.nodes > ml_options.max_nodes + RESERVE(ml_options.max_nodes))
		return under;
	return add_node(under, subject, place);
}

uint32_t ml_tree_node(uint32_t parent, uint32_t subject, uint64_t place)
{
	uint32_t id = find_node(atomic_load_explicit(&tree.index, memory_order_acquire), parent, subject, place);

	if (id)
		return id;
	ml_lock_take(&ml_process.lock);
	id = find_node(atomic_load_explicit(&tree.index, memory_order_relaxed), parent, subject, place);
	if (!id)
		id = tree.nodes <= ml_options.max_nodes ? add_node(parent, subject, place)
							: add_truncated(parent, subject, place);
	ml_lock_drop(&ml_process.lock);
	return id;
}

uint32_t ml_tree_nodes(void)
{
	return atomic_load_explicit(&tree.nodes, memory_order_relaxed);
}

/* Room for a definition, its length word still 0; NULL: recording has been stopped. */
static void *new_definition(uint64_t bytes)
{
	void *at;

	if (tree.defs_room - tree.defs_used < bytes) {
		uint64_t room = bytes > DEFS_BYTES ? bytes : DEFS_BYTES;
		uint8_t *more = ml_file_map(ML_EXTENT_DEFS, 0, room);
		if (!more)
			return NULL;
		tree.defs = more;
		tree.defs_used = 0;
		tree.defs_room = room;
	}
	at = tree.defs + tree.defs_used;
	tree.defs_used += bytes;
	return at;
}

static uint32_t definition_bytes(uint64_t bytes)
{
	return (uint32_t)(bytes + 7) / 8 * 8;
}

static uint64_t content_hash(const struct ml_code_text *t)
{
	uint64_t h = ml_checksum(t->file, t->file_bytes);

	h = mix(h ^ ml_checksum(t->name, t->name_bytes));
	h = mix(h ^ ml_checksum(t->table, t->table_bytes));
	return mix(h ^ (uint64_t)t->first_line << 32 ^ t->flags);
}

static void write_code(uint32_t id, const struct ml_code_text *t)
{
	uint32_t bytes = definition_bytes(sizeof(struct ml_def_code) + t->file_bytes + t->name_bytes + t->table_bytes);
	struct ml_def_code *d = new_definition(bytes);
	char *at = (char *)(d + 1);

	if (!d)
		return;
	d->def.kind = ML_DEF_CODE;
	d->id = id;
	d->first_line = t->first_line;
	d->file_bytes = t->file_bytes;
	d->name_bytes = t->name_bytes;
	d->table_bytes = t->table_bytes;
	d->code_flags = t->flags;
	memcpy(at, t->file, t->file_bytes);
	memcpy(at + t->file_bytes, t->name, t->name_bytes);
	memcpy(at + t->file_bytes + t->name_bytes, t->table, t->table_bytes);
	__atomic_store_n(&d->def.length, bytes, __ATOMIC_RELEASE);
}

static bool grow_contents(void)
{
	uint32_t mask = tree.contents_mask * 2 + 1, old_mask;
	struct content *more, *old;

	if (tree.code_ids <= tree.contents_mask / 2)
		return true;
	more = ml_sys_pages((mask + (uint64_t)1) * sizeof *more);
	if (!more)
		return false;
	for (uint32_t i = 0; i <= tree.contents_mask; i++) {
		uint64_t to = tree.contents[i].hash;
		if (!tree.contents[i].id)
			continue;
		while (more[to & mask].id)
			to++;
		more[to & mask] = tree.contents[i];
	}
	old = tree.contents;
	old_mask = tree.contents_mask;
	tree.contents = more;
	tree.contents_mask = mask;
	ml_sys_munmap(old, (old_mask + (uint64_t)1) * sizeof *old);
	return true;
}

/* The id of a code object with these contents, new or old; UINT32_MAX: none can be had. */
static uint32_t intern_content(const struct ml_code_text *t)
{
	uint64_t hash = content_hash(t), i;

	for (i = hash; tree.contents[i & tree.contents_mask].id; i++)
		if (tree.contents[i & tree.contents_mask].hash == hash)
			return tree.contents[i & tree.contents_mask].id - 1;
	if (tree.code_ids == ML_SUBJECT_NUMBERS - 1 || !grow_contents())
		return UINT32_MAX;
	for (i = hash; tree.contents[i & tree.contents_mask].id; i++)
		;
	write_code(tree.code_ids, t);
	tree.contents[i & tree.contents_mask] = (struct content){hash, tree.code_ids + 1};
	return tree.code_ids++;
}

static uint64_t code_hash(const void *code)
{
	return mix((uint64_t)(uintptr_t)code >> 4);
}

#define SEEN_BYTES(slots) (sizeof(struct seen_codes) + (slots) * sizeof(struct seen_code))

static struct seen_codes *new_seen(uint32_t slots)
{
	struct seen_codes *s = ml_sys_pages(SEEN_BYTES(slots));

	if (s)
		s->mask = slots - 1;
	return s;
}

/* The slot of an address, or the free one where it would be. */
static struct seen_code *slot_of(struct seen_codes *s, const void *code)
{
	uint64_t i = code_hash(code);
	const void *there;

	while ((there = atomic_load_explicit(&s->slots[i & s->mask].code, memory_order_acquire)) && there != code)
		i++;
	return &s->slots[i & s->mask];
}

static void set_slot(struct seen_code *slot, const void *code, uint64_t fingerprint, uint32_t id)
{
	atomic_store_explicit(&slot->id, 0, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	atomic_store_explicit(&slot->fingerprint, fingerprint, memory_order_relaxed);
	atomic_store_explicit(&slot->id, id + 1, memory_order_release);
	atomic_store_explicit(&slot->code, code, memory_order_release);
}

static bool grow_seen(void)
{
	struct seen_codes *old = atomic_load_explicit(&tree.codes, memory_order_relaxed), *s;

	if (tree.codes_used <= old->mask / 2)
		return true;
	s = new_seen((old->mask + 1) * 2);
	if (!s)
		return false;
	for (uint32_t i = 0; i <= old->mask; i++) {
		struct seen_code *from = &old->slots[i];
		if (from->code)
			set_slot(slot_of(s, from->code), from->code, from->fingerprint, from->id - 1);
	}
	atomic_store_explicit(&tree.codes, s, memory_order_release);
	ml_sys_empty(old, SEEN_BYTES(old->mask + (uint64_t)1));
	return true;
}

static uint32_t traits_of(const struct ml_code_text *t)
{
	if (!(t->flags & ML_CO_FUNCTION) || !ml_identity_has(t->file, t->file_bytes))
		return 0;
	return ML_CODE_USERS | (t->flags & ML_CO_GENERATOR ? ML_CODE_GENERATOR : 0);
}

/* First sight of a code object, or of another one at its address. With flags. */
static uint32_t describe(const void *code, uint64_t fingerprint)
{
	struct ml_code_text text;
	struct seen_code *slot;
	uint32_t id, flags = SEEN_UNJUDGED;

	if (ml_code_describe(&ml_process.abi, code, tree.text, TEXT_MAX, &text) || !grow_seen()) {
		ml_process_count(ML_COUNTER_LOST_DEFINITIONS, 1);
		return UINT32_MAX;
	}
	ml_abi_saw_file(&ml_process.abi, text.file, text.file_bytes);
	id = intern_content(&text);
	if (id == UINT32_MAX) {
		ml_process_count(ML_COUNTER_LOST_DEFINITIONS, 1);
		return id;
	}
	if (ml_identity_knows_scope())
		flags = traits_of(&text) << SEEN_TRAITS_BIT;
	slot = slot_of(atomic_load_explicit(&tree.codes, memory_order_relaxed), code);
	if (!atomic_load_explicit(&slot->code, memory_order_relaxed))
		tree.codes_used++;
	set_slot(slot, code, fingerprint, id | flags);
	return id | flags;
}

/* With flags. UINT32_MAX: not known, or known as something else. */
static uint32_t find_code(const void *code, uint64_t fingerprint)
{
	struct seen_code *slot = slot_of(atomic_load_explicit(&tree.codes, memory_order_acquire), code);
	uint32_t id;

	if (atomic_load_explicit(&slot->code, memory_order_acquire) != code)
		return UINT32_MAX;
	id = atomic_load_explicit(&slot->id, memory_order_acquire);
	if (!id || atomic_load_explicit(&slot->fingerprint, memory_order_relaxed) != fingerprint)
		return UINT32_MAX;
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&slot->id, memory_order_relaxed) == id ? id - 1 : UINT32_MAX;
}

static bool is_new(uint32_t id)
{
	return id == UINT32_MAX || (__builtin_expect(id & SEEN_UNJUDGED, 0) && ml_identity_knows_scope());
}

uint32_t ml_tree_code_traits(const void *code, uint32_t *traits)
{
	bool sees_frees = atomic_load_explicit(&ml_tree_epoch, memory_order_relaxed) != 0;
	uint64_t fingerprint = sees_frees ? 1 : ml_code_fingerprint(&ml_process.abi, code);
	uint32_t id = find_code(code, fingerprint), bit = ml_tree_code_bit(code);

	if (is_new(id)) {
		ml_lock_take(&ml_process.lock);
		__atomic_fetch_or(&ml_tree_code_bits[bit / 64], (uint64_t)1 << bit % 64, __ATOMIC_RELAXED);
		id = find_code(code, fingerprint);
		if (is_new(id))
			id = describe(code, fingerprint);
		ml_lock_drop(&ml_process.lock);
	}
	if (__builtin_expect(id == UINT32_MAX, 0)) {
		*traits = 0;
		return id;
	}
	*traits = id >> SEEN_TRAITS_BIT & (ML_CODE_USERS | ML_CODE_GENERATOR);
	return SEEN_ID(id);
}

void ml_tree_sees_frees(void)
{
	atomic_store(&ml_tree_epoch, 1);
}

static bool is_known(const void *object)
{
	struct seen_code *slot = slot_of(atomic_load_explicit(&tree.codes, memory_order_acquire), object);

	return atomic_load_explicit(&slot->code, memory_order_relaxed) == object;
}

void ml_tree_code_freed(const void *object, bool may_lock)
{
	struct seen_code *slot;

	if (!atomic_load_explicit(&ml_tree_epoch, memory_order_relaxed) || !is_known(object))
		return;
	if (!may_lock) {
		atomic_store(&ml_tree_epoch, 0);
		return;
	}
	ml_lock_take(&ml_process.lock);
	slot = slot_of(atomic_load_explicit(&tree.codes, memory_order_relaxed), object);
	atomic_store_explicit(&slot->id, 0, memory_order_release);
	atomic_fetch_add(&ml_tree_epoch, 1);
	ml_lock_drop(&ml_process.lock);
}

static void write_module(const struct ml_module *m)
{
	uint32_t bytes = definition_bytes(sizeof(struct ml_def_module) + m->path_bytes + m->build_id_bytes);
	struct ml_def_module *d = new_definition(bytes);

	if (!d)
		return;
	d->def.kind = ML_DEF_MODULE;
	d->id = m->id;
	d->epoch = m->epoch;
	d->base = m->base;
	d->start = m->start;
	d->end = m->end;
	d->path_bytes = m->path_bytes;
	d->build_id_bytes = m->build_id_bytes;
	memcpy(d + 1, m->path, m->path_bytes);
	memcpy((char *)(d + 1) + m->path_bytes, m->build_id, m->build_id_bytes);
	__atomic_store_n(&d->def.length, bytes, __ATOMIC_RELEASE);
}

void ml_tree_module(void *unused, const struct ml_module *m)
{
	(void)unused;
	ml_lock_take(&ml_process.lock);
	write_module(m);
	ml_lock_drop(&ml_process.lock);
}

static void drop_pages(void *pages, uint64_t bytes)
{
	if (pages)
		ml_sys_munmap(pages, bytes);
}

bool ml_tree_reset(void)
{
	struct index *ix = tree.index;
	struct seen_codes *codes = tree.codes;

	if (ix)
		drop_pages(ix, INDEX_BYTES(ix->mask + (uint64_t)1));
	if (codes)
		drop_pages(codes, SEEN_BYTES(codes->mask + (uint64_t)1));
	drop_pages(tree.contents, (tree.contents_mask + (uint64_t)1) * sizeof *tree.contents);
	for (uint32_t i = 0; i < CHUNKS_MAX && tree.chunks[i]; i++)
		tree.chunks[i] = NULL;
	tree.nodes = 1;
	tree.codes_used = 0;
	tree.code_ids = 0;
	tree.defs_room = tree.defs_used = 0;
	tree.contents_mask = 1023;
	tree.contents = ml_sys_pages((tree.contents_mask + (uint64_t)1) * sizeof *tree.contents);
	tree.index = new_index(4096);
	tree.codes = new_seen(1024);
	if (!tree.text)
		tree.text = ml_sys_pages(TEXT_MAX);
	return tree.contents && tree.index && tree.codes && tree.text;
}

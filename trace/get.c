#include "trace/get.h"

#include <string.h>

void ml_cursor_init(struct ml_cursor *c, const void *events, size_t bytes)
{
	memset(c, 0, sizeof *c);
	c->at = events;
	c->end = c->at + bytes;
}

/* The get functions read from c->at and return 0 if the field is cut off or no such number can be written. */

static int get_byte(struct ml_cursor *c, uint8_t *byte)
{
	if (c->at == c->end)
		return 0;
	*byte = *c->at++;
	return 1;
}

static int get_varint(struct ml_cursor *c, uint64_t *value)
{
	uint64_t sum = 0;
	uint8_t byte;

	for (unsigned shift = 0; shift < 70; shift += 7) {
		if (!get_byte(c, &byte) || (shift == 63 && byte > 1))
			return 0;
		sum |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*value = sum;
			return 1;
		}
	}
	return 0;
}

static int get_zigzag(struct ml_cursor *c, uint64_t *value)
{
	uint64_t z;

	if (!get_varint(c, &z))
		return 0;
	*value = z >> 1 ^ -(z & 1);
	return 1;
}

static int get_node(struct ml_cursor *c, uint8_t head, struct ml_event *e)
{
	uint64_t delta, node;

	if (!(head & ML_REC_SAME_NODE)) {
		if (!get_zigzag(c, &delta))
			return 0;
		node = c->coder.node + delta;
		if (node > UINT32_MAX)
			return 0;
		c->coder.node = (uint32_t)node;
	}
	e->node = c->coder.node;
	return 1;
}

static int get_address(struct ml_cursor *c, uint8_t low, struct ml_event *e)
{
	uint64_t delta;

	if (!get_zigzag(c, &delta))
		return 0;
	c->coder.address += delta;
	if (c->coder.address >> 60)
		return 0;
	c->tables.slots[ML_SLOT(c->coder.address)] = c->coder.address;
	e->address = c->coder.address << 4 | low;
	return 1;
}

static int get_block(struct ml_cursor *c, int has_slot, uint8_t low, struct ml_event *e)
{
	uint8_t slot;

	if (!has_slot)
		return get_address(c, low, e);
	if (!get_byte(c, &slot))
		return 0;
	c->coder.address = c->tables.slots[slot];
	e->address = c->coder.address << 4 | low;
	return 1;
}

static int get_size(struct ml_cursor *c, uint8_t head, struct ml_event *e)
{
	uint64_t *known = &c->tables.sizes[ML_SIZE_OF(c->coder.node)];

	if (!(head & ML_REC_SAME_SIZE) && !get_varint(c, known))
		return 0;
	e->bytes = *known;
	return 1;
}

static int get_word(struct ml_cursor *c, uint32_t *word)
{
	uint64_t value;

	if (!get_varint(c, &value) || value > UINT32_MAX)
		return 0;
	*word = (uint32_t)value;
	return 1;
}

/* Within the bytes that follow. */
static int get_generator(struct ml_cursor *c, uint64_t bytes, struct ml_event *e)
{
	struct ml_cursor field = {.at = c->at, .end = c->at + bytes};
	uint64_t delta;

	if (!get_zigzag(&field, &delta) || (c->coder.generator + delta) >> 60)
		return 0;
	c->coder.generator += delta;
	e->address = c->coder.generator << 4;
	return 1;
}

/* What follows of an OTHER that this reader may not know. */
static int get_other(struct ml_cursor *c, uint8_t head, struct ml_event *e)
{
	uint64_t bytes;

	e->other = ML_REC_OTHER(head);
	if (ML_REC_OTHER(head) < ML_OTHER_LENGTHS)
		return e->other == ML_OTHER_FINALIZE;
	if (!get_varint(c, &bytes) || bytes > (uint64_t)(c->end - c->at))
		return 0;
	if (e->other == ML_OTHER_GENERATOR && !get_generator(c, bytes, e))
		return 0;
	c->at += bytes;
	if (e->other == ML_OTHER_OURS)
		e->address = c->coder.address << 4;
	return 1;
}

static int get_outcome(uint8_t head, struct ml_event *e)
{
	e->outcome = ML_REC_OUTCOME(head);
	return e->outcome <= ML_OUTCOME_FREED;
}

/* The fields behind a head byte, by record. */
static int get_fields(struct ml_cursor *c, uint8_t head, uint8_t low, struct ml_event *e)
{
	switch (e->record) {
	case ML_RECORD_ALLOC:
		e->domain = ML_REC_DOMAIN(head);
		return get_node(c, head, e) && get_block(c, ML_REC_CODE(head) == ML_RECORD_ALLOC_SLOT, low, e) &&
		       get_size(c, head, e);
	case ML_RECORD_FREE:
	case ML_RECORD_REALLOC_BEGIN:
		e->domain = ML_REC_DOMAIN(head);
		return get_node(c, head, e) && get_block(c, (head & ML_REC_SLOT) != 0, low, e);
	case ML_RECORD_REALLOC_END:
		return get_outcome(head, e) &&
		       (e->outcome != ML_OUTCOME_DONE ||
			(get_block(c, (head & ML_REC_END_SLOT) != 0, low, e) && get_size(c, head, e)));
	case ML_RECORD_MAP:
		e->brk = (head & ML_REC_BREAK) != 0;
		return get_node(c, head, e) && get_address(c, low, e) && get_varint(c, &e->bytes) &&
		       get_word(c, &e->prot) && get_word(c, &e->flags);
	case ML_RECORD_UNMAP_BEGIN:
		e->brk = (head & ML_REC_BREAK) != 0;
		return get_node(c, head, e) && get_address(c, low, e) && get_varint(c, &e->bytes);
	case ML_RECORD_UNMAP_END:
		return get_outcome(head, e) && e->outcome != ML_OUTCOME_FREED;
	case ML_RECORD_REMAP_BEGIN:
		return get_node(c, head, e) && get_address(c, low, e) && get_varint(c, &e->bytes) &&
		       get_word(c, &e->flags);
	case ML_RECORD_REMAP_END:
		return get_outcome(head, e) && e->outcome != ML_OUTCOME_FREED &&
		       (e->outcome != ML_OUTCOME_DONE || (get_address(c, low, e) && get_varint(c, &e->bytes)));
	case ML_RECORD_PROTECT:
		return get_node(c, head, e) && get_address(c, low, e) && get_varint(c, &e->bytes) &&
		       get_word(c, &e->prot);
	case ML_RECORD_ARENA:
		e->released = (head & ML_REC_RELEASED) != 0;
		return get_address(c, low, e) && get_varint(c, &e->bytes);
	case ML_RECORD_TURN:
		return get_varint(c, &e->turn);
	case ML_RECORD_TIME:
		return get_varint(c, &e->ns) && get_varint(c, &e->pages);
	case ML_RECORD_BASE:
		return get_varint(c, &e->turn) && get_varint(c, &e->ns) && get_word(c, &e->tid);
	case ML_RECORD_OTHER:
		return get_other(c, head, e);
	}
	return 0;
}

int ml_get(struct ml_cursor *c, struct ml_event *e)
{
	const uint8_t *start = c->at;
	uint8_t head, low = 0;

	if (c->at == c->end)
		return 0;
	get_byte(c, &head);
	if (head == (ML_RECORD_OTHER | ML_OTHER_LOW << 4) && (!get_byte(c, &low) || low > 15 || !get_byte(c, &head)))
		goto bad;
	memset(e, 0, sizeof *e);
	e->record = (enum ml_record)ML_REC_CODE(head);
	if (ML_REC_CODE(head) == ML_RECORD_ALLOC_SLOT)
		e->record = ML_RECORD_ALLOC;
	if (get_fields(c, head, low, e))
		return 1;
bad:
	c->at = start;
	return -1;
}

const char *ml_record_name(enum ml_record record)
{
	switch (record) {
#define X(name, code, text)                                                                                            \
	case ML_RECORD_##name:                                                                                         \
		return text;
		ML_RECORD_LIST(X)
#undef X
	}
	return "?";
}

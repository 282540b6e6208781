#include "trace/get.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Numbers at the borders of what takes one byte more, and at the ends of what can be said. */
static const uint64_t numbers[] = {0,
				   1,
				   0x3f,
				   0x40,
				   0x7f,
				   0x80,
				   0x3fff,
				   0x4000,
				   0x1fffff,
				   0x200000,
				   0xfffffff,
				   0x10000000,
				   0x7fffffff,
				   0xffffffff,
				   0x100000000,
				   0x7fffffffffff,
				   0x7fffffffffffffff,
				   0x8000000000000000,
				   0xfffffffffffffff0,
				   UINT64_MAX};
#define NUMBERS (sizeof numbers / sizeof *numbers)

static uint64_t seed;

static uint64_t random_below(uint64_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % n;
}

static uint64_t number(void)
{
	return numbers[random_below(NUMBERS)] + random_below(3);
}

/* A record with every field that it has set to something, and the others to 0, as ml_get() gives it back. */
static struct ml_event random_event(enum ml_record record)
{
	struct ml_event e = {.record = record};

	switch (record) {
	case ML_RECORD_ALLOC:
		e.bytes = random_below(2) ? 64 : number();
		/* fall through */
	case ML_RECORD_FREE:
	case ML_RECORD_REALLOC_BEGIN:
		e.domain = (enum ml_domain)random_below(4);
		break;
	case ML_RECORD_REALLOC_END:
		e.outcome = (enum ml_outcome)random_below(3);
		break;
	case ML_RECORD_UNMAP_END:
	case ML_RECORD_REMAP_END:
		e.outcome = (enum ml_outcome)random_below(2);
		break;
	case ML_RECORD_MAP:
		e.prot = number();
		e.flags = number();
		e.brk = (int)random_below(2);
		break;
	case ML_RECORD_UNMAP_BEGIN:
		e.brk = (int)random_below(2);
		break;
	case ML_RECORD_REMAP_BEGIN:
		e.flags = number();
		break;
	case ML_RECORD_PROTECT:
		e.prot = number();
		break;
	case ML_RECORD_ARENA:
		e.released = (int)random_below(2);
		break;
	case ML_RECORD_TURN:
		e.turn = number();
		return e;
	case ML_RECORD_TIME:
		e.ns = number();
		e.pages = number();
		return e;
	case ML_RECORD_BASE:
		e.turn = number();
		e.ns = number();
		e.tid = (uint32_t)number();
		return e;
	case ML_RECORD_OTHER:
		e.other = ML_OTHER_FINALIZE;
		return e;
	}
	if (record <= ML_RECORD_REALLOC_BEGIN || record == ML_RECORD_MAP || record == ML_RECORD_UNMAP_BEGIN ||
	    record == ML_RECORD_REMAP_BEGIN || record == ML_RECORD_PROTECT)
		e.node = random_below(2) ? 7 : (uint32_t)number();
	if (e.outcome != ML_OUTCOME_DONE || record == ML_RECORD_UNMAP_END)
		return e;
	e.address = number();
	if (record != ML_RECORD_FREE && record != ML_RECORD_REALLOC_BEGIN && record != ML_RECORD_ALLOC)
		e.bytes = random_below(2) ? 64 : number();
	return e;
}

static uint8_t *put(uint8_t *at, struct ml_coder *c, const struct ml_event *e)
{
	unsigned brk = e->brk ? ML_REC_BREAK : 0;

	switch (e->record) {
	case ML_RECORD_ALLOC:
		return ml_put_alloc(at, c, e->domain, e->node, e->address, e->bytes);
	case ML_RECORD_FREE:
	case ML_RECORD_REALLOC_BEGIN:
		return ml_put_free(at, c, e->record, e->domain, e->node, e->address);
	case ML_RECORD_REALLOC_END:
		return ml_put_realloc_end(at, c, e->outcome, e->address, e->bytes);
	case ML_RECORD_MAP:
		at = ml_put_range(at, c, e->record | brk, e->node, e->address, e->bytes);
		return ml_put_varint(ml_put_varint(at, e->prot), e->flags);
	case ML_RECORD_UNMAP_BEGIN:
		return ml_put_range(at, c, e->record | brk, e->node, e->address, e->bytes);
	case ML_RECORD_UNMAP_END:
	case ML_RECORD_REMAP_END:
		return ml_put_range_end(at, c, e->record, e->outcome, e->address, e->bytes);
	case ML_RECORD_REMAP_BEGIN:
		return ml_put_varint(ml_put_range(at, c, e->record, e->node, e->address, e->bytes), e->flags);
	case ML_RECORD_PROTECT:
		return ml_put_varint(ml_put_range(at, c, e->record, e->node, e->address, e->bytes), e->prot);
	case ML_RECORD_ARENA:
		return ml_put_arena(at, c, e->released, e->address, e->bytes);
	case ML_RECORD_TURN:
		return ml_put_turn(at, e->turn);
	case ML_RECORD_TIME:
		return ml_put_time(at, e->ns, e->pages);
	case ML_RECORD_BASE:
		return ml_put_base(at, e->turn, e->ns, e->tid);
	case ML_RECORD_OTHER:
		return ml_put_finalize(at);
	}
	ck_abort_msg("no such record");
	return at;
}

static void check_same(const struct ml_event *a, const struct ml_event *b)
{
	ck_assert_str_eq(ml_record_name(a->record), ml_record_name(b->record));
	ck_assert_int_eq(a->domain, b->domain);
	ck_assert_int_eq(a->outcome, b->outcome);
	ck_assert_int_eq(a->other, b->other);
	ck_assert_int_eq(a->brk, b->brk);
	ck_assert_int_eq(a->released, b->released);
	ck_assert_uint_eq(a->node, b->node);
	ck_assert_uint_eq(a->tid, b->tid);
	ck_assert_uint_eq(a->address, b->address);
	ck_assert_uint_eq(a->bytes, b->bytes);
	ck_assert_uint_eq(a->prot, b->prot);
	ck_assert_uint_eq(a->flags, b->flags);
	ck_assert_uint_eq(a->turn, b->turn);
	ck_assert_uint_eq(a->ns, b->ns);
	ck_assert_uint_eq(a->pages, b->pages);
}

/* Whatever is put comes back, and each record stays within its bound. Addresses come back often enough for slots. */
START_TEST(test_round_trip)
{
	enum { EVENTS = 60 };
	static uint8_t buffer[EVENTS * ML_RECORD_MAX];
	struct ml_event events[EVENTS], back;
	struct ml_tables tables = {{0}, {0}};
	struct ml_coder coder = {.tables = _i % 2 ? &tables : NULL};
	struct ml_cursor cursor;
	uint8_t *at = buffer;

	seed = (uint64_t)_i + 1;
	for (int i = 0; i < EVENTS; i++) {
		uint8_t *end;
		events[i] = random_event((enum ml_record)random_below(15));
		end = put(at, &coder, &events[i]);
		ck_assert_uint_le((size_t)(end - at), ML_RECORD_MAX);
		at = end;
	}
	ml_cursor_init(&cursor, buffer, (size_t)(at - buffer));
	for (int i = 0; i < EVENTS; i++) {
		ck_assert_int_eq(ml_get(&cursor, &back), 1);
		check_same(&events[i], &back);
	}
	ck_assert_int_eq(ml_get(&cursor, &back), 0);
	ck_assert_int_eq(ml_get(&cursor, &back), 0);
}
END_TEST

/* Cut off anywhere, a record is damage at its first byte and what comes before it is there. The bytes are in a block of
   their exact size, so that a sanitizer sees any read behind them. */
START_TEST(test_cut_off)
{
	uint8_t whole[2 * ML_RECORD_MAX], *copy;
	struct ml_event first, e, back;
	struct ml_tables tables = {{0}, {0}};
	struct ml_coder coder = {.tables = _i % 2 ? &tables : NULL};
	struct ml_cursor cursor;
	size_t start, end;

	seed = (uint64_t)_i + 1;
	first = random_event(ML_RECORD_TURN);
	e = random_event((enum ml_record)((unsigned)_i % 15));
	start = (size_t)(put(whole, &coder, &first) - whole);
	end = (size_t)(put(whole + start, &coder, &e) - whole);
	for (size_t n = start + 1; n < end; n++) {
		copy = malloc(n);
		memcpy(copy, whole, n);
		ml_cursor_init(&cursor, copy, n);
		ck_assert_int_eq(ml_get(&cursor, &back), 1);
		ck_assert_int_eq(ml_get(&cursor, &back), -1);
		ck_assert_ptr_eq(cursor.at, copy + start);
		ck_assert_int_eq(ml_get(&cursor, &back), -1);
		free(copy);
	}
}
END_TEST

START_TEST(test_refused)
{
	static const struct {
		size_t n;
		uint8_t bytes[16];
	} bad[] = {
		{1, {0x00}},                                  /* OTHER: 0 */
		{1, {0xf0}},                                  /* OTHER: unknown, without a length */
		{3, {0x30, 2, 0}},                            /* OTHER: unknown, shorter than its length */
		{1, {0x20}},                                  /* LOW: cut off */
		{2, {0x20, 3}},                               /* LOW with nothing behind it */
		{4, {0x20, 16, 0x42, 0}},                     /* LOW of more than four bits */
		{4, {0x20, 1, 0x20, 1}},                      /* LOW before LOW */
		{1, {0xc2}},                                  /* FREE without its slot */
		{2, {0x4f, 7}},                               /* ALLOC_SLOT without its size */
		{1, {0x34}},                                  /* REALLOC_END: unknown outcome */
		{1, {0x27}},                                  /* UNMAP_END: FREED */
		{1, {0x29}},                                  /* REMAP_END: FREED */
		{3, {0x02, 1, 0}},                            /* node -1 */
		{7, {0x02, 0x80, 0x80, 0x80, 0x80, 0x20, 0}}, /* node 2^32 */
		{2, {0x42, 1}},                               /* address below 0 */
		{11, {0x42, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}},       /* address above 2^64 */
		{11, {0x0c, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2}},       /* a varint above 2^64 */
		{12, {0x0c, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0}}, /* of eleven bytes */
		{8, {0x0e, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x10}},                             /* tid 2^32 */
	};
	struct ml_cursor c;
	struct ml_event e;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		uint8_t *copy = malloc(bad[i].n);
		memcpy(copy, bad[i].bytes, bad[i].n);
		ml_cursor_init(&c, copy, bad[i].n);
		ck_assert_msg(ml_get(&c, &e) == -1, "case %zu", i);
		ck_assert_ptr_eq(c.at, copy);
		free(copy);
	}
}
END_TEST

/* An OTHER that this reader does not know hides nothing that stands behind it. */
START_TEST(test_unknown_other)
{
	static const uint8_t bytes[] = {0xf0, 0, 0xe0, 3, 0xff, 0xff, 0xff, 0x4c, 7};
	struct ml_cursor c;
	struct ml_event e;

	ml_cursor_init(&c, bytes, sizeof bytes);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(ml_get(&c, &e), 1);
		ck_assert_int_eq(e.record, ML_RECORD_OTHER);
		ck_assert_int_eq(e.other, i ? 14 : 15);
	}
	ck_assert_int_eq(ml_get(&c, &e), 1);
	ck_assert_int_eq(e.record, ML_RECORD_TURN);
	ck_assert_uint_eq(e.turn, 7);
	ck_assert_int_eq(ml_get(&c, &e), 0);
}
END_TEST

/* Coded against the last of its kind, not against addresses; a longer field is a newer writer's. */
START_TEST(test_generator)
{
	struct ml_coder coder = {.tables = NULL};
	uint8_t bytes[4 * ML_RECORD_MAX], *at = bytes;
	struct ml_cursor c;
	struct ml_event e;

	at = ml_put_alloc(at, &coder, ML_DOMAIN_OBJ, 3, 0x7f0000001230, 32);
	at = ml_put_generator(at, &coder, 0x7f0000002240);
	at = ml_put_alloc(at, &coder, ML_DOMAIN_OBJ, 3, 0x7f0000001240, 32);
	*at++ = ML_RECORD_OTHER | ML_OTHER_GENERATOR << 4;
	*at++ = 2;
	*at++ = 4; /* 2 as a zigzag */
	*at++ = 0xff;
	ml_cursor_init(&c, bytes, (size_t)(at - bytes));
	for (int i = 0; i < 4; i++) {
		static const uint64_t wanted[] = {0x7f0000001230, 0x7f0000002240, 0x7f0000001240, 0x7f0000002260};
		ck_assert_int_eq(ml_get(&c, &e), 1);
		ck_assert_int_eq(e.record, i % 2 ? ML_RECORD_OTHER : ML_RECORD_ALLOC);
		ck_assert_int_eq(e.other, i % 2 ? ML_OTHER_GENERATOR : 0);
		ck_assert_uint_eq(e.address, wanted[i]);
	}
	ck_assert_int_eq(ml_get(&c, &e), 0);
}
END_TEST

/* The recorder's own block is that of the record before, however that coded its address. */
START_TEST(test_ours)
{
	struct ml_tables tables = {.slots = {0}};
	struct ml_coder coder = {.tables = &tables};
	uint8_t bytes[4 * ML_RECORD_MAX], *at = bytes;
	struct ml_cursor c;
	struct ml_event e;

	at = ml_put_alloc(at, &coder, ML_DOMAIN_OBJ, 3, 0x7f0000001230, 32);
	at = ml_put_alloc(at, &coder, ML_DOMAIN_OBJ, 3, 0x7f0000004560, 32);
	at = ml_put_free(at, &coder, ML_RECORD_FREE, ML_DOMAIN_OBJ, 3, 0x7f0000001230); /* by its slot */
	at = ml_put_ours(at);
	at = ml_put_free(at, &coder, ML_RECORD_FREE, ML_DOMAIN_OBJ, 3, 0x7f0000004560);
	ml_cursor_init(&c, bytes, (size_t)(at - bytes));
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(ml_get(&c, &e), 1);
	ck_assert_int_eq(e.record, ML_RECORD_OTHER);
	ck_assert_int_eq(e.other, ML_OTHER_OURS);
	ck_assert_uint_eq(e.address, 0x7f0000001230);
	ck_assert_int_eq(ml_get(&c, &e), 1);
	ck_assert_uint_eq(e.address, 0x7f0000004560);
	ck_assert_int_eq(ml_get(&c, &e), 0);
}
END_TEST

/* Any bytes at all: every step moves on or stops, and names something. */
START_TEST(test_noise)
{
	struct ml_cursor c;
	struct ml_event e;

	seed = (uint64_t)_i + 1;
	for (int round = 0; round < 500; round++) {
		size_t n = random_below(64);
		uint8_t *noise = malloc(n + 1);
		for (size_t i = 0; i < n; i++)
			noise[i] = (uint8_t)random_below(256);
		ml_cursor_init(&c, noise, n);
		for (const uint8_t *before = c.at; ml_get(&c, &e) > 0; before = c.at) {
			ck_assert(c.at > before);
			ck_assert(c.at <= noise + n);
			ck_assert_str_ne(ml_record_name(e.record), "?");
		}
		free(noise);
	}
}
END_TEST

START_TEST(test_names)
{
	ck_assert_str_eq(ml_record_name(ML_RECORD_ALLOC), "alloc");
	ck_assert_str_eq(ml_record_name(ML_RECORD_OTHER), "other");
	ck_assert_str_eq(ml_record_name((enum ml_record)ML_RECORD_ALLOC_SLOT), "?");
	ck_assert_str_eq(ml_record_name((enum ml_record)16), "?");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("get");
	TCase *tests = tcase_create("get");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(tests, test_round_trip, 0, 300);
	tcase_add_loop_test(tests, test_cut_off, 0, 300);
	tcase_add_test(tests, test_refused);
	tcase_add_test(tests, test_unknown_other);
	tcase_add_test(tests, test_ours);
	tcase_add_test(tests, test_generator);
	tcase_add_loop_test(tests, test_noise, 0, 20);
	tcase_add_test(tests, test_names);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

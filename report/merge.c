#include "report/merge.h"

#include <stdlib.h>
#include <string.h>

#include "report/file.h"
#include "report/memory.h"

/* Small enough for the first-level cache; large enough that a consumer may look ahead and prefetch. */
#define BATCH 128

/* How often a ring is read again that was emptied while it was read. */
#define RING_TRIES 64

/* A RING extent as it was at one moment. */
struct snapshot {
	uint64_t offset; /* of the extent */
	uint32_t ring;
	int intact; /* all that the state says is here */
	uint64_t state;
	uint8_t *events;
	size_t bytes;
	bool has_turn; /* the next is known */
	uint64_t turn; /* in force at the end */
};

struct snapshots {
	struct snapshot *at;
	size_t n;
};

/* A piece of a ring: an EVENTS extent or a snapshot. */
struct part {
	uint32_t ring;
	uint32_t sequence;
	uint64_t offset;                 /* of the extent */
	const struct ml_extent *extent;  /* or NULL */
	const struct snapshot *snapshot; /* or NULL */
};

/* The events of one ring. */
struct stream {
	uint32_t ring;
	uint32_t sequence;       /* that the next part should have */
	const struct part *next; /* part to be read, up to */
	const struct part *end;
	uint32_t stop_sequence; /* nothing is read behind so many bytes of this part */
	size_t stop_bytes;
	uint8_t *loaded;      /* the events of an EVENTS extent */
	const uint8_t *start; /* of the events in memory */
	size_t bytes;         /* that there are */
	bool halted;          /* at the stop: not in the heap */
	uint64_t offset;      /* and in the file */
	struct ml_cursor cursor;
	uint64_t turn; /* that of the next event is this one or a later one */
	uint64_t ns;
	uint32_t tid;
	uint32_t index; /* ml_moment.ring */
	size_t used;    /* bytes of the first part that were read before the trace was followed */
	bool resumes;   /* there, with the cursor as it was */
};

struct ml_merge {
	struct snapshots rings;
	size_t extents_n;   /* in the directory when the rings were read */
	int running;        /* the process was writing when they were */
	uint64_t last_turn; /* if so: nothing behind it is delivered */

	struct ml_merge_position *ends; /* or NULL: all is read */
	size_t ends_n;

	struct stream *left; /* where the streams stood when the trace was read before, by ring */
	size_t left_n;

	int started;
	struct ml_damage_count before[ML_DAMAGES]; /* found before the events were read */
	struct part *parts;                        /* by ring, then sequence */
	size_t parts_n;
	struct stream *streams;
	size_t streams_n;
	uint32_t rings_n;     /* that have ever had events */
	struct stream **heap; /* the one whose turn comes first is first */
	size_t heap_n;

	uint64_t now;    /* ns of the last moment, */
	uint64_t turn;   /* its turn */
	uint32_t holder; /* and its ring */
	uint64_t bytes_read;
	uint64_t bytes;
	struct ml_moment batch[BATCH];
};

/* Snapshots. */

/* Events up to the length that the state told before they were read stay as they are while the sequence does. Where
   the state is the old snapshot's, the events are, too. */
static void take_snapshot(struct ml_trace *t, const struct ml_extent *e, struct snapshot *s, struct snapshot *old)
{
	uint64_t within = ml_file_within(t, e), after;
	size_t used, room = within > sizeof(struct ml_piece) ? (size_t)within - sizeof(struct ml_piece) : 0;
	struct ml_piece head;

	*s = (struct snapshot){.offset = e->offset, .ring = e->id};
	for (int i = 0; i < RING_TRIES; i++) {
		s->bytes = 0;
		if (ml_file_read(t, e->offset, &head, sizeof head) < sizeof head)
			return;
		if (old && old->intact && old->state == head.state) {
			free(s->events);
			*s = *old;
			old->events = NULL;
			return;
		}
		s->state = head.state;
		used = ML_PIECE_USED(head.state);
		s->intact = used <= room && (!used || head.ring == e->id);
		if (!used || head.ring != e->id)
			return;
		s->bytes = used < room ? used : room;
		s->events = ml_memory_resize(s->events, s->bytes, 1);
		s->bytes = ml_file_read(t, e->offset + sizeof head, s->events, s->bytes);
		s->intact = s->bytes == used;
		if (ml_file_read(t, e->offset, &after, sizeof after) == sizeof after &&
		    ML_PIECE_SEQUENCE(after) == ML_PIECE_SEQUENCE(head.state))
			return;
	}
	s->intact = 0;
	s->bytes = 0;
}

/* What is still as it was is taken out of older ones (or NULL), which had the same rings in the same order. */
static struct snapshots take_snapshots(struct ml_trace *t, struct snapshots *older)
{
	struct snapshots rings = {ml_memory_get(t->extents_n, sizeof *rings.at), 0};

	for (size_t i = 0; i < t->extents_n; i++) {
		const struct ml_extent *e = &t->extents[i];
		struct snapshot *old = older && rings.n < older->n ? &older->at[rings.n] : NULL;
		if (e->kind == ML_EXTENT_RING)
			take_snapshot(t, e, &rings.at[rings.n++], old && old->offset == e->offset ? old : NULL);
	}
	return rings;
}

static void free_snapshots(struct snapshots *rings)
{
	for (size_t i = 0; i < rings->n; i++)
		free(rings->at[i].events);
	free(rings->at);
}

static int same_states(const struct snapshots *a, const struct snapshots *b)
{
	for (size_t i = 0; i < a->n; i++)
		if (a->at[i].state != b->at[i].state)
			return 0;
	return 1;
}

/* The turn in force at the end of the events. */
static uint64_t turn_at_end(const uint8_t *events, size_t bytes)
{
	struct ml_cursor c;
	struct ml_event e;
	uint64_t turn = 0;

	ml_cursor_init(&c, events, bytes);
	while (ml_get(&c, &e) > 0) {
		if (e.record == ML_RECORD_BASE)
			turn = e.turn;
		else if (e.record == ML_RECORD_TURN)
			turn += e.turn;
	}
	return turn;
}

/* The last turn that the rings know of; if all have just been emptied, that of the last full piece. */
static uint64_t last_turn(struct ml_trace *t, const struct snapshots *rings)
{
	uint64_t last = 0;

	for (size_t i = 0; i < rings->n; i++) {
		struct snapshot *s = &rings->at[i];
		if (!s->has_turn)
			s->turn = turn_at_end(s->events, s->bytes);
		s->has_turn = true;
		if (s->turn > last)
			last = s->turn;
	}
	for (size_t i = t->extents_n; !last && i-- > 0;) {
		struct ml_piece head;
		if (t->extents[i].kind == ML_EXTENT_EVENTS &&
		    ml_file_read(t, t->extents[i].offset, &head, sizeof head) == sizeof head)
			last = head.last_turn;
	}
	return last;
}

/* Streams and positions begin with their ring. */
static int by_ring(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

_Static_assert(offsetof(struct stream, ring) == 0 && offsetof(struct ml_merge_position, ring) == 0, "by_ring");

static struct stream *find_left(const struct ml_merge *m, uint32_t ring, size_t n)
{
	return n ? bsearch(&ring, m->left, n, sizeof *m->left, by_ring) : NULL;
}

/* The place from which the stream is to go on. A piece that could not be read is tried again. */
static void leave_stream(struct stream *place, const struct stream *s)
{
	*place = *s;
	if (!s->resumes && s->sequence) {
		place->sequence--;
		place->resumes = s->start != NULL;
		place->used = s->start ? (size_t)(s->cursor.at - s->start) : 0;
	}
	place->loaded = NULL;
	place->bytes = 0;
	place->start = place->cursor.at = place->cursor.end = NULL;
}

/* What is read next goes on where the older merge, if it was begun, has stopped. */
static void leave_off(struct ml_merge *m, struct ml_merge *old)
{
	size_t known = old->left_n;

	m->left = ml_memory_resize(old->left, known + old->streams_n, sizeof *m->left);
	m->left_n = known;
	old->left = NULL;
	for (size_t i = 0; i < old->streams_n; i++) {
		struct stream *place = find_left(m, old->streams[i].ring, known);
		leave_stream(place ? place : &m->left[m->left_n++], &old->streams[i]);
	}
	if (m->left_n)
		qsort(m->left, m->left_n, sizeof *m->left, by_ring);
	m->now = old->now;
	m->turn = old->turn;
	m->holder = old->holder;
}

/*
 * The rings are read twice. If neither they nor the directory change until ml_merge_start(), they are as they will
 * stay. Else the process is running, and they were not read at one moment: but all events up to the last turn that was
 * seen the first time are in what was read the second time (or, of the turn that was in force, the first ones; one
 * thread made them).
 */
void ml_merge_snapshot(struct ml_trace *t)
{
	struct ml_merge *m = ml_memory_get(1, sizeof *m), *old = t->merge;
	struct snapshots first = take_snapshots(t, old ? &old->rings : NULL);

	m->last_turn = last_turn(t, &first);
	m->rings = take_snapshots(t, &first);
	m->extents_n = t->extents_n;
	m->running = !same_states(&first, &m->rings);
	if (t->packed && t->packed->last_turn) {
		m->running = 1;
		m->last_turn = t->packed->last_turn;
	}
	free_snapshots(&first);
	if (old)
		leave_off(m, old);
	ml_merge_free(old);
	t->merge = m;
}

/* What of the source, which stands at that offset, falls on the bytes that were read at another one. */
static void overlay(uint64_t at, const void *source, size_t length, uint64_t offset, uint8_t *bytes, size_t n)
{
	uint64_t from = at > offset ? at : offset, to = at + length < offset + n ? at + length : offset + n;

	if (from < to)
		memcpy(bytes + (from - offset), (const uint8_t *)source + (from - at), (size_t)(to - from));
}

void ml_merge_overlay(const struct ml_trace *t, uint64_t offset, uint8_t *bytes, size_t n)
{
	const struct snapshots *rings = &t->merge->rings;

	for (size_t i = 0; i < rings->n; i++) {
		const struct snapshot *s = &rings->at[i];
		overlay(s->offset, &s->state, sizeof s->state, offset, bytes, n);
		overlay(s->offset + sizeof(struct ml_piece), s->events, s->bytes, offset, bytes, n);
	}
}

uint64_t ml_merge_last_turn(const struct ml_trace *t)
{
	return t->merge->last_turn;
}

int ml_merge_has_all_rings(const struct ml_trace *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->extents_n; i++)
		n += t->extents[i].kind == ML_EXTENT_RING;
	return n == t->merge->rings.n;
}

/* Parts. */

int ml_load_piece(struct ml_trace *t, const struct ml_extent *e, struct ml_load_piece *piece)
{
	uint64_t within = ml_file_within(t, e);
	size_t room, used;

	*piece = (struct ml_load_piece){0};
	if (within < sizeof piece->head ||
	    ml_file_read(t, e->offset, &piece->head, sizeof piece->head) < sizeof piece->head)
		return -1;
	room = (size_t)within - sizeof piece->head;
	used = ML_PIECE_USED(piece->head.state);
	piece->bytes = used < room ? used : room;
	piece->events = ml_memory_get(piece->bytes, 1);
	piece->bytes = ml_file_read(t, e->offset + sizeof piece->head, piece->events, piece->bytes);
	piece->intact = piece->bytes == used && piece->head.ring == e->id;
	if (e->kind == ML_EXTENT_EVENTS)
		piece->intact &= ML_PIECE_SEQUENCE(piece->head.state) == e->sequence &&
				 ml_checksum(piece->events, piece->bytes) == piece->head.checksum;
	return 0;
}

static int by_place(const void *a, const void *b)
{
	const struct part *x = a, *y = b;

	if (x->ring != y->ring)
		return x->ring < y->ring ? -1 : 1;
	if (x->sequence != y->sequence)
		return x->sequence < y->sequence ? -1 : 1;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Whether the piece was read to its end before. */
static bool is_done(const struct ml_merge *m, uint32_t ring, uint64_t sequence)
{
	const struct stream *left = find_left(m, ring, m->left_n);

	return left && sequence < left->sequence;
}

static void add_parts(struct ml_trace *t)
{
	struct ml_merge *m = t->merge;

	for (size_t i = 0; i < t->extents_n; i++) {
		const struct ml_extent *e = &t->extents[i];
		if (e->kind == ML_EXTENT_EVENTS && is_done(m, e->id, e->sequence))
			continue;
		if (e->kind == ML_EXTENT_EVENTS && e->sequence <= UINT32_MAX)
			m->parts[m->parts_n++] = (struct part){e->id, (uint32_t)e->sequence, e->offset, e, NULL};
		else if (e->kind == ML_EXTENT_EVENTS)
			ml_file_damaged(t, ML_DAMAGE_DIRECTORY, e->offset);
	}
	for (size_t i = 0; i < m->rings.n; i++) {
		const struct snapshot *s = &m->rings.at[i];
		if (!s->intact)
			ml_file_damaged(t, ML_DAMAGE_PIECE, s->offset);
		if (s->bytes && !is_done(m, s->ring, ML_PIECE_SEQUENCE(s->state)))
			m->parts[m->parts_n++] =
				(struct part){s->ring, ML_PIECE_SEQUENCE(s->state), s->offset, NULL, s};
	}
	qsort(m->parts, m->parts_n, sizeof *m->parts, by_place);
}

static bool is_whole(struct ml_trace *t, const struct part *copy, size_t least_bytes)
{
	struct ml_load_piece piece;
	bool whole;

	if (ml_load_piece(t, copy->extent, &piece) < 0)
		return false;
	whole = piece.intact && piece.bytes >= least_bytes;
	free(piece.events);
	return whole;
}

/* The part to be read of those with the same ring and sequence: the ring, or its copy where that is whole, since it may
   go further than our snapshot. */
static struct part choose_part(struct ml_trace *t, const struct part *parts, size_t n)
{
	const struct part *copy = NULL, *ring = NULL;

	for (size_t i = 0; i < n; i++) {
		const struct part **first = parts[i].snapshot ? &ring : &copy;
		if (*first)
			ml_file_damaged(t, ML_DAMAGE_DIRECTORY, parts[i].offset);
		else
			*first = &parts[i];
	}
	return !ring || (copy && is_whole(t, copy, ring->snapshot->bytes)) ? *copy : *ring;
}

/* A ring's last part may be the copy of a piece that was begun and ended since the ring was read, and that is still
   being written to the file. Its events are behind the cut. */
static bool is_unfinished(struct ml_trace *t, const struct part *last)
{
	return t->merge->running && !last->snapshot && !is_whole(t, last, 0);
}

static void choose_parts(struct ml_trace *t)
{
	struct ml_merge *m = t->merge;
	struct part *parts = m->parts;
	size_t kept = 0;

	for (size_t i = 0, end; i < m->parts_n; i = end) {
		struct part chosen;
		for (end = i + 1; end < m->parts_n; end++)
			if (parts[end].ring != parts[i].ring || parts[end].sequence != parts[i].sequence)
				break;
		chosen = choose_part(t, parts + i, end - i);
		if ((end < m->parts_n && parts[end].ring == chosen.ring) || !is_unfinished(t, &chosen))
			parts[kept++] = chosen;
	}
	m->parts_n = kept;
}

/* Streams. */

static int comes_first(const struct stream *a, const struct stream *b)
{
	return a->turn != b->turn ? a->turn < b->turn : a->ring < b->ring;
}

static void push(struct ml_merge *m, struct stream *s)
{
	size_t at = m->heap_n++;

	for (; at && comes_first(s, m->heap[(at - 1) / 2]); at = (at - 1) / 2)
		m->heap[at] = m->heap[(at - 1) / 2];
	m->heap[at] = s;
}

/* The stream of a ring, which starts with the part, or goes on with it. */
static void start_stream(struct ml_merge *m, struct stream *s, const struct part *p)
{
	const struct stream *left = find_left(m, p->ring, m->left_n);

	if (left)
		*s = *left;
	else
		*s = (struct stream){.ring = p->ring, .index = m->rings_n++};
	s->stop_sequence = UINT32_MAX;
	s->stop_bytes = SIZE_MAX;
	s->next = p;
}

static void start_streams(struct ml_merge *m)
{
	m->rings_n = (uint32_t)m->left_n;
	m->streams = ml_memory_get(m->parts_n, sizeof *m->streams);
	m->heap = ml_memory_get(m->parts_n, sizeof(struct stream *));
	for (size_t i = 0; i < m->parts_n; i++) {
		const struct part *p = &m->parts[i];
		struct stream *s = m->streams_n ? &m->streams[m->streams_n - 1] : NULL;
		if (!s || s->ring != p->ring) {
			s = &m->streams[m->streams_n++];
			start_stream(m, s, p);
			push(m, s);
		}
		s->end = p + 1;
		m->bytes += p->snapshot ? p->snapshot->bytes : p->extent->length;
	}
}

static void stop_streams(struct ml_merge *m)
{
	for (size_t i = 0; i < m->streams_n; i++)
		free(m->streams[i].loaded);
	free(m->streams);
	free(m->heap);
	free(m->parts);
	m->streams_n = m->heap_n = m->parts_n = 0;
	m->bytes = m->bytes_read = 0;
}

/* Lets the part in memory end at the stop, if that is in it. */
static void set_end(struct stream *s)
{
	size_t bytes = s->bytes;

	if (s->sequence && s->sequence - 1 == s->stop_sequence && s->stop_bytes < bytes)
		bytes = s->stop_bytes;
	s->cursor.end = s->start + bytes;
}

/* Lets each stream end where it is to, and those go on that stopped earlier. */
static void set_stops(struct ml_merge *m)
{
	for (size_t i = 0; m->ends && i < m->streams_n; i++) {
		struct stream *s = &m->streams[i];
		const struct ml_merge_position *end = bsearch(&s->ring, m->ends, m->ends_n, sizeof *end, by_ring);
		s->stop_sequence = end ? end->sequence : 0;
		s->stop_bytes = end ? end->bytes : 0;
		if (s->start)
			set_end(s);
		if (s->halted)
			push(m, s);
		s->halted = false;
	}
}

void ml_merge_start(struct ml_trace *t)
{
	struct ml_merge *m = t->merge;

	if (m->started) {
		memcpy(t->damage, m->before, sizeof t->damage);
		m->now = m->turn = 0;
	} else {
		memcpy(m->before, t->damage, sizeof t->damage);
	}
	m->started = 1;
	m->running |= m->extents_n != t->extents_n;
	stop_streams(m);
	m->parts = ml_memory_get(t->extents_n + m->rings.n, sizeof *m->parts);
	add_parts(t);
	choose_parts(t);
	start_streams(m);
	set_stops(m);
	t->rings_n = m->rings_n;
}

void ml_merge_free(struct ml_merge *m)
{
	if (!m)
		return;
	stop_streams(m);
	free_snapshots(&m->rings);
	free(m->ends);
	free(m->left);
	free(m);
}

static void leave_part(struct stream *s)
{
	free(s->loaded);
	s->loaded = NULL;
	s->start = NULL;
	s->bytes = 0;
	ml_cursor_init(&s->cursor, NULL, 0);
}

/* Sets the cursor where it was in the part when the trace was read before. */
static void resume(const struct ml_merge *m, struct stream *s)
{
	s->cursor = find_left(m, s->ring, m->left_n)->cursor;
	s->cursor.at = s->start + (s->used < s->bytes ? s->used : s->bytes);
	s->cursor.end = s->start + s->bytes;
}

/* Sets the stream at the start of its next part. 0: there is nothing in it that could be read. */
static int load_part(struct ml_trace *t, struct stream *s)
{
	const struct part *p = s->next++;
	bool resumes = s->resumes && p->sequence == s->sequence;
	struct ml_load_piece piece;

	leave_part(s);
	s->resumes = false;
	if (p->sequence != s->sequence)
		ml_file_damaged(t, ML_DAMAGE_MISSING, p->offset);
	s->sequence = p->sequence + 1;
	if (p->snapshot) {
		s->start = p->snapshot->events;
		s->bytes = p->snapshot->bytes;
		t->merge->bytes_read += s->bytes;
	} else {
		t->merge->bytes_read += p->extent->length;
		if (ml_load_piece(t, p->extent, &piece) < 0) {
			ml_file_damaged(t, ML_DAMAGE_PIECE, p->offset);
			return 0;
		}
		if (!piece.intact)
			ml_file_damaged(t, ML_DAMAGE_PIECE, p->offset);
		s->start = s->loaded = piece.events;
		s->bytes = piece.bytes;
		if (piece.head.ring != p->ring || ML_PIECE_SEQUENCE(piece.head.state) != p->sequence)
			s->bytes = 0;
	}
	s->offset = p->offset + sizeof piece.head;
	if (resumes && s->bytes) {
		resume(t->merge, s);
		return 1;
	}
	if (s->bytes && ML_REC_CODE(*s->start) == ML_RECORD_BASE) {
		ml_cursor_init(&s->cursor, s->start, s->bytes);
		return 1;
	}
	if (s->bytes)
		ml_file_damaged(t, ML_DAMAGE_PIECE, s->offset);
	leave_part(s);
	return 0;
}

/* Whether the next part lies behind the stop. */
static bool is_at_stop(const struct stream *s)
{
	return s->next->sequence > s->stop_sequence;
}

/* Decodes the stream's next record into m->event, whatever it is. 0: the stream has ended. */
static int next_record(struct ml_trace *t, struct stream *s, struct ml_moment *m)
{
	for (;;) {
		int got;
		m->offset = s->offset + (uint64_t)(s->cursor.at - s->start);
		m->place = ML_PIECE_STATE(s->sequence - 1, s->cursor.at - s->start);
		got = ml_get(&s->cursor, &m->event);
		if (got > 0)
			return 1;
		if (got < 0)
			ml_file_damaged(t, ML_DAMAGE_PIECE, m->offset);
		do {
			if (s->next == s->end || is_at_stop(s)) {
				s->halted = s->next != s->end || s->cursor.end != s->start + s->bytes;
				return 0;
			}
		} while (!load_part(t, s));
		set_end(s);
	}
}

/* What only ever grows in a ring, from one value to the next. */
static uint64_t forwards(struct ml_trace *t, const struct ml_moment *m, enum ml_damage kind, uint64_t from, uint64_t to)
{
	if (to < from)
		ml_file_damaged(t, kind, m->offset);
	return to;
}

/* A turn is one ring's. Turn 0 is none: a ring may note the time before its first. */
static void check_turn(struct ml_trace *t, const struct ml_moment *m)
{
	struct ml_merge *merge = t->merge;

	if (m->turn && m->turn == merge->turn && m->ring != merge->holder)
		ml_file_damaged(t, ML_DAMAGE_TURN, m->offset);
	merge->turn = m->turn;
	merge->holder = m->ring;
}

/* Fills in what the stream knows. 0: the record is only for the stream itself. */
static int complete(struct ml_trace *t, struct stream *s, struct ml_moment *m)
{
	struct ml_event *e = &m->event;

	switch (e->record) {
	case ML_RECORD_BASE:
		s->turn = forwards(t, m, ML_DAMAGE_TURN, s->turn, e->turn);
		s->ns = forwards(t, m, ML_DAMAGE_TIME, s->ns, e->ns);
		s->tid = e->tid;
		return 0;
	case ML_RECORD_TURN:
		s->turn = forwards(t, m, ML_DAMAGE_TURN, s->turn, s->turn + e->turn);
		return 0;
	case ML_RECORD_TIME:
		s->ns = forwards(t, m, ML_DAMAGE_TIME, s->ns, s->ns + e->ns);
		m->rss = e->pages * t->page_bytes;
		break;
	default:
		m->rss = 0;
		break;
	}
	if (e->node && (e->node >= t->own_nodes_n || !t->nodes[e->node].subject)) {
		ml_file_damaged(t, ML_DAMAGE_UNKNOWN_NODE, m->offset);
		e->node = 0;
	}
	if (s->ns > t->merge->now)
		t->merge->now = s->ns;
	m->ns = t->merge->now;
	m->turn = s->turn;
	m->tid = s->tid;
	m->inherited = false;
	m->ring = s->index;
	check_turn(t, m);
	return 1;
}

/* The merge. */

void ml_merge_until(struct ml_trace *t, const struct ml_merge_position *ends, size_t n)
{
	struct ml_merge *m = t->merge;

	m->ends = ml_memory_resize(m->ends, n, sizeof *ends);
	memcpy(m->ends, ends, n * sizeof *ends);
	m->ends_n = n;
	qsort(m->ends, n, sizeof *ends, by_ring);
	set_stops(m);
}

/* Puts the first stream, whose turn has grown, where it belongs. */
static void sift_down(struct ml_merge *m)
{
	struct stream *moved = m->heap[0];
	size_t at = 0, child;

	while ((child = 2 * at + 1) < m->heap_n) {
		if (child + 1 < m->heap_n && comes_first(m->heap[child + 1], m->heap[child]))
			child++;
		if (comes_first(moved, m->heap[child]))
			break;
		m->heap[at] = m->heap[child];
		at = child;
	}
	m->heap[at] = moved;
}

/* The stream that comes next if the first one may not go on, or NULL. */
static const struct stream *second(const struct ml_merge *m)
{
	if (m->heap_n > 2 && comes_first(m->heap[2], m->heap[1]))
		return m->heap[2];
	return m->heap_n > 1 ? m->heap[1] : NULL;
}

/* Moves events of the first stream to the batch, from place n on, as long as it stays the first. */
static size_t deliver(struct ml_trace *t, size_t n)
{
	struct ml_merge *m = t->merge;
	struct stream *s = m->heap[0];
	const struct stream *other = second(m);

	while (n < BATCH) {
		if ((m->running && s->turn > m->last_turn) || !next_record(t, s, &m->batch[n])) {
			m->heap[0] = m->heap[--m->heap_n];
			break;
		}
		if (complete(t, s, &m->batch[n]))
			n++;
		else if (other && !comes_first(s, other))
			break;
	}
	if (m->heap_n)
		sift_down(m);
	return n;
}

size_t ml_merge_next(struct ml_trace *t, const struct ml_moment **moments)
{
	size_t n = 0;

	while (n < BATCH && t->merge->heap_n)
		n = deliver(t, n);
	*moments = t->merge->batch;
	return n;
}

/* Streams were made in the order of their rings. */
uint32_t ml_merge_ring(const struct ml_merge *m, uint32_t id)
{
	const struct stream *s =
		m->streams_n ? bsearch(&id, m->streams, m->streams_n, sizeof *m->streams, by_ring) : NULL;

	if (!s)
		s = find_left(m, id, m->left_n);
	return s ? s->index : UINT32_MAX;
}

double ml_merge_progress(const struct ml_merge *m)
{
	return m->bytes ? (double)m->bytes_read / (double)m->bytes : 1;
}

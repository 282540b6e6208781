#include "tests/report/read_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "report/activations.h"
#include "report/dump.h"
#include "report/fold.h"
#include "report/follow.h"
#include "report/growth.h"
#include "report/reading.h"

#define require(condition)                                                                                             \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);                  \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

static void check_nodes(const struct ml_trace *t)
{
	require(t->nodes_n >= 1 && t->nodes[0].subject == 0);
	for (uint32_t i = 1; i < t->nodes_n; i++)
		require(t->nodes[i].parent == 0 || (t->nodes[i].parent < i && t->nodes[t->nodes[i].parent].subject));
}

static void check_sums(const struct ml_fold *f, int thread)
{
	uint64_t increment = 0, live = 0, peak = 0;

	for (uint32_t i = 0; i < f->nodes_n; i++) {
		increment += f->nodes[i].allocated_bytes - f->nodes[i].freed_bytes;
		live += f->nodes[i].live_bytes;
		peak += f->nodes[i].peak_bytes;
	}
	require(live == f->totals.live_bytes);
	require(peak == f->totals.peak_bytes);
	require(thread || increment == f->totals.live_bytes - f->totals.start_live_bytes);
}

static void check_fold(struct ml_trace *t, const struct ml_fold_options *options, struct read_all *result)
{
	struct ml_fold *f = ml_fold_run(t, options, NULL, NULL);

	check_sums(f, options->tid != 0);
	result->live_bytes = f->totals.live_bytes;
	result->events = f->totals.events;
	ml_fold_free(f);
}

static void take_live(void *context, const struct ml_live *live)
{
	((uint64_t *)context)[live->activation] += live->bytes;
}

/* What invocations have live is what their blocks have. */
static void check_activations(struct ml_trace *t)
{
	const struct ml_scope scope = {"*", NULL, NULL};
	struct ml_fold_options options = {.to_ns = UINT64_MAX, .end_last = true};
	struct ml_sites sites = {0};
	struct ml_site_nodes nodes;
	struct ml_fold *f;
	uint64_t *live;

	ml_sites_resolve(&sites, t, &scope, &nodes);
	options.activations = ml_activations_new(&nodes, &scope, NULL);
	f = ml_fold_run(t, &options, NULL, NULL);
	live = calloc(options.activations->n, sizeof *live);
	ml_fold_each_live(f, take_live, live);
	for (uint32_t i = 1; i < options.activations->n; i++)
		require(live[i] == options.activations->items[i].live_bytes);
	free(live);
	ml_fold_free(f);
	ml_activations_free(options.activations);
	ml_site_nodes_free(&nodes);
	ml_sites_free(&sites);
}

static void check_dump(struct ml_trace *t)
{
	char *text;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	require(out && ml_dump(t, ML_DUMP_DEFS | ML_DUMP_NODES | ML_DUMP_EVENTS, NULL, out) == 0);
	fclose(out);
	free(text);
}

/* Who holds what is live adds up to it, by line and by stack. */
static void check_holders(const struct ml_reading *r, uint64_t bytes, uint64_t blocks, enum ml_holders_by by)
{
	struct ml_holders found;
	struct ml_growth growth;

	ml_holders_find(&found, &r->holds, &r->stacks, &r->sites, by, NULL);
	for (uint32_t i = 0; i < found.n; i++) {
		bytes -= found.items[i].held.bytes;
		blocks -= found.items[i].held.blocks;
	}
	require(bytes == 0);
	require(blocks == 0);
	if (r->timeline.owner && by == ML_HOLDERS_LINE) {
		ml_growth_find(&growth, &r->timeline, &found);
		ml_growth_free(&growth);
	}
	ml_holders_free(&found);
}

static void check_reading(const char *path, enum ml_hold_moment moment)
{
	struct ml_reading r = {0};
	struct ml_options options;
	uint64_t blocks = 0;
	char *error;

	ml_options_init(&options);
	options.objects.cache = false;
	options.objects.sysroot = "/nonexistent";
	options.fold.end_last = true;
	options.stacks = true;
	options.hold = moment;
	options.invocations = moment == ML_HOLD_PEAK;
	options.points = 20;
	options.owners = moment == ML_HOLD_END;
	require(!ml_reading_add(&r, path, &options, &error));
	ml_reading_finish(&r, &options);
	for (uint32_t i = 0; i < r.stacks.n; i++)
		blocks += r.holds.items[i].held[ML_HOLD_RUN].blocks + r.holds.items[i].held[ML_HOLD_STARTUP].blocks;
	if (moment == ML_HOLD_END)
		require(blocks == r.totals.live_blocks);
	for (int by = ML_HOLDERS_LINE; by <= ML_HOLDERS_STACK; by++)
		check_holders(&r, moment == ML_HOLD_END ? r.totals.live_bytes : r.totals.peak_bytes, blocks,
			      (enum ml_holders_by)by);
	ml_reading_close(&r);
	ml_options_free(&options);
}

/* To a file that stays as it is nothing is added. */
static void check_following(const char *path, uint64_t events)
{
	struct ml_follow follow;
	struct ml_sites sites;
	char *error;

	require(!ml_follow_open(&follow, path, &error));
	require(follow.fold->totals.events <= events);
	for (int i = 0; i < 3; i++)
		require(!ml_follow_on(&follow));
	ml_follow_sites(&follow, &sites);
	ml_sites_free(&sites);
	ml_fold_finish(follow.fold);
	check_sums(follow.fold, 0);
	ml_follow_close(&follow);
}

static int open_bytes(const uint8_t *bytes, size_t length)
{
	int fd = memfd_create("trace", MFD_CLOEXEC);

	require(fd >= 0);
	require(length == 0 || write(fd, bytes, length) == (ssize_t)length);
	return fd;
}

struct read_all read_all(const uint8_t *bytes, size_t length)
{
	const struct ml_fold_options part = {.from_ns = 1000, .to_ns = 1000000, .tid = 100};
	const struct ml_fold_options whole = {.to_ns = UINT64_MAX, .end_last = true};
	struct read_all result = {0};
	int fd = open_bytes(bytes, length);
	char path[64], text[256], *error;
	struct ml_trace *t;

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	t = ml_load_open(path, &error);
	if (!t) {
		close(fd);
		require(error && *error);
		free(error);
		return result;
	}
	result.opened = 1;
	check_nodes(t);
	check_dump(t);
	check_fold(t, &part, &result);
	check_fold(t, &whole, &result);
	check_activations(t);
	check_reading(path, ML_HOLD_END);
	check_reading(path, ML_HOLD_PEAK);
	check_following(path, result.events);
	close(fd);
	for (unsigned i = 0; ml_load_warning(t, i, text, sizeof text); i++)
		result.warnings++;
	ml_load_close(t);
	return result;
}

#include "report/follow.h"

/* Folds what was loaded. */
static void feed(struct ml_follow *f)
{
	const struct ml_moment *moments;
	size_t n;

	while (!f->ended && (n = ml_load_next(f->trace, &moments)))
		f->ended = !ml_fold_feed(f->fold, moments, n);
}

int ml_follow_open(struct ml_follow *f, const char *path, char **error)
{
	struct ml_fold_options options = {.to_ns = UINT64_MAX};

	*f = (struct ml_follow){.trace = ml_load_open(path, error)};
	if (!f->trace)
		return -1;
	ml_process_read(f->trace, &f->process);
	f->scope = (struct ml_scope){f->process.scope, f->process.root, f->process.program};
	ml_sites_resolve(&f->sites, f->trace, &f->scope, &f->nodes);
	options.in_scope = f->nodes.in_scope;
	f->fold = ml_fold_new(f->trace, &options);
	ml_fold_follow(f->fold, f->trace, f->nodes.in_scope);
	feed(f);
	return 0;
}

bool ml_follow_on(struct ml_follow *f)
{
	const uint64_t events = f->fold->totals.events;

	if (f->ended)
		return false;
	ml_load_follow(f->trace);
	if (f->trace->nodes_n > f->nodes.n)
		ml_sites_resolve_more(&f->sites, &f->scope, &f->nodes);
	ml_fold_follow(f->fold, f->trace, f->nodes.in_scope);
	feed(f);
	return f->fold->totals.events > events;
}

void ml_follow_sites(struct ml_follow *f, struct ml_sites *sites)
{
	struct ml_site_nodes nodes;

	ml_runs_settle(&f->fold->runs);
	*sites = (struct ml_sites){0};
	ml_sites_resolve(sites, f->trace, &f->scope, &nodes);
	ml_sites_add(sites, &nodes, f->fold, f->process.baseline_rss);
	ml_site_nodes_free(&nodes);
	ml_sites_sort(sites);
}

void ml_follow_close(struct ml_follow *f)
{
	ml_fold_free(f->fold);
	ml_site_nodes_free(&f->nodes);
	ml_sites_free(&f->sites);
	ml_load_close(f->trace);
}

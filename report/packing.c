/* memline pack: traces and all that is needed to read them in one file. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zstd.h>

#include "report/commands.h"
#include "report/file.h"
#include "report/inherit.h"
#include "report/memory.h"
#include "report/merge.h"
#include "report/progress.h"
#include "symbolize/native/cache.h"
#include "trace/put.h"

/* zstd's own default. */
#define LEVEL 3

/* A pack on its way out. */
struct packing {
	const struct ml_options *options;
	FILE *out;
	uint64_t at; /* bytes written */
	ZSTD_CCtx *zstd;
	FILE *index;
	char *index_text;
	size_t index_bytes;
	struct ml_texts traces;    /* names of those that are in it */
	struct ml_texts sources;   /* names of those that were looked at */
	struct ml_objects objects; /* of all traces */
	struct ml_cache **symbols; /* by object: what is known of its addresses */
	uint32_t symbols_n;
};

/* What becomes an item. */
struct content {
	struct ml_pack_item item;
	const char *name;
	const uint8_t *bytes;   /* or NULL, */
	struct ml_trace *trace; /* then it is the file of this one */
};

static void put(struct packing *p, const void *bytes, size_t n)
{
	fwrite(bytes, 1, n, p->out);
	p->at += n;
}

static bool is_zero(const uint8_t *bytes, size_t n)
{
	return !n || (!bytes[0] && !memcmp(bytes, bytes + 1, n - 1));
}

static struct ml_pack_block put_block(struct packing *p, const uint8_t *bytes, size_t n)
{
	uint8_t packed[ZSTD_COMPRESSBOUND(ML_PACK_BLOCK)];
	struct ml_pack_block block = {p->at, 0};

	if (is_zero(bytes, n))
		return block;
	block.bytes = ZSTD_compressCCtx(p->zstd, packed, sizeof(packed), bytes, n, LEVEL);
	put(p, packed, (size_t)block.bytes);
	return block;
}

/* Of a process that ran on, the directory may name by now what lay behind the end of the file before. */
static uint64_t size_of(const struct ml_trace *t)
{
	struct stat st;

	return t->fd < 0 || fstat(t->fd, &st) ? t->file_bytes : (uint64_t)st.st_size;
}

static struct ml_pack_block put_read(struct packing *p, const struct content *c, uint64_t offset, uint8_t *bytes,
				     size_t n)
{
	if (c->item.last_turn && c->trace->fd >= 0)
		ml_merge_overlay(c->trace, offset, bytes, n);
	return put_block(p, bytes, n);
}

/* False where not all of it could be read. */
static bool put_content(struct packing *p, struct content *c)
{
	static const uint8_t zeros[8];
	uint8_t buffer[ML_PACK_BLOCK];
	struct ml_progress progress;
	uint64_t offset;
	size_t blocks_bytes;
	char *blocks;
	FILE *out;
	bool grown = false, whole;

	out = ml_memory_stream(&blocks, &blocks_bytes);
	ml_progress_start(&progress, c->name);
	for (offset = 0; offset < c->item.bytes; offset += ML_PACK_BLOCK) {
		struct ml_pack_block block;
		uint64_t left;
		size_t n;

		if (c->item.last_turn && !grown && c->item.bytes - offset <= ML_PACK_BLOCK) {
			c->item.bytes = size_of(c->trace);
			grown = true;
		}
		left = c->item.bytes - offset;
		n = left < ML_PACK_BLOCK ? (size_t)left : ML_PACK_BLOCK;
		if (c->bytes)
			block = put_block(p, c->bytes + offset, n);
		else if (ml_file_read(c->trace, offset, buffer, n) < n)
			break;
		else
			block = put_read(p, c, offset, buffer, n);
		fwrite(&block, sizeof(block), 1, out);
		ml_progress_show(&progress, (double)offset / (double)c->item.bytes);
	}
	whole = offset >= c->item.bytes;
	ml_progress_end(&progress);
	fclose(out);
	fwrite(&c->item, sizeof(c->item), 1, p->index);
	fwrite(c->name, 1, c->item.name_bytes, p->index);
	fwrite(zeros, 1, -(size_t)c->item.name_bytes % 8, p->index);
	fwrite(blocks, 1, blocks_bytes, p->index);
	free(blocks);
	return whole;
}

static void put_text(struct packing *p, struct ml_pack_item item, const char *name, const char *text)
{
	item.name_bytes = (uint32_t)strlen(name);
	put_content(p, &(struct content){.item = item, .name = name, .bytes = (const uint8_t *)text});
}

/* Traces. */

static const char *last_component(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Returns what is wrong, or NULL. */
static char *put_trace(struct packing *p, const char *path, enum ml_pack_kind kind)
{
	const char *name = last_component(path);
	struct content c = {.item = {.kind = kind, .name_bytes = (uint32_t)strlen(name)}, .name = name};
	struct ml_process process;
	char *error = NULL;

	c.trace = ml_load_open(path, &error);
	if (!c.trace)
		return error;
	ml_process_read(c.trace, &process);
	c.item.detail = process.end;
	c.item.bytes = c.trace->file_bytes;
	if (c.trace->packed)
		c.item.last_turn = c.trace->packed->last_turn;
	else if (process.end == ML_PROCESS_RUNNING)
		c.item.last_turn = ml_merge_last_turn(c.trace);
	if (!put_content(p, &c))
		error = ml_memory_print("%s: cannot be read to its end", path);
	ml_load_close(c.trace);
	return error;
}

/* NULL: it can't be had. */
static struct ml_trace *try_meta(const char *path)
{
	char *error;
	struct ml_trace *t = ml_load_open_meta(path, &error);

	if (!t)
		free(error);
	return t;
}

/* The trace that the process was forked from, if it can be had and isn't in the pack yet; the caller frees it. */
static char *missing_parent(struct packing *p, const char *path)
{
	const uint32_t known = p->traces.n;
	struct ml_trace *t = try_meta(path), *parent;
	char *at = t ? ml_inherit_path(t) : NULL;
	bool missing;

	parent = at ? try_meta(at) : NULL;
	missing = parent && ml_texts_number(&p->traces, last_component(at)) == known;
	ml_load_close(parent);
	ml_load_close(t);
	if (missing)
		return at;
	free(at);
	return NULL;
}

/* Its ancestors. Returns what is wrong, or NULL. */
static char *put_kin(struct packing *p, const char *path)
{
	char *at = missing_parent(p, path), *next, *error = NULL;

	while (at) {
		error = put_trace(p, at, ML_PACK_KIN);
		next = error ? NULL : missing_parent(p, at);
		free(at);
		at = next;
	}
	return error;
}

/* Symbols. */

static struct ml_cache *symbols_of(struct packing *p, uint32_t object)
{
	if (object >= p->symbols_n) {
		p->symbols = ml_memory_resize(p->symbols, p->objects.n, sizeof(struct ml_cache *));
		memset(p->symbols + p->symbols_n, 0, (p->objects.n - p->symbols_n) * sizeof(struct ml_cache *));
		p->symbols_n = p->objects.n;
	}
	if (!p->symbols[object])
		p->symbols[object] = ml_cache_of(NULL, 0);
	return p->symbols[object];
}

/* Looks up all native frames of a trace. Returns what is wrong, or NULL. */
static char *find_symbols(struct packing *p, const char *path)
{
	struct ml_dwarf_frame frames[ML_OBJECTS_FRAMES];
	struct ml_trace *t;
	uint64_t address;
	uint32_t i, object;
	char *error;
	size_t n;

	t = ml_load_open(path, &error);
	if (!t)
		return error;
	ml_inherit(t);
	ml_objects_take(&p->objects, t);
	for (i = 1; i < t->nodes_n; i++) {
		struct ml_cache *symbols;
		if (ML_SUBJECT_KIND(t->nodes[i].subject) != ML_NODE_NATIVE)
			continue;
		object = ml_objects_of(&p->objects, &t->nodes[i], &address);
		n = ml_objects_find(&p->objects, object, address, frames, ML_OBJECTS_FRAMES);
		symbols = symbols_of(p, object);
		if (symbols)
			ml_cache_put(symbols, address - 1, frames, n); /* where ml_objects_find() looks */
	}
	ml_load_close(t);
	return NULL;
}

static void put_symbols(struct packing *p)
{
	uint32_t i;

	for (i = 0; i < p->symbols_n; i++) {
		const struct ml_object *object = &p->objects.objects[i];
		struct ml_pack_item item = {.kind = ML_PACK_SYMBOLS, .detail = object->problem};
		char *name, *text = NULL;
		size_t bytes;
		FILE *out;

		if (!p->symbols[i])
			continue;
		out = ml_memory_stream(&text, &bytes);
		ml_cache_write(p->symbols[i], out);
		fclose(out);
		item.bytes = bytes;
		name = ml_pack_object_name(object->path, object->build_id, object->build_id_bytes);
		put_text(p, item, name, text);
		free(name);
		free(text);
		ml_cache_close(p->symbols[i], 0);
	}
	free(p->symbols);
}

/* Sources. */

/* Of all functions that a report of the trace may show. Returns what is wrong, or NULL. */
static char *put_sources(struct packing *p, const char *path)
{
	struct ml_options o = *p->options;
	struct ml_reading r = {0};
	char *error;
	uint32_t i;

	o.fold.end_last = true;
	if (ml_reading_add(&r, path, &o, &error))
		return error;
	ml_reading_finish(&r, &o);
	for (i = 0; i < r.files.n; i++) {
		const struct ml_source *s = ml_reading_source(&r, r.files.items[i]);
		uint32_t n = p->sources.n;
		struct ml_pack_item item = {.kind = ML_PACK_SOURCE, .modified_ns = s->modified_ns};

		if (r.files.items[i][0] == '<' || !s->text || ml_texts_number(&p->sources, r.files.items[i]) < n)
			continue;
		item.bytes = s->starts[s->lines];
		put_text(p, item, r.files.items[i], s->text);
	}
	ml_reading_close(&r);
	return NULL;
}

static void begin(struct packing *p, FILE *out, const struct ml_options *options)
{
	const struct ml_pack_header header = {ML_PACK_MAGIC, ML_PACK_VERSION, 0};

	*p = (struct packing){.options = options, .out = out, .zstd = ZSTD_createCCtx()};
	p->index = ml_memory_stream(&p->index_text, &p->index_bytes);
	p->objects.options = options->objects;
	put(p, &header, sizeof(header));
}

static void end(struct packing *p)
{
	struct ml_pack_trailer trailer = {.magic = ML_PACK_MAGIC};

	put_symbols(p);
	fclose(p->index);
	trailer.index = p->at;
	trailer.index_bytes = p->index_bytes;
	trailer.checksum = ml_checksum(p->index_text, p->index_bytes);
	put(p, p->index_text, p->index_bytes);
	put(p, &trailer, sizeof(trailer));
	free(p->index_text);
	ZSTD_freeCCtx(p->zstd);
	ml_texts_free(&p->traces);
	ml_texts_free(&p->sources);
	ml_objects_free(&p->objects);
}

/* Returns what is wrong, or NULL. */
static char *put_all(struct packing *p, const struct ml_finds *finds)
{
	char *error = NULL;
	size_t i;

	for (i = 0; i < finds->n && !error; i++) {
		if (ml_texts_number(&p->traces, last_component(finds->items[i].path)) < i)
			return ml_memory_print("%s: there is another trace of that name", finds->items[i].path);
		error = put_trace(p, finds->items[i].path, ML_PACK_TRACE);
	}
	for (i = 0; i < finds->n && !error; i++)
		error = put_kin(p, finds->items[i].path);
	for (i = 0; i < finds->n && !error; i++)
		error = put_sources(p, finds->items[i].path);
	for (i = 0; i < finds->n && !error; i++)
		error = find_symbols(p, finds->items[i].path);
	return error;
}

struct arguments {
	struct ml_options options;
	const char *output;
};

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case 'o':
		a->output = text;
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->options;
		return 0;
	case ARGP_KEY_SUCCESS:
		if (!a->output)
			argp_error(state, "-o FILE is missing");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_option options[] = {
	{"output", 'o', "FILE", 0, "The file that is made", 0},
	{0},
};

static const struct argp_child children[] = {
	{&ml_options_native_argp, 0, NULL, 0},
	{0},
};

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "-o FILE [TRACE...]",
	.doc = "Puts traces into one file, with the sources of the lines in scope and the names of native functions, "
	       "so that it can be read on a machine that has neither. Every command takes it for a TRACE."
	       "\v" ML_COMMAND_TRACES " Of a process that runs the pack has what it has done so far.",
	.children = children,
};

int ml_command_pack(int argc, char **argv)
{
	struct arguments a = {.output = NULL};
	struct ml_finds finds = {NULL, 0};
	struct packing p;
	FILE *out = NULL;
	char *error;
	int status;

	ml_options_init(&a.options);
	status = ml_command_find(&finds, &argp, argc, argv, &a);
	if (!status && !(out = ml_command_open(a.output, NULL)))
		status = EXIT_FAILURE;
	if (!status) {
		begin(&p, out, &a.options);
		error = put_all(&p, &finds);
		end(&p);
		status = ml_command_written(out, error ? ml_command_error(error) : 0);
		if (fclose(out))
			status = EXIT_FAILURE;
	}
	ml_finds_free(&finds);
	ml_options_free(&a.options);
	return status;
}

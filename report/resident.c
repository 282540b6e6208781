#include "report/resident.h"

#include "report/table.h"

/* Bytes; all but the last add up to what is resident. */
struct parts {
	uint64_t objects; /* live ones in arenas */
	uint64_t objects_padding;
	uint64_t arenas_free; /* what else arenas and data stacks have */
	uint64_t malloc;      /* live blocks of the C library */
	uint64_t malloc_padding;
	uint64_t mapped;
	uint64_t rest;
	uint64_t missing; /* by how much the parts before the rest are more than what is resident */
};

static struct parts find_parts(const struct ml_reading *r)
{
	const struct ml_heap *h = &r->heap;
	uint64_t arenas = r->totals.allocator_bytes, known;
	struct parts p = {
		.objects = h->small.bytes,
		.objects_padding = h->small.taken_bytes - h->small.bytes,
		.arenas_free = arenas > h->small.taken_bytes ? arenas - h->small.taken_bytes : 0,
		.malloc = h->malloc.bytes,
		.malloc_padding = h->malloc.taken_bytes - h->malloc.bytes,
		.mapped = h->mapped_bytes,
	};

	known = h->small.taken_bytes + p.arenas_free + h->malloc.taken_bytes + p.mapped;
	p.rest = r->totals.rss_bytes > known ? r->totals.rss_bytes - known : 0;
	p.missing = known > r->totals.rss_bytes ? known - r->totals.rss_bytes : 0;
	return p;
}

static void print_part(FILE *out, uint64_t bytes, const char *what)
{
	char size[ML_TABLE_SIZE_BYTES];

	if (bytes)
		fprintf(out, "  %12s  %s\n", ml_table_size(bytes, size), what);
}

void ml_resident_print(FILE *out, const struct ml_reading *r)
{
	char size[ML_TABLE_SIZE_BYTES];
	struct parts p = find_parts(r);

	if (!r->totals.rss_bytes || r->selected)
		return;
	fprintf(out, "  why %s are resident at the end\n", ml_table_size(r->totals.rss_bytes, size));
	print_part(out, p.objects, "live objects in CPython's arenas");
	print_part(out, p.objects_padding, "rounding of their sizes");
	print_part(out, p.arenas_free,
		   r->no_objects ? "CPython's arenas and data stacks, whose objects were not recorded"
				 : "free in CPython's arenas and data stacks, for later objects");
	print_part(out, p.malloc, "live blocks of the C library's allocator");
	print_part(out, p.malloc_padding, "rounding of their sizes");
	print_part(out, p.mapped, "live anonymous mappings");
	print_part(out, p.rest, "the rest: program and libraries, stacks, what was freed and the C library keeps");
	if (p.rest)
		fprintf(out, "  %12s  (%s were resident before anything was tracked)\n", "",
			ml_table_size(r->baseline_rss, size));
	print_part(out, p.missing,
		   "less: never touched, as large blocks of zeros, or swapped out (whose is not known)");
}

json_t *ml_resident_json(const struct ml_reading *r)
{
	struct parts p = find_parts(r);

	if (!r->totals.rss_bytes || r->selected)
		return json_null();
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "rss_bytes", (json_int_t)r->totals.rss_bytes,
			 "object_bytes", (json_int_t)p.objects, "object_padding_bytes", (json_int_t)p.objects_padding,
			 "arena_free_bytes", (json_int_t)p.arenas_free, "malloc_bytes", (json_int_t)p.malloc,
			 "malloc_padding_bytes", (json_int_t)p.malloc_padding, "mapped_bytes", (json_int_t)p.mapped,
			 "rest_bytes", (json_int_t)p.rest, "not_resident_bytes", (json_int_t)p.missing);
}

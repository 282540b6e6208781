#include "tests/report/golden.h"

#include <sys/mman.h>

void golden_all_records(struct build *b)
{
	struct build_ring *x = build_ring(b, 100), *y = build_ring(b, 101);
	uint32_t code = build_code(b, "/srv/app.py", "main", 1, "\x80\x00", 2), node;

	build_layout(b)->piece_bytes = 4 * ML_RECORD_MAX + 60;
	build_layout(b)->chunk_entries = 4;
	build_layout(b)->nodes_in_extent = 2;
	build_meta(b, "pid", "1");
	build_meta(b, "page_bytes", "4096");
	build_module(b, "/lib/x.so", 0x10000, 0x1000);
	node = build_node(b, 0, ML_NODE_PYTHON, code, 2);
	node = build_node(b, node, ML_NODE_NATIVE, 1, 0x10);
	build_node(b, node, ML_NODE_MARK, ML_MARK_TRUNCATED, 0);
	for (unsigned i = 0; i < 6; i++) {
		build_alloc(x, ML_DOMAIN_OBJ, 1, 0x5000 + i * 48, 40);
		build_map(y, 2, 0x7f0000000000 + i * 0x10000, 0x8000, PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
		build_realloc(x, ML_DOMAIN_C, 3, 0x5000 + i * 48, 0x6008 + i * 64, 60);
		build_unmap(y, 1, 0x7f0000000000 + i * 0x10000, 0x2000);
		build_time(x, 2000 * (i + 1), 300);
		build_event(y, &(struct ml_event){.record = ML_RECORD_ARENA, .address = i << 20, .bytes = 1 << 20});
	}
	build_event(y, &(struct ml_event){.record = ML_RECORD_REMAP_BEGIN,
					  .node = 2,
					  .address = 0x7f0000004000,
					  .bytes = 0x1000,
					  .flags = MREMAP_MAYMOVE});
	build_event(y, &(struct ml_event){.record = ML_RECORD_REMAP_END, .address = 0x7e0000000000, .bytes = 0x3000});
	build_event(y, &(struct ml_event){.record = ML_RECORD_PROTECT,
					  .node = 1,
					  .address = 0x7f0000000000,
					  .bytes = 0x1000,
					  .prot = PROT_WRITE});
	build_finalize(x);
	build_event(x, &(struct ml_event){.record = ML_RECORD_REALLOC_BEGIN, .node = 1, .address = 0x6008});
}

void golden_rings(struct build *b)
{
	struct build_ring *r[3];
	uint32_t node = build_node(b, 0, ML_NODE_NATIVE, 0, 0x401000);

	build_layout(b)->piece_bytes = 4 * ML_RECORD_MAX + 40;
	build_layout(b)->chunk_entries = 3;
	build_layout(b)->holes = 1;
	build_layout(b)->nodes_in_extent = 4;
	build_header(b)->end = ML_END_EXIT;
	build_header(b)->exit_status = 3;
	build_header(b)->stop = ML_STOP_MAX_BYTES;
	build_header(b)->counter[ML_COUNTER_DROPPED_STOPPED] = 17;
	for (uint32_t i = 0; i < 3; i++)
		r[i] = build_ring(b, 100 + i);
	for (unsigned i = 0; i < 60; i++) {
		build_alloc(r[i * i % 3], ML_DOMAIN_RAW, node, 0x100000 + i * 32, i * 100);
		if (i % 3 == 2)
			build_free(r[(i + 1) % 3], ML_DOMAIN_RAW, 0, 0x100000 + (i - 1) * 32);
		if (i % 20 == 0)
			build_time(r[i % 3], i * 1000000, i * 10);
	}
	build_owner(r[1], 555);
	build_alloc(r[1], ML_DOMAIN_C, 99, 0x200000, 1); /* of a stack that is not in the trace */
	build_flush(r[2]);
}

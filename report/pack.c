#include "report/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "report/memory.h"
#include "trace/put.h"

/* No index is larger: 16 bytes for a block of 64 KiB: that is the index of a TiB. */
#define INDEX_MAX (256u << 20)

#define TEXT_MAX (256u << 20)

/* Blocks that are kept, as many rings are read side by side. */
#define CACHED 64

struct ml_pack_cached {
	const uint8_t *block; /* its place in the index, or NULL */
	uint8_t content[ML_PACK_BLOCK];
};

static bool read_at(int fd, uint64_t offset, void *buffer, size_t bytes)
{
	ssize_t got = 0;
	size_t done;

	if (offset > INT64_MAX - bytes)
		return false;
	for (done = 0; done < bytes; done += (size_t)got) {
		got = pread(fd, (char *)buffer + done, bytes - done, (off_t)(offset + done));
		if (got < 0 && errno == EINTR)
			got = 0;
		else if (got <= 0)
			return false;
	}
	return true;
}

static uint64_t blocks_of(uint64_t bytes)
{
	return bytes / ML_PACK_BLOCK + (bytes % ML_PACK_BLOCK != 0);
}

/* Takes the item at *at, and moves on. False where it makes no sense. */
static bool add_item(struct ml_pack *p, const uint8_t **at, const uint8_t *end)
{
	struct ml_pack_item item;
	size_t left = (size_t)(end - *at), name_bytes;
	uint64_t blocks;

	if (left < sizeof(item))
		return false;
	memcpy(&item, *at, sizeof(item));
	name_bytes = ((size_t)item.name_bytes + 7) / 8 * 8;
	blocks = blocks_of(item.bytes);
	left -= sizeof(item);
	if (item.bytes > INT64_MAX || name_bytes > left || blocks > (left - name_bytes) / sizeof(struct ml_pack_block))
		return false;
	*at += sizeof(item);
	p->items = ml_memory_grow(p->items, p->n, sizeof(*p->items));
	p->items[p->n++] = (struct ml_packed){
		.kind = (enum ml_pack_kind)item.kind,
		.detail = item.detail,
		.bytes = item.bytes,
		.modified_ns = item.modified_ns,
		.last_turn = item.last_turn,
		.name = ml_memory_text(*at, item.name_bytes),
		.blocks = *at + name_bytes,
	};
	*at += name_bytes + blocks * sizeof(struct ml_pack_block);
	return true;
}

/* What is wrong with the file, or NULL. */
static const char *read_index(struct ml_pack *p)
{
	struct ml_pack_trailer trailer;
	const uint8_t *at;

	if (p->file_bytes < sizeof(struct ml_pack_header) + sizeof(trailer) ||
	    !read_at(p->fd, p->file_bytes - sizeof(trailer), &trailer, sizeof(trailer)) ||
	    memcmp(trailer.magic, ML_PACK_MAGIC, sizeof(trailer.magic)) || trailer.index_bytes > INDEX_MAX ||
	    trailer.index > p->file_bytes || trailer.index_bytes > p->file_bytes - trailer.index)
		return "the pack was cut off; copy it again";
	p->index = ml_memory_get(trailer.index_bytes, 1);
	if (!read_at(p->fd, trailer.index, p->index, trailer.index_bytes) ||
	    ml_checksum(p->index, trailer.index_bytes) != trailer.checksum)
		return "the pack is damaged; copy it again";
	for (at = p->index; at < p->index + trailer.index_bytes;)
		if (!add_item(p, &at, p->index + trailer.index_bytes))
			return "the pack is damaged; pack the traces again";
	return NULL;
}

struct ml_pack *ml_pack_open(const char *path, char **error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct ml_pack_header header;
	const char *wrong = NULL;
	struct ml_pack *p;
	struct stat st;

	*error = NULL;
	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || !read_at(fd, 0, &header, sizeof(header)) ||
	    memcmp(header.magic, ML_PACK_MAGIC, sizeof(header.magic))) {
		close(fd);
		return NULL;
	}
	p = ml_memory_get(1, sizeof(*p));
	p->fd = fd;
	p->file_bytes = (uint64_t)st.st_size;
	p->cache = ml_memory_get(CACHED, sizeof(*p->cache));
	if (header.version != ML_PACK_VERSION)
		wrong = "the pack was made by another version of memline; use that one";
	else
		wrong = read_index(p);
	if (!wrong)
		return p;
	*error = ml_memory_print("%s: %s", path, wrong);
	ml_pack_close(p);
	return NULL;
}

void ml_pack_close(struct ml_pack *p)
{
	size_t i;

	if (!p)
		return;
	for (i = 0; i < p->n; i++)
		free(p->items[i].name);
	free(p->items);
	free(p->index);
	free(p->cache);
	close(p->fd);
	free(p);
}

const struct ml_packed *ml_pack_find(const struct ml_pack *p, enum ml_pack_kind kind, const char *name)
{
	size_t i;

	for (i = 0; i < p->n; i++)
		if ((p->items[i].kind == kind || (kind == ML_PACK_TRACE && p->items[i].kind == ML_PACK_KIN)) &&
		    !strcmp(p->items[i].name, name))
			return &p->items[i];
	return NULL;
}

/* The content of a block, valid until the next call; NULL: it is damaged. */
static const uint8_t *load_block(struct ml_pack *p, const uint8_t *block, size_t bytes)
{
	struct ml_pack_cached *cached = &p->cache[(size_t)(block - p->index) / sizeof(struct ml_pack_block) % CACHED];
	uint8_t packed[ZSTD_COMPRESSBOUND(ML_PACK_BLOCK)];
	struct ml_pack_block b;

	if (cached->block == block)
		return cached->content;
	cached->block = NULL;
	memcpy(&b, block, sizeof(b));
	if (!b.bytes)
		memset(cached->content, 0, bytes);
	else if (b.bytes > sizeof(packed) || !read_at(p->fd, b.offset, packed, b.bytes) ||
		 ZSTD_decompress(cached->content, bytes, packed, b.bytes) != bytes)
		return NULL;
	cached->block = block;
	return cached->content;
}

int64_t ml_pack_read(struct ml_pack *p, const struct ml_packed *item, uint64_t offset, void *buffer, size_t bytes)
{
	size_t done, n;

	if (offset >= item->bytes)
		return 0;
	if (bytes > item->bytes - offset)
		bytes = (size_t)(item->bytes - offset);
	for (done = 0; done < bytes; done += n) {
		uint64_t number = (offset + done) / ML_PACK_BLOCK, start = number * ML_PACK_BLOCK;
		size_t within = (size_t)(offset + done - start);
		size_t length = item->bytes - start < ML_PACK_BLOCK ? (size_t)(item->bytes - start) : ML_PACK_BLOCK;
		const uint8_t *content = load_block(p, item->blocks + number * sizeof(struct ml_pack_block), length);

		if (!content)
			return done ? (int64_t)done : -1;
		n = length - within < bytes - done ? length - within : bytes - done;
		memcpy((uint8_t *)buffer + done, content + within, n);
	}
	return (int64_t)bytes;
}

uint64_t ml_pack_data(const struct ml_packed *item, uint64_t offset)
{
	struct ml_pack_block b;

	for (; offset < item->bytes; offset = (offset / ML_PACK_BLOCK + 1) * ML_PACK_BLOCK) {
		memcpy(&b, item->blocks + offset / ML_PACK_BLOCK * sizeof(b), sizeof(b));
		if (b.bytes)
			return offset;
	}
	return item->bytes;
}

char *ml_pack_text(struct ml_pack *p, const struct ml_packed *item)
{
	char *text;

	if (item->bytes > TEXT_MAX)
		return NULL;
	text = ml_memory_get(item->bytes + 1, 1);
	if (ml_pack_read(p, item, 0, text, item->bytes) == (int64_t)item->bytes)
		return text;
	free(text);
	return NULL;
}

char *ml_pack_object_name(const char *path, const uint8_t *build_id, uint32_t build_id_bytes)
{
	char *hex = ml_memory_hex(build_id, build_id_bytes), *name = ml_memory_print("%s\n%s", path, hex);

	free(hex);
	return name;
}

#include "report/file.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "report/memory.h"

#define WINDOW_BYTES 65536u

void ml_file_damaged(struct ml_trace *t, enum ml_damage kind, uint64_t offset)
{
	if (!t->damage[kind].count++)
		t->damage[kind].offset = offset;
}

ssize_t ml_file_pread(const struct ml_trace *t, void *buffer, size_t bytes, uint64_t offset)
{
	if (!t->pack)
		return pread(t->fd, buffer, bytes, (off_t)offset);
	errno = EIO;
	return (ssize_t)ml_pack_read(t->pack, t->packed, offset, buffer, bytes);
}

size_t ml_file_read(struct ml_trace *t, uint64_t offset, void *buffer, size_t bytes)
{
	size_t done = 0;

	if (offset > INT64_MAX || bytes > INT64_MAX - offset)
		return 0;
	while (done < bytes) {
		ssize_t got = ml_file_pread(t, (char *)buffer + done, bytes - done, offset + done);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			ml_file_damaged(t, ML_DAMAGE_READ, offset + done);
		if (got <= 0)
			break;
		done += (size_t)got;
	}
	return done;
}

uint64_t ml_file_within(const struct ml_trace *t, const struct ml_extent *e)
{
	if (e->offset >= t->file_bytes)
		return 0;
	return e->length < t->file_bytes - e->offset ? e->length : t->file_bytes - e->offset;
}

void ml_file_window_open(struct ml_file_window *w, struct ml_trace *t, uint64_t offset, uint64_t length)
{
	*w = (struct ml_file_window){.trace = t, .end = offset + length, .offset = offset};
}

void ml_file_window_close(struct ml_file_window *w)
{
	free(w->buffer);
	w->buffer = NULL;
}

const void *ml_file_window_get(struct ml_file_window *w, uint64_t offset, size_t bytes)
{
	if (offset > w->end || bytes > w->end - offset)
		return NULL;
	if (offset < w->offset || offset - w->offset > w->bytes || bytes > w->bytes - (offset - w->offset)) {
		size_t want = bytes > WINDOW_BYTES ? bytes : WINDOW_BYTES;
		if (want > w->end - offset)
			want = w->end - offset;
		if (want > w->room) {
			w->buffer = ml_memory_resize(w->buffer, want, 1);
			w->room = want;
		}
		w->offset = offset;
		w->bytes = ml_file_read(w->trace, offset, w->buffer, want);
		if (bytes > w->bytes)
			return NULL;
	}
	return w->buffer + (offset - w->offset);
}

uint64_t ml_file_window_data(struct ml_file_window *w, uint64_t offset)
{
	off_t data;

	if (offset >= w->end || (offset >= w->offset && offset - w->offset < w->bytes))
		return offset;
	if (w->trace->pack) {
		uint64_t found = ml_pack_data(w->trace->packed, offset);
		return found < w->end ? found : w->end;
	}
	data = lseek(w->trace->fd, (off_t)offset, SEEK_DATA);
	if (data < 0) /* ENXIO: only a hole from here on. Any other error: no such call here, all is taken for data. */
		return errno == ENXIO ? w->end : offset;
	return (uint64_t)data < w->end ? (uint64_t)data : w->end;
}

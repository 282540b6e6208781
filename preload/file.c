#include "preload/file.h"

#include <errno.h>
#include <sys/auxv.h>

#include "preload/identity.h"
#include "preload/options.h"
#include "preload/process.h"
#include "preload/sys.h"
#include "preload/text.h"

/* A part of the trace that is in memory: an extent that is written in place or, before there is a file, any extent. */
struct mapping {
	uint8_t *memory;
	uint64_t bytes;
	uint64_t offset;
	uint64_t synced; /* ML_FLAG_UNMAPPED: what has been written is whole up to here */
	uint32_t kind;
};

#define MAPPINGS_MAX (1u << 17)
#define HEADER_BYTES 65536u /* the header and the first part of the directory */
#define DIRECTORY_BYTES 65536u
#define EARLY_MAX (8u << 20)
#define NAME_MAX_BYTES 64

static struct {
	int fd;      /* -1: no file (yet) */
	bool mapped; /* extents are the file's own pages; else they are private memory */
	dev_t device;
	ino_t inode;
	char path[sizeof ml_options.directory + NAME_MAX_BYTES];
	const char *name; /* in path */
	char making[sizeof ml_options.directory + NAME_MAX_BYTES + sizeof ML_UNFINISHED];
	unsigned image;
	struct ml_header *header;
	struct ml_extent *entries; /* the part of the directory that is being filled */
	uint32_t entry, entries_room;
	uint64_t end;       /* of what has been reserved */
	uint64_t unchecked; /* bytes that may be reserved before the file system is asked again */
	uint64_t page;
	uint64_t early_bytes;
	struct mapping *mappings;
	uint32_t mapping_count;
} file = {.fd = -1};

static uint64_t round_up(uint64_t n, uint64_t unit)
{
	return (n + unit - 1) / unit * unit;
}

/* A free descriptor number that programs don't trip over: the last that may be had, but not one so high that the
   kernel's table grows much. */
static int move_high(int fd)
{
	struct rlimit limit = {0, 0};
	long number, high;

	ml_sys_getrlimit(RLIMIT_NOFILE, &limit);
	number = limit.rlim_cur < 1024 ? (long)limit.rlim_cur : 1024;
	/* F_DUPFD gives the lowest free number from its argument on. */
	for (long step = 1; (number -= step) > fd; step *= 2) {
		high = ml_sys_fcntl(fd, F_DUPFD_CLOEXEC, number);
		if (high >= 0) {
			ml_sys_close(fd);
			return (int)high;
		}
	}
	return fd;
}

static bool is_ours(int fd)
{
	struct stat st;

	return !ml_sys_fstat(fd, &st) && st.st_dev == file.device && st.st_ino == file.inode;
}

/* The descriptor, opened again by name where the program has closed or reused its number. -1: the file is gone, or it
   is that of the process that has forked this one. */
static int descriptor(void)
{
	int fd;

	if (file.fd < 0 || is_ours(file.fd))
		return file.fd;
	fd = ml_sys_open(file.path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
	if (fd < 0)
		return -1;
	if (!is_ours(fd) || !atomic_load(&ml_wiped->alive)) {
		ml_sys_close(fd);
		return -1;
	}
	file.fd = move_high(fd);
	return file.fd;
}

/* Whether the file system would keep enough space free. Asks it only once in a while: the more is free, the rarer. */
static bool leaves_enough(int fd, uint64_t bytes)
{
	struct statfs fs;
	uint64_t keep = ml_options.keep_free, free_bytes, tenth;

	if (bytes <= file.unchecked) {
		file.unchecked -= bytes;
		return true;
	}
	if (ml_sys_fstatfs(fd, &fs) || !fs.f_blocks) /* some network file systems tell nothing */
		return true;
	free_bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
	if (keep == ML_KEEP_FREE_AUTO) {
		tenth = (uint64_t)fs.f_blocks * (uint64_t)fs.f_bsize / 10;
		keep = tenth < 1u << 30 ? tenth : 1u << 30;
	}
	if (free_bytes < keep || free_bytes - keep < bytes)
		return false;
	file.unchecked = (free_bytes - keep - bytes) / 8;
	return true;
}

/* Past RLIMIT_FSIZE a write is a signal to the program. */
static bool is_within_limit(uint64_t end)
{
	struct rlimit limit;

	return ml_sys_getrlimit(RLIMIT_FSIZE, &limit) || end <= limit.rlim_cur;
}

/* Takes bytes at the end of the file, within every bound. aligned: to a page. False: recording has been stopped. */
static bool reserve(uint64_t bytes, bool aligned, uint64_t *offset)
{
	uint64_t start = aligned ? round_up(file.end, file.page) : file.end;

	if (atomic_load(&ml_process.state) == ML_STOPPED)
		return false;
	if (start + bytes > ml_options.max_bytes) {
		ml_process_stop(ML_STOP_MAX_BYTES, 0);
		return false;
	}
	if (file.fd >= 0) {
		if (!is_within_limit(start + bytes)) {
			ml_process_stop(ML_STOP_FILE_LIMIT, 0);
			return false;
		}
		if (descriptor() < 0) {
			ml_process_stop(ML_STOP_WRITE, ENOENT);
			return false;
		}
		if (!leaves_enough(file.fd, bytes)) {
			ml_process_stop(ML_STOP_KEEP_FREE, 0);
			return false;
		}
	}
	file.end = start + bytes;
	*offset = start;
	return true;
}

/* Memory for an extent at offset; NULL: recording has been stopped. */
static void *map_at(uint64_t offset, uint64_t bytes)
{
	void *memory;
	long error;

	if (!file.mapped) {
		memory = ml_sys_pages(bytes);
		if (!memory)
			ml_process_stop(ML_STOP_WRITE, ENOMEM);
		return memory;
	}
	error = ml_sys_fallocate(file.fd, offset, bytes);
	if (error) {
		ml_process_stop(error == -ENOSPC ? ML_STOP_NO_SPACE : ML_STOP_WRITE, (int)-error);
		return NULL;
	}
	memory = ml_sys_mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, offset);
	if (!ml_sys_failed(memory))
		return memory;
	ml_process_stop(ML_STOP_WRITE, (int)-(intptr_t)memory);
	return NULL;
}

static void add_mapping(void *memory, uint64_t offset, uint64_t bytes, uint32_t kind)
{
	struct mapping *m = &file.mappings[file.mapping_count++];

	m->memory = memory;
	m->offset = offset;
	m->bytes = bytes;
	m->kind = kind;
	m->synced = 0;
}

static void *map_extent(uint32_t kind, uint64_t bytes, uint64_t *offset)
{
	void *memory;

	if (file.mapping_count == MAPPINGS_MAX) {
		ml_process_stop(ML_STOP_DIRECTORY, 0);
		return NULL;
	}
	if (!reserve(bytes, true, offset))
		return NULL;
	memory = map_at(*offset, bytes);
	if (memory)
		add_mapping(memory, *offset, bytes, kind);
	return memory;
}

/* Names an extent. Its length is stored last: until then there is no such extent. */
static void publish(struct ml_extent *entry, uint32_t kind, uint32_t id, uint64_t sequence, uint64_t offset,
		    uint64_t bytes)
{
	entry->offset = offset;
	entry->kind = kind;
	entry->id = id;
	entry->sequence = sequence;
	__atomic_store_n(&entry->length, bytes, __ATOMIC_RELEASE);
}

/* A free entry of the directory, which grows by an extent that its last entry names; NULL: recording has been
   stopped. */
static struct ml_extent *new_entry(void)
{
	if (file.entry == file.entries_room - 1) {
		uint64_t offset;
		struct ml_extent *more = map_extent(ML_EXTENT_DIRECTORY, DIRECTORY_BYTES, &offset);
		if (!more)
			return NULL;
		publish(&file.entries[file.entry], ML_EXTENT_DIRECTORY, 0, 0, offset, DIRECTORY_BYTES);
		file.entries = more;
		file.entries_room = DIRECTORY_BYTES / sizeof *more;
		file.entry = 0;
	}
	return &file.entries[file.entry++];
}

bool ml_file_start(void)
{
	struct ml_header *header;

	file.page = getauxval(AT_PAGESZ);
	if (!file.mappings)
		file.mappings = ml_sys_pages(MAPPINGS_MAX * sizeof *file.mappings);
	header = ml_sys_pages(HEADER_BYTES);
	if (!file.mappings || !header)
		return false;
	file.fd = -1;
	file.mapped = false;
	file.name = "";
	file.mapping_count = 0;
	file.early_bytes = 0;
	file.unchecked = 0;
	file.header = header;
	memcpy(header->magic, ML_MAGIC, sizeof header->magic);
	header->version = ML_VERSION;
	header->byte_order = ML_BYTE_ORDER;
	header->header_bytes = sizeof *header;
	header->counters = ML_COUNTERS;
	header->directory = sizeof *header;
	header->directory_bytes = HEADER_BYTES - sizeof *header;
	header->exit_status = -1;
	file.entries = (struct ml_extent *)(header + 1);
	file.entries_room = (uint32_t)(header->directory_bytes / sizeof *file.entries);
	file.entry = 0;
	file.end = HEADER_BYTES;
	add_mapping(header, 0, HEADER_BYTES, ML_EXTENT_NONE);
	return true;
}

static void drop_descriptor(void)
{
	if (file.fd >= 0 && is_ours(file.fd))
		ml_sys_close(file.fd);
	file.fd = -1;
}

void ml_file_forget(void)
{
	for (uint32_t i = 0; i < file.mapping_count; i++)
		ml_sys_munmap(file.mappings[i].memory, file.mappings[i].bytes);
	file.mapping_count = 0;
	drop_descriptor();
}

void ml_file_detach(void)
{
	bool has_file = file.fd >= 0; /* then extents may be mapped, also before all of them are */

	drop_descriptor();
	for (uint32_t i = 0; has_file && i < file.mapping_count; i++) {
		struct mapping *m = &file.mappings[i];
		void *p = ml_sys_mmap(m->memory, m->bytes, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
		(void)p; /* it can fail only for want of kernel memory, and then fork would have failed */
	}
	file.mapped = false;
}

void *ml_file_map(enum ml_extent_kind kind, uint32_t id, uint64_t bytes)
{
	uint64_t offset;
	struct ml_extent *entry = new_entry();
	void *memory;

	bytes = round_up(bytes, file.page);
	memory = entry ? map_extent(kind, bytes, &offset) : NULL;
	if (memory)
		publish(entry, kind, id, 0, offset, bytes);
	return memory;
}

/* Before there is a file: the piece goes to memory of its own, which ml_file_create() will write. */
static bool append_early(const struct ml_piece *piece, uint64_t bytes)
{
	void *memory;

	if (file.early_bytes + bytes > EARLY_MAX)
		return false;
	memory = ml_file_map(ML_EXTENT_EVENTS, piece->ring, bytes);
	if (!memory)
		return false;
	file.entries[file.entry - 1].sequence = ML_PIECE_SEQUENCE(piece->state);
	memcpy(memory, piece, bytes);
	file.early_bytes += bytes;
	return true;
}

bool ml_file_append(const struct ml_piece *piece, uint64_t bytes)
{
	struct ml_extent *entry = NULL;
	uint64_t offset = 0;
	int fd;
	long n;

	ml_lock_take(&ml_process.lock);
	fd = file.fd;
	if (fd < 0) {
		bool kept = append_early(piece, bytes);
		ml_lock_drop(&ml_process.lock);
		return kept;
	}
	entry = new_entry();
	if (entry && !reserve(bytes, false, &offset))
		entry = NULL;
	if (entry)
		publish(entry, ML_EXTENT_EVENTS, piece->ring, ML_PIECE_SEQUENCE(piece->state), offset, bytes);
	fd = file.fd;
	ml_lock_drop(&ml_process.lock);
	if (!entry)
		return false;
	n = ml_sys_pwrite(fd, piece, bytes, offset);
	if (n == (long)bytes)
		return true;
	ml_process_stop(n >= 0 || n == -ENOSPC || n == -EDQUOT ? ML_STOP_NO_SPACE : ML_STOP_WRITE,
			n < 0 ? (int)-n : ENOSPC);
	return false;
}

/* Makes the directory where it isn't there. The default one must be ours alone: /tmp belongs to everybody. */
static bool prepare_directory(void)
{
	struct stat st;
	long error = ml_sys_mkdir(ml_options.directory, 0700);

	if (ml_options.directory_given)
		return !error || error == -EEXIST;
	return (!error || error == -EEXIST) && !ml_sys_lstat(ml_options.directory, &st) && S_ISDIR(st.st_mode) &&
	       st.st_uid == ml_sys_getuid() && !(st.st_mode & 077);
}

/* Sets the path of the trace, and the one under which it is made. */
static void name_file(unsigned image)
{
	struct ml_text path;

	ml_text_init(&path, file.path, sizeof file.path);
	ml_text_add(&path, ml_options.directory);
	ml_text_add(&path, "/");
	file.name = file.path + path.used;
	ml_text_add_number(&path, (uint64_t)ml_process.pid);
	ml_text_add(&path, "-");
	ml_text_add_number(&path, ml_process.start_ticks);
	ml_text_add(&path, "-");
	ml_text_add_number(&path, image);
	ml_text_add(&path, ".memline");
	ml_text_init(&path, file.making, sizeof file.making);
	ml_text_add(&path, file.path);
	ml_text_add(&path, ML_UNFINISHED);
}

/* Opens a file for the first free name PID-STARTTIME-N.memline. No other process can ask for the same names. */
static bool open_new(void)
{
	for (unsigned image = 0; image < 1u << 20; image++) {
		struct stat st;
		int fd;

		name_file(image);
		if (ml_sys_lstat(file.path, &st) != -ENOENT)
			continue;
		fd = ml_sys_open(file.making, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd == -EEXIST)
			continue;
		if (fd < 0)
			return false;
		file.fd = move_high(fd);
		if (ml_sys_fstat(file.fd, &st))
			return false;
		file.device = st.st_dev;
		file.inode = st.st_ino;
		file.image = image;
		return true;
	}
	return false;
}

static bool write_all(const struct mapping *m, uint64_t from, uint64_t to)
{
	return to == from || ml_sys_pwrite(file.fd, m->memory + from, to - from, m->offset + from) == (long)(to - from);
}

/* Space for all that is in memory, so that no store to a mapping can ever find the disk full. 0 or -errno. */
static long allocate_all(void)
{
	if (!is_within_limit(file.end))
		return -EFBIG;
	if (!leaves_enough(file.fd, file.end))
		return -ENOSPC;
	return ml_sys_fallocate(file.fd, 0, file.end);
}

/* The file takes the place of the private memory. From here on what was written is in the file. */
static bool move_into_file(void)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < file.mapping_count; i++)
		if (!write_all(&file.mappings[i], 0, file.mappings[i].bytes))
			return false;
	for (uint32_t i = 0; i < file.mapping_count; i++) {
		struct mapping *m = &file.mappings[i];
		if (m->kind == ML_EXTENT_EVENTS) {
			ml_sys_munmap(m->memory, m->bytes);
			continue;
		}
		if (ml_sys_failed(ml_sys_mmap(m->memory, m->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
					      file.fd, m->offset)))
			return false;
		file.mappings[kept++] = *m;
	}
	file.mapping_count = kept;
	file.mapped = true;
	return true;
}

/* Writes what was added to an extent that only grows: from the last page that was written to the first empty one. */
static bool sync_mapping(struct mapping *m)
{
	static const uint8_t zeros[4096];
	uint64_t end = m->synced;

	while (end < m->bytes && memcmp(m->memory + end, zeros, sizeof zeros))
		end += sizeof zeros;
	if (!write_all(m, m->synced, end))
		return false;
	m->synced = end > m->synced ? end - sizeof zeros : end;
	return true;
}

/* Brings a file that isn't mapped up to date, with that one ring, or with all if it is NULL. */
static bool sync_all(const struct ml_piece *ring)
{
	bool written = is_within_limit(file.end) && !ml_sys_ftruncate(file.fd, file.end); /* extents end with zeros */

	for (uint32_t i = 0; written && i < file.mapping_count; i++) {
		struct mapping *m = &file.mappings[i];
		if (m->kind == ML_EXTENT_COUNTS)
			written = write_all(m, 0, m->bytes);
		else if (m->kind != ML_EXTENT_RING)
			written = sync_mapping(m);
		else if (!ring || m->memory == (const uint8_t *)ring)
			written = write_all(m, 0, m->bytes);
	}
	return written && write_all(&file.mappings[0], 0, 4096); /* the header changes in place */
}

/* Some file systems refuse shared mappings. */
static bool can_be_mapped(void)
{
	void *p = ml_sys_mmap(NULL, HEADER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, 0);

	if (ml_sys_failed(p))
		return false;
	ml_sys_munmap(p, HEADER_BYTES);
	return true;
}

static bool fill_file(void)
{
	long error;

	if (!ml_identity_write())
		return false;
	error = allocate_all();
	if (error == -EOPNOTSUPP || error == -ENOSYS || (!error && !can_be_mapped())) {
		file.header->flags |= ML_FLAG_UNMAPPED;
		return sync_all(NULL);
	}
	return !error && move_into_file();
}

bool ml_file_create(void)
{
	/* A child that was forked in the middle of this leaves the name to its parent. */
	if (prepare_directory() && open_new() && fill_file() && atomic_load(&ml_wiped->alive) &&
	    !ml_sys_rename(file.making, file.path))
		return true;
	if (file.fd >= 0 && atomic_load(&ml_wiped->alive))
		ml_sys_unlink(file.making);
	if (file.fd >= 0)
		ml_sys_close(file.fd);
	file.fd = -1;
	file.mapped = false;
	file.name = "";
	return false;
}

void ml_file_sync(const struct ml_piece *ring)
{
	ml_lock_take(&ml_process.lock);
	if (file.fd >= 0 && !file.mapped && descriptor() >= 0 && !sync_all(ring))
		ml_process_stop(ML_STOP_NO_SPACE, ENOSPC);
	ml_lock_drop(&ml_process.lock);
}

struct ml_header *ml_file_header(void)
{
	return file.header;
}

const char *ml_file_name(void)
{
	return file.name;
}

const char *ml_file_path(void)
{
	return file.path;
}

unsigned ml_file_image(void)
{
	return file.image;
}

uint64_t ml_file_early_bytes(void)
{
	return file.early_bytes;
}

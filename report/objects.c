#include "report/objects.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "report/memory.h"
#include "report/site.h"
#include "symbolize/native/cache.h"

#define NONE UINT32_MAX

/* As many modules as one recorder defines; more are taken for the unknown one. */
#define OBJECTS_MAX 16384u

/* Modules that are looked at for one address: no honest trace has more of them around it. */
#define LOOKS_MAX 64u

/* Names. */

/* The text behind the last occurrence of the folder in the path, or NULL. */
static const char *behind(const char *path, const char *folder)
{
	const char *at, *found = NULL;

	for (at = path; (at = strstr(at, folder)); at++)
		found = at + strlen(folder);
	return found;
}

/* Length of a file name without ".so" and the version behind it. */
static size_t stem_bytes(const char *name)
{
	const char *at;

	for (at = name; (at = strstr(at, ".so")); at++)
		if (at > name && (!at[3] || at[3] == '.'))
			return (size_t)(at - name);
	return strlen(name);
}

/* The interpreter's program or library: "python", digits and points, letters of a kind of build (sysconfig's ABIFLAGS;
   Debian puts -dbg in front of them). */
static bool is_python(const char *name, size_t bytes)
{
	static const char python[] = "python", debug[] = "-dbg";

	if (bytes > 3 && !memcmp(name, "lib", 3)) {
		name += 3;
		bytes -= 3;
	}
	if (bytes < sizeof(python) - 1 || memcmp(name, python, sizeof(python) - 1))
		return false;
	name += sizeof(python) - 1;
	bytes -= sizeof(python) - 1;
	if (bytes >= sizeof(debug) - 1 && !memcmp(name + bytes - (sizeof(debug) - 1), debug, sizeof(debug) - 1))
		bytes -= sizeof(debug) - 1;
	return strspn(name, "0123456789.dmtu") >= bytes;
}

char *ml_object_name(const char *path)
{
	static const char *const folders[] = {"/site-packages/", "/dist-packages/", "/lib-dynload/"};
	static const char *const tags[] = {".cpython-", ".abi3"};
	const char *file = strrchr(path, '/'), *start = NULL;
	size_t i, bytes;
	char *name, *tag;

	if (!*path)
		return ml_memory_text("[unknown]", strlen("[unknown]"));
	file = file ? file + 1 : path;
	bytes = stem_bytes(file);
	if (is_python(file, bytes))
		return ml_memory_text("python", strlen("python"));
	for (i = 0; !start && i < sizeof(folders) / sizeof(folders[0]); i++)
		start = behind(path, folders[i]);
	if (!start)
		start = file;
	name = ml_memory_text(start, (size_t)(file - start) + bytes);
	for (i = 0; i < sizeof(tags) / sizeof(tags[0]); i++)
		if ((tag = strstr(name + (file - start), tags[i])))
			*tag = 0;
	return name;
}

/* The table of objects. */

static void drop_trace(struct ml_objects *o)
{
	free(o->by_start);
	free(o->ends);
	free(o->numbers);
}

/* What is known of an object of a trace in a pack is in the pack. */
static void take_symbols(struct ml_pack *pack, struct ml_object *object)
{
	char *name = ml_pack_object_name(object->path, object->build_id, object->build_id_bytes);
	const struct ml_packed *item = ml_pack_find(pack, ML_PACK_SYMBOLS, name);

	free(name);
	object->symbols = item ? ml_pack_text(pack, item) : NULL;
	object->cache = ml_cache_of(object->symbols, object->symbols ? (size_t)item->bytes : 0);
	object->problem = item ? (enum ml_dwarf_problem)item->detail : 0;
	object->opened = object->cache_sought = true;
}

static uint32_t add(struct ml_objects *o, char *path, const uint8_t *build_id, uint32_t bytes)
{
	struct ml_object *object;

	o->objects = ml_memory_grow(o->objects, o->n, sizeof(*o->objects));
	object = &o->objects[o->n];
	*object = (struct ml_object){
		.path = path,
		.name = ml_object_name(path),
		.build_id = (uint8_t *)ml_memory_text(build_id, bytes),
		.build_id_bytes = bytes,
	};
	return o->n++;
}

/* The object of a module; the unknown one if it has no name. */
static uint32_t intern(struct ml_objects *o, const struct ml_module *m)
{
	char *path;
	uint32_t i;

	if (!*m->path)
		return 0;
	path = m->path[0] == '[' ? ml_memory_text(m->path, strlen(m->path))
				 : ml_site_file(ml_load_meta(o->trace, "cwd"), m->path);
	for (i = 1; i < o->n; i++) {
		const struct ml_object *object = &o->objects[i];
		if (object->build_id_bytes == m->build_id_bytes && !strcmp(object->path, path) &&
		    !memcmp(object->build_id, m->build_id, m->build_id_bytes)) {
			free(path);
			return i;
		}
	}
	if (o->n == OBJECTS_MAX) {
		free(path);
		return 0;
	}
	i = add(o, path, m->build_id, m->build_id_bytes);
	if (o->trace->pack)
		take_symbols(o->trace->pack, &o->objects[i]);
	return i;
}

/* Modules by address. */

static int compare_starts(const void *left, const void *right)
{
	const struct ml_module *a = *(const struct ml_module *const *)left,
			       *b = *(const struct ml_module *const *)right;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	return (a->id > b->id) - (a->id < b->id);
}

void ml_objects_take(struct ml_objects *o, const struct ml_trace *t)
{
	size_t i;

	if (!o->n)
		add(o, ml_memory_text("", 0), NULL, 0);
	drop_trace(o);
	o->trace = t;
	o->by_start = ml_memory_get(t->modules_n, sizeof(*o->by_start));
	o->ends = ml_memory_get(t->modules_n, sizeof(*o->ends));
	o->numbers = ml_memory_get(t->modules_n, sizeof(*o->numbers));
	for (i = 0; i < t->modules_n; i++) {
		o->by_start[i] = &t->modules[i];
		o->numbers[i] = NONE;
	}
	if (t->modules_n)
		qsort(o->by_start, t->modules_n, sizeof(*o->by_start), compare_starts);
	for (i = 0; i < t->modules_n; i++) {
		o->ends[i] = o->by_start[i]->end;
		if (i && o->ends[i] < o->ends[i - 1])
			o->ends[i] = o->ends[i - 1];
	}
}

/* The only module that was ever loaded at the address, or NULL. */
static const struct ml_module *only_module_at(const struct ml_objects *o, uint64_t address)
{
	const struct ml_module *found = NULL;
	size_t low = 0, high = o->trace->modules_n;
	unsigned looks = 0;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (o->by_start[middle]->start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	while (low-- > 0 && o->ends[low] > address) {
		if (looks++ == LOOKS_MAX)
			return NULL;
		if (o->by_start[low]->end <= address)
			continue;
		if (found)
			return NULL;
		found = o->by_start[low];
	}
	return found;
}

uint32_t ml_objects_of(struct ml_objects *o, const struct ml_node *node, uint64_t *address)
{
	uint32_t id = ML_SUBJECT_NUMBER(node->subject), *number;
	const struct ml_module *m = id ? ml_load_module(o->trace, id) : only_module_at(o, node->place);

	*address = node->place;
	if (!m)
		return 0;
	if (!id)
		*address -= m->base;
	number = &o->numbers[m - o->trace->modules];
	if (*number == NONE) {
		*number = intern(o, m);
		if (*number && o->objects[*number].end < m->end - m->base)
			o->objects[*number].end = m->end - m->base;
	}
	return *number;
}

/* Look-ups. */

static struct ml_dwarf *open_path(const struct ml_objects *o, struct ml_object *object, const char *path)
{
	const char *directory = o->options.debug_directory;

	return ml_dwarf_open(path, object->build_id, object->build_id_bytes, directory ? directory : ML_DWARF_DIRECTORY,
			     &object->problem);
}

static void open_object(const struct ml_objects *o, struct ml_object *object)
{
	char *path;

	object->opened = true;
	if (object->path[0] != '/') /* no file, or one that cannot be told from others */
		return;
	if (o->options.sysroot) {
		path = ml_memory_print("%s%s", o->options.sysroot, object->path);
		object->dwarf = open_path(o, object, path);
		free(path);
	}
	if (!object->dwarf)
		object->dwarf = open_path(o, object, object->path);
	if (object->dwarf)
		object->problem = 0;
}

static void open_cache(struct ml_objects *o, struct ml_object *object)
{
	if (!o->cache_sought)
		o->cache_directory = ml_cache_directory();
	o->cache_sought = true;
	object->cache_sought = true;
	if (o->cache_directory && object->build_id_bytes)
		object->cache = ml_cache_open(o->cache_directory, object->build_id, object->build_id_bytes);
}

size_t ml_objects_find(struct ml_objects *o, uint32_t number, uint64_t address, struct ml_dwarf_frame *frames,
		       size_t room)
{
	struct ml_object *object = &o->objects[number];
	struct ml_dwarf_frame all[ML_OBJECTS_FRAMES];
	size_t kept = 0, n = 0;

	address--; /* the call ends where its return address begins */
	if (o->options.cache && !object->cache_sought)
		open_cache(o, object);
	if (object->cache)
		kept = ml_cache_get(object->cache, address, frames, room);
	/* Without a file it came from a symbol table, and by now there may be DWARF. */
	if (kept && frames[0].file)
		return kept;
	if (!object->opened)
		open_object(o, object);
	if (object->dwarf)
		n = ml_dwarf_find(object->dwarf, address, all, ML_OBJECTS_FRAMES);
	else
		object->missed |= !kept;
	if (object->cache)
		ml_cache_put(object->cache, address, all, n);
	if (!n)
		return kept;
	n = n < room ? n : room;
	memcpy(frames, all, n * sizeof(*frames));
	return n;
}

char *ml_objects_place(const struct ml_objects *o, uint32_t object, uint64_t address)
{
	return ml_memory_print("%s+%#" PRIx64, o->objects[object].name, address);
}

void ml_objects_warn(const struct ml_objects *o, struct ml_warnings *w)
{
	uint32_t i;

	for (i = 0; i < o->n; i++) {
		if (!o->objects[i].missed)
			continue;
		if (o->objects[i].problem == ML_DWARF_MISSING)
			ml_warnings_add(w, "native functions are not named, the file is not there: %s",
					o->objects[i].path);
		else if (o->objects[i].problem == ML_DWARF_CHANGED)
			ml_warnings_add(w, "native functions are not named, the file has changed since: %s",
					o->objects[i].path);
	}
}

void ml_objects_free(struct ml_objects *o)
{
	uint32_t i;

	for (i = 0; i < o->n; i++) {
		ml_cache_close(o->objects[i].cache, ML_CACHE_BYTES); /* has texts of dwarf */
		ml_dwarf_close(o->objects[i].dwarf);
		free(o->objects[i].symbols);
		free(o->objects[i].path);
		free(o->objects[i].name);
		free(o->objects[i].build_id);
	}
	drop_trace(o);
	free(o->objects);
	free(o->cache_directory);
	*o = (struct ml_objects){.options = o->options};
}

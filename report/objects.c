#include "report/objects.h"

#include <stdlib.h>
#include <string.h>

#include "report/memory.h"
#include "report/site.h"
#include "symbolize/native/cache.h"

/* Calls inlined into one another at one place; what lies further out is left out. */
#define FRAMES_MAX 64

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

static uint32_t add(struct ml_objects *o, char *path, const uint8_t *build_id, uint32_t bytes)
{
	struct ml_object *object;

	o->objects = ml_memory_resize(o->objects, o->n + 1, sizeof(*o->objects));
	object = &o->objects[o->n];
	*object = (struct ml_object){
		.path = path,
		.name = ml_object_name(path),
		.build_id = (uint8_t *)ml_memory_text(build_id, bytes),
		.build_id_bytes = bytes,
	};
	return o->n++;
}

uint32_t ml_objects_add(struct ml_objects *o, const struct ml_trace *t, uint32_t module)
{
	const struct ml_module *m = ml_load_module(t, module);
	uint32_t i;
	char *path;

	if (!o->n)
		add(o, ml_memory_text("", 0), NULL, 0);
	if (!m || !*m->path)
		return 0;
	path = m->path[0] == '[' ? ml_memory_text(m->path, strlen(m->path))
				 : ml_site_file(ml_load_meta(t, "cwd"), m->path);
	for (i = 1; i < o->n; i++) {
		const struct ml_object *object = &o->objects[i];
		if (object->build_id_bytes == m->build_id_bytes && !strcmp(object->path, path) &&
		    !memcmp(object->build_id, m->build_id, m->build_id_bytes)) {
			free(path);
			return i;
		}
	}
	return add(o, path, m->build_id, m->build_id_bytes);
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
	struct ml_dwarf_frame all[FRAMES_MAX];
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
		n = ml_dwarf_find(object->dwarf, address, all, FRAMES_MAX);
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
		free(o->objects[i].path);
		free(o->objects[i].name);
		free(o->objects[i].build_id);
	}
	free(o->objects);
	free(o->cache_directory);
	*o = (struct ml_objects){.options = o->options};
}

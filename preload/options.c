#include "preload/options.h"

#include "preload/sys.h"
#include "preload/text.h"
#include "trace/period.h"

struct ml_options ml_options;

#define VALUE_MAX 4096

/* One MEMLINE_ variable, and the function that takes its text into ml_options. */
struct option {
	const char *name;
	const char *preset;      /* "": the default isn't a text */
	const char *preset_full; /* the default with MEMLINE_NATIVE=full, if it is another one */
	bool (*take)(const char *text);
	const char *text;    /* in force */
	const char *refused; /* a text that was not taken, or NULL */
};

static bool take_directory(const char *text)
{
	struct ml_text path;

	ml_text_init(&path, ml_options.directory, sizeof ml_options.directory);
	if (text[0] != '/') {
		char here[VALUE_MAX];
		/* The kernel says "(unreachable)/…" of a directory outside the root. */
		if (ml_sys_getcwd(here, sizeof here) <= 0 || here[0] != '/')
			return false;
		ml_text_add(&path, here);
		ml_text_add(&path, "/");
	}
	ml_text_add(&path, text);
	ml_options.directory_given = true;
	return text[0] && !path.cut;
}

static bool take_switch(const char *text, bool *value)
{
	if (!strcmp(text, "on"))
		*value = true;
	else if (!strcmp(text, "off"))
		*value = false;
	else
		return false;
	return true;
}

static bool take_objects(const char *text)
{
	return take_switch(text, &ml_options.objects);
}

static bool take_native(const char *text)
{
	if (!strcmp(text, "off"))
		ml_options.native = ML_NATIVE_OFF;
	else if (!strcmp(text, "caller"))
		ml_options.native = ML_NATIVE_CALLER;
	else if (!strcmp(text, "full"))
		ml_options.native = ML_NATIVE_FULL;
	else
		return false;
	return true;
}

/* A number with an optional suffix k, M, G or T (powers of 1,024). */
static bool take_size(const char *text, uint64_t *value)
{
	static const char suffixes[] = "kMGT";
	const char *suffix;

	if (!ml_text_number(&text, value))
		return false;
	if (!*text)
		return true;
	suffix = strchr(suffixes, *text == 'K' ? 'k' : *text);
	if (!suffix || text[1])
		return false;
	return !__builtin_mul_overflow(*value, (uint64_t)1 << 10 * (suffix - suffixes + 1), value);
}

/* In less there is no place for a trace at all. */
#define LEAST_MAX_BYTES (1u << 20)

static bool take_max_bytes(const char *text)
{
	return take_size(text, &ml_options.max_bytes) && ml_options.max_bytes >= LEAST_MAX_BYTES;
}

static bool take_keep_free(const char *text)
{
	if (strcmp(text, "auto"))
		return take_size(text, &ml_options.keep_free);
	ml_options.keep_free = ML_KEEP_FREE_AUTO;
	return true;
}

static bool take_max_nodes(const char *text)
{
	uint64_t nodes;

	if (!take_size(text, &nodes) || !nodes || nodes > ML_NODES_MAX)
		return false;
	ml_options.max_nodes = (uint32_t)nodes;
	return true;
}

static bool take_scope(const char *text)
{
	ml_options.scope = text;
	return text[0] != 0;
}

/* Of these this version has only the default. */
static bool take_sample(const char *text)
{
	return !strcmp(text, "0");
}

static bool take_occurrences(const char *text)
{
	if (!strcmp(text, "auto"))
		ml_options.occurrences = ML_OCCURRENCES_AUTO;
	else if (!strcmp(text, "on"))
		ml_options.occurrences = ML_OCCURRENCES_ON;
	else if (!strcmp(text, "off"))
		ml_options.occurrences = ML_OCCURRENCES_OFF;
	else
		return false;
	return true;
}

static bool take_log(const char *text)
{
	uint32_t ms;

	ml_options.log = ml_period(text, &ms);
	return ml_options.log || !strcmp(text, "off");
}

static bool take_log_top(const char *text)
{
	uint64_t rows;

	return ml_text_number(&text, &rows) && !*text && rows && rows <= UINT32_MAX;
}

/* In the order in which they are read: NATIVE says what others default to. */
static struct option options[] = {
	{"OBJECTS", "on", NULL, take_objects, NULL, NULL},
	{"NATIVE", "caller", NULL, take_native, NULL, NULL},
	{"SAMPLE", "0", NULL, take_sample, NULL, NULL},
	{"SCOPE", "auto", NULL, take_scope, NULL, NULL},
	{"OCCURRENCES", "auto", NULL, take_occurrences, NULL, NULL},
	{"LOG", "off", NULL, take_log, NULL, NULL},
	{"LOG_TOP", "20", NULL, take_log_top, NULL, NULL},
	{"MAX_BYTES", "4G", NULL, take_max_bytes, NULL, NULL},
	{"KEEP_FREE", "auto", NULL, take_keep_free, NULL, NULL},
	{"MAX_NODES", "1M", "4M", take_max_nodes, NULL, NULL},
	{"DIR", "", NULL, take_directory, NULL, NULL},
};

#define OPTIONS (sizeof options / sizeof *options)

/* The value of a variable, or NULL. */
static const char *variable(char **environment, const char *name)
{
	size_t n = strlen(name);

	for (; environment && *environment; environment++)
		if (!strncmp(*environment, name, n) && (*environment)[n] == '=')
			return *environment + n + 1;
	return NULL;
}

static void default_directory(void)
{
	struct ml_text path;

	ml_text_init(&path, ml_options.directory, sizeof ml_options.directory);
	ml_text_add(&path, "/tmp/memline-");
	ml_text_add_number(&path, ml_sys_getuid());
	ml_options.directory_given = false;
}

/* A variable's text is kept in the environment block itself, which the program may change: copied once, here. */
static char values[OPTIONS][VALUE_MAX];

static void read_option(struct option *o, char *copy, char **environment)
{
	char full_name[32];
	const char *value, *preset;
	struct ml_text name, text;

	ml_text_init(&name, full_name, sizeof full_name);
	ml_text_add(&name, "MEMLINE_");
	ml_text_add(&name, o->name);
	value = variable(environment, full_name);
	preset = o->preset_full && ml_options.native == ML_NATIVE_FULL ? o->preset_full : o->preset;
	o->text = preset;
	o->refused = NULL;
	if (value) {
		ml_text_init(&text, copy, VALUE_MAX);
		ml_text_add(&text, value);
		if (!text.cut && o->take(copy)) {
			o->text = copy;
			return;
		}
		o->refused = copy;
	}
	if (preset[0])
		o->take(preset);
	else
		default_directory();
}

void ml_options_read(char **environment)
{
	const char *app_root = variable(environment, "FUNCTIONS_APPLICATION_DIRECTORY");
	struct ml_text text;

	ml_options.off = variable(environment, "MEMLINE_OFF") != NULL;
	ml_text_init(&text, ml_options.app_root, sizeof ml_options.app_root);
	ml_text_add(&text, app_root ? app_root : "");
	for (size_t i = 0; i < OPTIONS; i++)
		read_option(&options[i], values[i], environment);
	options[OPTIONS - 1].text = ml_options.directory;
}

void ml_options_each(void (*each)(void *context, const char *key, const char *value), void *context)
{
	for (size_t i = 0; i < OPTIONS; i++) {
		char key[32];
		struct ml_text text;

		ml_text_init(&text, key, sizeof key);
		ml_text_add(&text, "option.");
		ml_text_add(&text, options[i].name);
		each(context, key, options[i].text);
		if (!options[i].refused)
			continue;
		ml_text_init(&text, key, sizeof key);
		ml_text_add(&text, "ignored.");
		ml_text_add(&text, options[i].name);
		each(context, key, options[i].refused);
	}
}

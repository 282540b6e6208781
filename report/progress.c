#include "report/progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000u
#define BAR_WIDTH 30
#define WHAT_WIDTH 40

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

void ml_progress_start(struct ml_progress *p, const char *what)
{
	*p = (struct ml_progress){.what = what, .started_ns = now(), .on = isatty(STDERR_FILENO)};
}

void ml_progress_show(void *context, double done)
{
	static const char bar[] = "##############################";
	struct ml_progress *p = context;
	size_t length = strlen(p->what);
	uint64_t t;

	_Static_assert(sizeof(bar) == BAR_WIDTH + 1, "bar");
	if (!p->on || (t = now()) - p->started_ns < SECOND || t - p->shown_ns < SECOND / 10)
		return;
	p->shown_ns = t;
	done = done < 0 ? 0 : done > 1 ? 1 : done;
	fprintf(stderr, "\r%.*s [%-*.*s] %3d%%", WHAT_WIDTH,
		length > WHAT_WIDTH ? p->what + length - WHAT_WIDTH : p->what, BAR_WIDTH, (int)(done * BAR_WIDTH), bar,
		(int)(done * 100));
	fflush(stderr);
}

/* ECMA-48: carriage return, erase to the end of the line. */
void ml_progress_end(struct ml_progress *p)
{
	if (p->shown_ns)
		fputs("\r\033[K", stderr);
	p->on = false;
}

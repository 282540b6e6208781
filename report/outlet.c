#include "report/outlet.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

uint64_t ml_outlet_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Pipes and terminals can be opened once more, as a file of our own that does not block. Other files do not block, and
   have a place to write at, which is to stay shared. */
static void open_anew(int fd)
{
	char path[32];
	struct stat st;
	int own;

	if (fstat(fd, &st) || !(S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)))
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (own < 0)
		return;
	dup2(own, fd);
	close(own);
}

void ml_outlet_open(struct ml_outlet *o, int fd, int owner)
{
	*o = (struct ml_outlet){.fd = fd, .owner = owner};
	open_anew(fd);
}

void ml_outlet_hurry(struct ml_outlet *o, uint64_t ms)
{
	if (!o->until)
		o->until = ml_outlet_now() + ms;
}

bool ml_outlet_is_dead(const struct ml_outlet *o)
{
	struct pollfd p = {.fd = o->fd};

	return o->broken || (poll(&p, 1, 0) > 0 && p.revents & (POLLERR | POLLHUP | POLLNVAL));
}

/* Waits until something can be written. False: that will not be, or took too long. */
static bool wait_for_room(struct ml_outlet *o)
{
	struct pollfd p[2] = {{.fd = o->fd, .events = POLLOUT}, {.events = POLLIN}};

	for (;;) {
		uint64_t now = ml_outlet_now();
		int wait = !o->until ? -1 : now < o->until ? (int)(o->until - now) : 0, ready;
		p[1].fd = o->until ? -1 : o->owner;
		ready = poll(p, 2, wait);
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0 || p[0].revents & (POLLERR | POLLNVAL))
			return false;
		if (p[0].revents & POLLOUT)
			return true;
		if (p[0].revents & POLLHUP)
			return false;
		if (p[1].revents)
			ml_outlet_hurry(o, ML_OUTLET_LAST_MS);
	}
}

/* A socket is asked not to block each time. */
static ssize_t try_to_write(int fd, const char *bytes, size_t n)
{
	ssize_t done = send(fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);

	return done < 0 && errno == ENOTSOCK ? write(fd, bytes, n) : done;
}

bool ml_outlet_put(struct ml_outlet *o, const char *bytes, size_t n)
{
	while (n && !o->broken) {
		ssize_t done;
		if (!wait_for_room(o)) {
			o->broken = true;
			break;
		}
		done = try_to_write(o->fd, bytes, n);
		if (done < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (done < 0) {
			o->broken = true;
			break;
		}
		bytes += done;
		n -= (size_t)done;
	}
	return !n;
}

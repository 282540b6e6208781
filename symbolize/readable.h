/*
 * Whether memory can be read, where that is in doubt, by a system call and without libc: that would set errno.
 */
#ifndef ML_SYMBOLIZE_READABLE_H
#define ML_SYMBOLIZE_READABLE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

/* No page is smaller. */
#define ML_PAGE_BYTES 4096u

static inline long ml_raw_sigprocmask(long how, const void *set)
{
#if defined(__x86_64__)
	long result;
	register long size __asm__("r10") = 8;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"((long)SYS_rt_sigprocmask), "D"(how), "S"(set), "d"(0L), "r"(size)
			 : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long call __asm__("x8") = SYS_rt_sigprocmask;
	register long result __asm__("x0") = how;
	register const void *from __asm__("x1") = set;
	register long to __asm__("x2") = 0;
	register long size __asm__("x3") = 8;
	__asm__ volatile("svc 0" : "+r"(result) : "r"(call), "r"(from), "r"(to), "r"(size) : "memory");
	return result;
#else
#error "no system call for this machine"
#endif
}

/*
 * The bytes from address on. The kernel copies the set in before it looks at an impossible how (kernel/signal.c), so
 * the answer is EFAULT or EINVAL, and nothing is changed.
 */
static inline bool ml_is_readable(const void *address, size_t bytes)
{
	uintptr_t at = (uintptr_t)address & ~(uintptr_t)7, end = (uintptr_t)address + bytes;

	if (end < (uintptr_t)address)
		return false;
	while (at < end) {
		if (ml_raw_sigprocmask(-1, (const void *)at) != -EINVAL)
			return false;
		at = (at | (ML_PAGE_BYTES - 1)) + 1;
	}
	return true;
}

#endif

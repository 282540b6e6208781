/*
 * System calls without libc: no errno, no cancellation point, nothing that another library can interpose. Each returns
 * the kernel's result, a negative errno on failure (syscall(2)).
 */
#ifndef ML_PRELOAD_SYS_H
#define ML_PRELOAD_SYS_H

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#if defined(__x86_64__)
static inline long ml_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}
#elif defined(__aarch64__)
static inline long ml_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}
#else
#error "memline records on x86-64 and aarch64"
#endif

/* mmap's result is an address; the last page of the address space stands for errors. */
static inline int ml_sys_failed(const void *address)
{
	return (uintptr_t)address > (uintptr_t)-4096;
}

static inline void *ml_sys_mmap(void *at, size_t bytes, int prot, int flags, int fd, uint64_t offset)
{
	return (void *)ml_syscall(SYS_mmap, (long)at, (long)bytes, prot, flags, fd, (long)offset);
}

/* Private zeroed memory that costs nothing until it is touched; NULL if there is none to be had. */
static inline void *ml_sys_pages(size_t bytes)
{
	void *p = ml_sys_mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return ml_sys_failed(p) ? NULL : p;
}

static inline long ml_sys_munmap(void *at, size_t bytes)
{
	return ml_syscall(SYS_munmap, (long)at, (long)bytes, 0, 0, 0, 0);
}

static inline long ml_sys_madvise(void *at, size_t bytes, int advice)
{
	return ml_syscall(SYS_madvise, (long)at, (long)bytes, advice, 0, 0, 0);
}

/* Gets memory that will soon be written all over, at once instead of with a fault for each page. Older kernels don't
   know how, and it changes nothing but time. */
static inline void ml_sys_populate(void *at, size_t bytes)
{
	ml_sys_madvise(at, bytes, 23 /* MADV_POPULATE_WRITE, Linux 5.14 */);
}

/* Gives back the memory of pages that stay where they are, full of zeros again. */
static inline void ml_sys_empty(void *at, size_t bytes)
{
	ml_sys_madvise(at, bytes, 4 /* MADV_DONTNEED */);
}

static inline int ml_sys_open(const char *path, int flags, int mode)
{
	return (int)ml_syscall(SYS_openat, AT_FDCWD, (long)path, flags, mode, 0, 0);
}

static inline long ml_sys_close(int fd)
{
	return ml_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
}

static inline long ml_sys_fcntl(int fd, int command, long argument)
{
	return ml_syscall(SYS_fcntl, fd, command, argument, 0, 0, 0);
}

static inline long ml_sys_read(int fd, void *buffer, size_t bytes)
{
	return ml_syscall(SYS_read, fd, (long)buffer, (long)bytes, 0, 0, 0);
}

static inline long ml_sys_pread(int fd, void *buffer, size_t bytes, uint64_t offset)
{
	return ml_syscall(SYS_pread64, fd, (long)buffer, (long)bytes, (long)offset, 0, 0);
}

static inline long ml_sys_pwrite(int fd, const void *data, size_t bytes, uint64_t offset)
{
	return ml_syscall(SYS_pwrite64, fd, (long)data, (long)bytes, (long)offset, 0, 0);
}

static inline long ml_sys_ftruncate(int fd, uint64_t bytes)
{
	return ml_syscall(SYS_ftruncate, fd, (long)bytes, 0, 0, 0, 0);
}

static inline long ml_sys_fallocate(int fd, uint64_t offset, uint64_t bytes)
{
	return ml_syscall(SYS_fallocate, fd, 0, (long)offset, (long)bytes, 0, 0);
}

/* On x86-64 and aarch64 the kernel's struct stat is libc's. */
static inline long ml_sys_fstat(int fd, struct stat *st)
{
	return ml_syscall(SYS_fstat, fd, (long)st, 0, 0, 0, 0);
}

static inline long ml_sys_lstat(const char *path, struct stat *st)
{
	return ml_syscall(SYS_newfstatat, AT_FDCWD, (long)path, (long)st, AT_SYMLINK_NOFOLLOW, 0, 0);
}

static inline long ml_sys_fstatfs(int fd, struct statfs *st)
{
	return ml_syscall(SYS_fstatfs, fd, (long)st, 0, 0, 0, 0);
}

static inline long ml_sys_mkdir(const char *path, int mode)
{
	return ml_syscall(SYS_mkdirat, AT_FDCWD, (long)path, mode, 0, 0, 0);
}

static inline long ml_sys_rename(const char *from, const char *to)
{
	return ml_syscall(SYS_renameat, AT_FDCWD, (long)from, AT_FDCWD, (long)to, 0, 0);
}

static inline long ml_sys_unlink(const char *path)
{
	return ml_syscall(SYS_unlinkat, AT_FDCWD, (long)path, 0, 0, 0, 0);
}

static inline long ml_sys_readlink(const char *path, char *buffer, size_t bytes)
{
	return ml_syscall(SYS_readlinkat, AT_FDCWD, (long)path, (long)buffer, (long)bytes, 0, 0);
}

static inline long ml_sys_getcwd(char *buffer, size_t bytes)
{
	return ml_syscall(SYS_getcwd, (long)buffer, (long)bytes, 0, 0, 0, 0);
}

static inline int ml_sys_getpid(void)
{
	return (int)ml_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

static inline int ml_sys_gettid(void)
{
	return (int)ml_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

static inline unsigned ml_sys_getuid(void)
{
	return (unsigned)ml_syscall(SYS_getuid, 0, 0, 0, 0, 0, 0);
}

/* Signal 0: only asks whether the thread is there. */
static inline long ml_sys_thread_exists(int pid, int tid)
{
	return ml_syscall(SYS_tgkill, pid, tid, 0, 0, 0, 0);
}

static inline long ml_sys_getrlimit(int resource, struct rlimit *limit)
{
	return ml_syscall(SYS_prlimit64, 0, resource, 0, (long)limit, 0, 0);
}

static inline long ml_sys_futex(void *word, int operation, uint32_t value, const void *timeout)
{
	return ml_syscall(SYS_futex, (long)word, operation, value, (long)timeout, 0, 0);
}

#endif

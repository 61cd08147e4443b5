/* SPDX-License-Identifier: MIT */
/*
 * System calls without libc. The fault path may not touch libc: its data, errno
 * and locks can lie on a page that is on the device right now, or be held by the
 * very thread that waits for the fault. Every wrapper returns -errno.
 */
#ifndef HMM_OS_SYS_H
#define HMM_OS_SYS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
static inline long os_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
static inline long os_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory", "cc");
	return x0;
}
#else
#error "libhmm supports x86-64 and arm64"
#endif

#define OS_ARG_(x) ((long)(x))
#define os_syscall1(nr, a) os_syscall6(nr, OS_ARG_(a), 0, 0, 0, 0, 0)
#define os_syscall2(nr, a, b) os_syscall6(nr, OS_ARG_(a), OS_ARG_(b), 0, 0, 0, 0)
#define os_syscall3(nr, a, b, c) os_syscall6(nr, OS_ARG_(a), OS_ARG_(b), OS_ARG_(c), 0, 0, 0)
#define os_syscall4(nr, a, b, c, d) \
	os_syscall6(nr, OS_ARG_(a), OS_ARG_(b), OS_ARG_(c), OS_ARG_(d), 0, 0)
#define os_syscall5(nr, a, b, c, d, e) \
	os_syscall6(nr, OS_ARG_(a), OS_ARG_(b), OS_ARG_(c), OS_ARG_(d), OS_ARG_(e), 0)

static inline int os_ioctl(int fd, unsigned long cmd, void *arg)
{
	return (int)os_syscall3(SYS_ioctl, fd, cmd, arg);
}

static inline long os_read(int fd, void *buf, size_t n)
{
	return os_syscall3(SYS_read, fd, buf, n);
}

static inline long os_write(int fd, const void *buf, size_t n)
{
	return os_syscall3(SYS_write, fd, buf, n);
}

static inline int os_close(int fd)
{
	return (int)os_syscall1(SYS_close, fd);
}

static inline int os_madvise(uintptr_t start, size_t n, int advice)
{
	return (int)os_syscall3(SYS_madvise, start, n, advice);
}

static inline int os_munmap(void *p, size_t n)
{
	return (int)os_syscall2(SYS_munmap, p, n);
}

static inline int os_gettid(void)
{
	return (int)os_syscall1(SYS_gettid, 0);
}

static inline int os_getpid(void)
{
	return (int)os_syscall1(SYS_getpid, 0);
}

/* mmap: the address, or -errno as a value in the last page. */
static inline uintptr_t os_mmap(uintptr_t hint, size_t n, int prot, int flags, int fd,
				uint64_t offset)
{
	return (uintptr_t)os_syscall6(SYS_mmap, (long)hint, (long)n, prot, flags, fd, (long)offset);
}

static inline int os_is_error(uintptr_t value)
{
	return value > (uintptr_t)-4096;
}

uint64_t os_now_ns(void);
void os_sleep_ns(uint64_t ns);

/* Bytes by the plainest route; neither calls libc. Non-temporal past the caches. */
void os_copy(void *dst, const void *src, size_t n);
void os_copy_streaming(void *dst, const void *src, size_t n);
void os_zero(void *dst, size_t n);

#endif /* HMM_OS_SYS_H */

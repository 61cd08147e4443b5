// SPDX-License-Identifier: MIT
#include "os/sys.h"

#include <dlfcn.h>
#include <time.h>

#if defined(__x86_64__)
#include <emmintrin.h>
#define VDSO_CLOCK "__vdso_clock_gettime"
#else
#define VDSO_CLOCK "__kernel_clock_gettime"
#endif

/* The kernel's code in user space, which knows no libc; NULL: it has none. */
static int (*vdso_clock)(clockid_t clock, struct timespec *ts);

static void __attribute__((constructor)) find_clock(void)
{
	void *vdso = dlopen("linux-vdso.so.1", RTLD_LAZY | RTLD_NOLOAD);

	if (!vdso)
		return;
	*(void **)&vdso_clock = dlsym(vdso, VDSO_CLOCK);
	dlclose(vdso); /* it stays */
}

uint64_t os_now_ns(void)
{
	struct timespec ts = { 0 };

	if (!vdso_clock || vdso_clock(CLOCK_MONOTONIC, &ts))
		os_syscall2(SYS_clock_gettime, CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void os_sleep_ns(uint64_t ns)
{
	struct timespec ts = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };

	os_syscall2(SYS_nanosleep, &ts, NULL);
}

#if defined(__x86_64__)
void os_copy(void *dst, const void *src, size_t n)
{
	__asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
}

void os_zero(void *dst, size_t n)
{
	__asm__ volatile("rep stosb" : "+D"(dst), "+c"(n) : "a"(0) : "memory");
}

/*
 * Stores that bypass the cache need no read for ownership, which is what bounds a
 * copy larger than the cache. Both ends are page-aligned.
 */
void os_copy_streaming(void *dst, const void *src, size_t n)
{
	__m128i *d = dst;
	const __m128i *s = src;

	for (size_t i = 0; i < n / 64; i++, d += 4, s += 4) {
		__m128i a = _mm_load_si128(s);
		__m128i b = _mm_load_si128(s + 1);
		__m128i c = _mm_load_si128(s + 2);
		__m128i e = _mm_load_si128(s + 3);

		_mm_stream_si128(d, a);
		_mm_stream_si128(d + 1, b);
		_mm_stream_si128(d + 2, c);
		_mm_stream_si128(d + 3, e);
	}
	_mm_sfence();
}
#else
void os_copy(void *dst, const void *src, size_t n)
{
	volatile unsigned char *d = dst;
	const unsigned char *s = src;
	typedef uint64_t __attribute__((may_alias)) word;

	for (; n >= sizeof(word) && !(((uintptr_t)d | (uintptr_t)s) & 7); n -= 8, d += 8, s += 8)
		*(volatile word *)d = *(const word *)s;
	while (n--)
		*d++ = *s++;
}

void os_zero(void *dst, size_t n)
{
	volatile unsigned char *d = dst;

	while (n--)
		*d++ = 0;
}

void os_copy_streaming(void *dst, const void *src, size_t n)
{
	os_copy(dst, src, n);
}
#endif

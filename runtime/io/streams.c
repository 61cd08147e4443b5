// SPDX-License-Identifier: MIT
/*
 * fread and fwrite. libc's own reads do not go through the symbols above, and a
 * stream's buffer is heap memory that can migrate with its neighbours: the buffer is
 * touched before, the caller's memory after a failure.
 */
#include "io/io.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

static void touch_buffer(FILE *f)
{
	char *from = f->_IO_buf_base, *to = f->_IO_buf_end;

	if (!io_wanted())
		return;
	/* The stream is valid, so its buffer is: no need to look it up. */
	for (char *p = from; p && p < to; p = (char *)(((uintptr_t)p | 4095) + 1))
		__atomic_fetch_or(p, 0, __ATOMIC_SEQ_CST);
}

/* An error that was there before the call is not this call's to clear. */
static bool failed_by_fault(FILE *f, bool before)
{
	return !before && ferror_unlocked(f) && errno == EFAULT;
}

static size_t read_bytes(char *p, size_t total, FILE *f)
{
	bool before = ferror_unlocked(f);
	size_t done;

	touch_buffer(f);
	done = io_real()->fread(p, 1, total, f);
	for (int i = 0; i < IO_TRIES && done < total && failed_by_fault(f, before); i++) {
		if (!io_touch(p + done, total - done, IO_KERNEL_WRITES)) {
			errno = EFAULT;
			break;
		}
		clearerr_unlocked(f);
		touch_buffer(f);
		done += io_real()->fread(p + done, 1, total - done, f);
	}
	return done;
}

EXPORT size_t fread(void *p, size_t size, size_t count, FILE *f)
{
	size_t total, done;

	if (!size || !count || __builtin_mul_overflow(size, count, &total))
		return io_real()->fread(p, size, count, f);
	flockfile(f);
	done = read_bytes(p, total, f);
	funlockfile(f);
	return done / size;
}

EXPORT size_t __fread_chk(void *p, size_t room, size_t size, size_t count, FILE *f);

EXPORT size_t __fread_chk(void *p, size_t room, size_t size, size_t count, FILE *f)
{
	size_t total;

	if (__builtin_mul_overflow(size, count, &total) || total > room)
		abort();
	return fread(p, size, count, f);
}

static size_t write_bytes(const char *p, size_t total, FILE *f)
{
	bool before = ferror_unlocked(f);
	size_t done;

	touch_buffer(f);
	done = io_real()->fwrite(p, 1, total, f);
	for (int i = 0; i < IO_TRIES && done < total && failed_by_fault(f, before); i++) {
		if (!io_touch(p + done, total - done, IO_KERNEL_READS)) {
			errno = EFAULT;
			break;
		}
		clearerr_unlocked(f);
		touch_buffer(f);
		done += io_real()->fwrite(p + done, 1, total - done, f);
	}
	return done;
}

EXPORT size_t fwrite(const void *p, size_t size, size_t count, FILE *f)
{
	size_t total, done;

	if (!size || !count || __builtin_mul_overflow(size, count, &total))
		return io_real()->fwrite(p, size, count, f);
	flockfile(f);
	done = write_bytes(p, total, f);
	funlockfile(f);
	return done / size;
}

/* A flush that fails loses what the buffer held. */
EXPORT int fflush(FILE *f)
{
	if (f) {
		flockfile(f);
		touch_buffer(f);
		funlockfile(f);
	}
	return io_real()->fflush(f);
}

EXPORT int fclose(FILE *f)
{
	flockfile(f);
	touch_buffer(f);
	funlockfile(f);
	return io_real()->fclose(f);
}

/* As they are now: a program may close them and leave the variables dangling. */
static FILE *standard[2];

__attribute__((constructor)) static void note_standard_streams(void)
{
	standard[0] = stdout;
	standard[1] = stderr;
}

/* What exit() flushes. */
__attribute__((destructor)) static void touch_standard_streams(void)
{
	for (int i = 0; i < 2; i++)
		if (standard[i])
			touch_buffer(standard[i]);
}

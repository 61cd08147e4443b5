// SPDX-License-Identifier: MIT
/* read, write, pread, pwrite, getrandom: one buffer. */
#include "io/io.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

/* What one of the calls is about; @at is negative for those without an offset. */
struct request {
	int fd;
	char *buf;
	size_t n;
	off64_t at;
	enum io_use use;
};

static ssize_t ask(const struct request *q, size_t done)
{
	const struct io_real *r = io_real();
	char *p = q->buf + done;
	size_t n = q->n - done;

	if (q->at < 0)
		return q->use == IO_KERNEL_WRITES ? r->read(q->fd, p, n) : r->write(q->fd, p, n);
	if (q->use == IO_KERNEL_WRITES)
		return r->pread64(q->fd, p, n, q->at + done);
	return r->pwrite64(q->fd, p, n, q->at + done);
}

/* What is done stays done: a failure behind it is for the next call to report. */
static ssize_t transfer(const struct request *q)
{
	ssize_t got = ask(q, 0);
	size_t done = got > 0 ? got : 0;
	int tries = 0, saved = errno;

	while (tries++ < IO_TRIES) {
		if (got < 0 && errno != EFAULT)
			break;
		if (got == 0 || done >= q->n)
			break;
		if (got > 0 && !io_short_by_fault(q->fd, q->at < 0 ? -1 : q->at + (off64_t)done,
						  q->buf + done, q->n - done, q->use))
			break;
		if (!io_touch(q->buf + done, q->n - done, q->use)) {
			errno = EFAULT;
			break;
		}
		got = ask(q, done);
		if (got > 0) {
			done += got;
			tries = 0;
		}
	}
	if (!done && got < 0)
		return -1;
	errno = saved;
	return done;
}

EXPORT ssize_t read(int fd, void *buf, size_t n)
{
	struct request q = { fd, buf, n, -1, IO_KERNEL_WRITES };

	/* An event descriptor or a terminal forgets what it could not deliver. */
	if (n <= IO_EAGER_MAX)
		io_prepare((uintptr_t)buf, n, IO_KERNEL_WRITES);
	return transfer(&q);
}

EXPORT ssize_t write(int fd, const void *buf, size_t n)
{
	struct request q = { fd, (char *)(uintptr_t)buf, n, -1, IO_KERNEL_READS };

	return transfer(&q);
}

EXPORT ssize_t pread64(int fd, void *buf, size_t n, off64_t at)
{
	struct request q = { fd, buf, n, at, IO_KERNEL_WRITES };

	if (at < 0)
		return io_real()->pread64(fd, buf, n, at);
	return transfer(&q);
}

EXPORT ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t at)
{
	struct request q = { fd, (char *)(uintptr_t)buf, n, at, IO_KERNEL_READS };

	if (at < 0)
		return io_real()->pwrite64(fd, buf, n, at);
	return transfer(&q);
}

EXPORT ssize_t pread(int fd, void *buf, size_t n, off_t at)
{
	return pread64(fd, buf, n, at);
}

EXPORT ssize_t pwrite(int fd, const void *buf, size_t n, off_t at)
{
	return pwrite64(fd, buf, n, at);
}

/* What programs built with _FORTIFY_SOURCE call instead. */
EXPORT ssize_t __read_chk(int fd, void *buf, size_t n, size_t room);
EXPORT ssize_t __pread_chk(int fd, void *buf, size_t n, off_t at, size_t room);
EXPORT ssize_t __pread64_chk(int fd, void *buf, size_t n, off64_t at, size_t room);

EXPORT ssize_t __read_chk(int fd, void *buf, size_t n, size_t room)
{
	if (n > room)
		abort();
	return read(fd, buf, n);
}

EXPORT ssize_t __pread64_chk(int fd, void *buf, size_t n, off64_t at, size_t room)
{
	if (n > room)
		abort();
	return pread64(fd, buf, n, at);
}

EXPORT ssize_t __pread_chk(int fd, void *buf, size_t n, off_t at, size_t room)
{
	return __pread64_chk(fd, buf, n, at, room);
}

EXPORT ssize_t getrandom(void *buf, size_t n, unsigned int flags)
{
	const struct io_real *r = io_real();
	char *p = buf;
	ssize_t got = r->getrandom(p, n, flags);
	size_t done = got > 0 ? got : 0;

	for (int i = 0; i < IO_TRIES && done < n; i++) {
		if (got < 0 && errno != EFAULT)
			break;
		if (got > 0 && (!io_wanted() || !io_absent(p + done, n - done)))
			break;
		if (!io_touch(p + done, n - done, IO_KERNEL_WRITES)) {
			errno = EFAULT;
			break;
		}
		got = r->getrandom(p + done, n - done, flags);
		if (got > 0)
			done += got;
	}
	return done || got >= 0 ? (ssize_t)done : -1;
}

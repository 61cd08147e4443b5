// SPDX-License-Identifier: MIT
/* readv, writev, preadv, pwritev: the same over many buffers. */
#include "io/io.h"

#include <errno.h>
#include <limits.h>

struct request {
	int fd;
	off64_t at; /* negative: none */
	enum io_use use;
};

static ssize_t ask(const struct request *q, const struct iovec *iov, int count, size_t done)
{
	const struct io_real *r = io_real();

	if (q->at < 0)
		return q->use == IO_KERNEL_WRITES ? r->readv(q->fd, iov, count) :
						    r->writev(q->fd, iov, count);
	if (q->use == IO_KERNEL_WRITES)
		return r->preadv64(q->fd, iov, count, q->at + done);
	return r->pwritev64(q->fd, iov, count, q->at + done);
}

/* Go on behind @done bytes, which proves that the kernel has read @iov. */
static ssize_t rest(const struct request *q, const struct iovec *iov, int count, size_t done)
{
	struct iovec left[IOV_MAX];
	size_t total = io_vector_bytes(iov, count);

	for (int i = 0; i < IO_TRIES && done < total; i++) {
		int n = io_skip(left, iov, count, done);
		ssize_t got;

		if (!io_short_by_fault(q->fd, q->at < 0 ? -1 : q->at + (off64_t)done,
				       left[0].iov_base, left[0].iov_len, q->use) ||
		    !io_touch_vector(left, n, q->use))
			break;
		got = ask(q, left, n, done);
		if (!got || (got < 0 && errno != EFAULT))
			break;
		if (got > 0) {
			done += got;
			i = 0;
		}
	}
	return done;
}

static ssize_t transfer(const struct request *q, const struct iovec *iov, int count)
{
	ssize_t got = ask(q, iov, count, 0);
	int saved;

	for (int i = 0; i < IO_TRIES && got < 0 && errno == EFAULT; i++) {
		if (!io_touch_vector(iov, count, q->use)) {
			errno = EFAULT;
			return -1;
		}
		got = ask(q, iov, count, 0);
	}
	saved = errno;
	if (got > 0 && io_wanted() && count > 0 && count <= IOV_MAX &&
	    (size_t)got < io_vector_bytes(iov, count))
		got = rest(q, iov, count, got);
	errno = saved;
	return got;
}

EXPORT ssize_t readv(int fd, const struct iovec *iov, int count)
{
	return transfer(&(struct request){ fd, -1, IO_KERNEL_WRITES }, iov, count);
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int count)
{
	return transfer(&(struct request){ fd, -1, IO_KERNEL_READS }, iov, count);
}

EXPORT ssize_t preadv64(int fd, const struct iovec *iov, int count, off64_t at)
{
	if (at < 0)
		return io_real()->preadv64(fd, iov, count, at);
	return transfer(&(struct request){ fd, at, IO_KERNEL_WRITES }, iov, count);
}

EXPORT ssize_t pwritev64(int fd, const struct iovec *iov, int count, off64_t at)
{
	if (at < 0)
		return io_real()->pwritev64(fd, iov, count, at);
	return transfer(&(struct request){ fd, at, IO_KERNEL_READS }, iov, count);
}

EXPORT ssize_t preadv(int fd, const struct iovec *iov, int count, off_t at)
{
	return preadv64(fd, iov, count, at);
}

EXPORT ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t at)
{
	return pwritev64(fd, iov, count, at);
}

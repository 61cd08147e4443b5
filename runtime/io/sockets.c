// SPDX-License-Identifier: MIT
/*
 * send and recv. A datagram that could not be delivered is gone, and so is a
 * control message: what receives looks at its memory before it asks the kernel.
 */
#include "io/io.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* These read the same bytes again, or count more than was stored. */
#define NO_CONTINUATION (MSG_PEEK | MSG_TRUNC | MSG_OOB | MSG_ERRQUEUE)

static bool is_stream(int fd)
{
	int type = 0;
	socklen_t n = sizeof(type);

	return !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) && type == SOCK_STREAM;
}

static ssize_t recv_rest(int fd, char *p, size_t n, int flags, size_t done)
{
	int more = flags & MSG_WAITALL ? flags : flags | MSG_DONTWAIT;
	int saved = errno;

	for (int i = 0; i < IO_TRIES && done < n; i++) {
		ssize_t got;

		if (!io_absent(p + done, n - done) ||
		    !io_touch(p + done, n - done, IO_KERNEL_WRITES))
			break;
		got = io_real()->recvfrom(fd, p + done, n - done, more, NULL, NULL);
		if (!got || (got < 0 && errno != EFAULT))
			break;
		done += got > 0 ? got : 0;
	}
	errno = saved;
	return done;
}

static void prepare_address(const void *addr, socklen_t *len)
{
	socklen_t n;

	if (!addr || !len || !io_wanted() || !io_copy_in(&n, len, sizeof(n)))
		return;
	io_prepare((uintptr_t)len, sizeof(n), IO_KERNEL_WRITES);
	io_prepare((uintptr_t)addr, n, IO_KERNEL_WRITES);
}

EXPORT ssize_t recvfrom(int fd, void *buf, size_t n, int flags, struct sockaddr *addr,
			socklen_t *len)
{
	ssize_t got;

	io_prepare((uintptr_t)buf, n, IO_KERNEL_WRITES);
	prepare_address(addr, len);
	got = io_real()->recvfrom(fd, buf, n, flags, addr, len);
	for (int i = 0; i < IO_TRIES && got < 0 && errno == EFAULT; i++) {
		if (!io_touch(buf, n, IO_KERNEL_WRITES)) {
			errno = EFAULT;
			return -1;
		}
		prepare_address(addr, len);
		got = io_real()->recvfrom(fd, buf, n, flags, addr, len);
	}
	if (got > 0 && (size_t)got < n && io_wanted() && !(flags & NO_CONTINUATION) &&
	    io_absent((char *)buf + got, n - got) && is_stream(fd))
		got = recv_rest(fd, buf, n, flags, got);
	return got;
}

EXPORT ssize_t recv(int fd, void *buf, size_t n, int flags)
{
	return recvfrom(fd, buf, n, flags, NULL, NULL);
}

EXPORT ssize_t __recv_chk(int fd, void *buf, size_t n, size_t room, int flags);
EXPORT ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t room, int flags,
			      struct sockaddr *addr, socklen_t *len);

EXPORT ssize_t __recv_chk(int fd, void *buf, size_t n, size_t room, int flags)
{
	if (n > room)
		abort();
	return recv(fd, buf, n, flags);
}

EXPORT ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t room, int flags,
			      struct sockaddr *addr, socklen_t *len)
{
	if (n > room)
		abort();
	return recvfrom(fd, buf, n, flags, addr, len);
}

static ssize_t send_rest(int fd, const char *p, size_t n, int flags, size_t done)
{
	int saved = errno;

	for (int i = 0; i < IO_TRIES && done < n; i++) {
		ssize_t got;

		if (!io_absent(p + done, n - done) ||
		    !io_touch(p + done, n - done, IO_KERNEL_READS))
			break;
		got = io_real()->sendto(fd, p + done, n - done, flags, NULL, 0);
		if (!got || (got < 0 && errno != EFAULT))
			break;
		done += got > 0 ? got : 0;
	}
	errno = saved;
	return done;
}

EXPORT ssize_t sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *addr,
		      socklen_t len)
{
	ssize_t got = io_real()->sendto(fd, buf, n, flags, addr, len);

	for (int i = 0; i < IO_TRIES && got < 0 && errno == EFAULT; i++) {
		if (!io_touch(buf, n, IO_KERNEL_READS) ||
		    (addr && !io_touch(addr, len, IO_KERNEL_READS))) {
			errno = EFAULT;
			return -1;
		}
		got = io_real()->sendto(fd, buf, n, flags, addr, len);
	}
	if (got > 0 && (size_t)got < n && io_wanted())
		got = send_rest(fd, buf, n, flags, got);
	return got;
}

EXPORT ssize_t send(int fd, const void *buf, size_t n, int flags)
{
	return sendto(fd, buf, n, flags, NULL, 0);
}

/* A copy of the caller's header, and its memory touched. False for a bad pointer. */
static bool take_message(struct msghdr *to, const struct msghdr *msg, enum io_use use)
{
	if (!io_copy_in(to, msg, sizeof(*to)))
		return false;
	if (use == IO_KERNEL_WRITES) /* the kernel stores lengths and flags */
		io_prepare((uintptr_t)msg, sizeof(*msg), use);
	return (!to->msg_namelen || !to->msg_name ||
		io_touch(to->msg_name, to->msg_namelen, use)) &&
	       (!to->msg_controllen || !to->msg_control ||
		io_touch(to->msg_control, to->msg_controllen, use)) &&
	       io_touch_vector(to->msg_iov, (int)to->msg_iovlen, use);
}

static bool message_absent(const struct msghdr *msg)
{
	struct msghdr m;
	struct iovec v;

	if (!io_copy_in(&m, msg, sizeof(m)) || m.msg_iovlen > IOV_MAX)
		return false;
	if (io_absent(msg, sizeof(m)) || io_absent(m.msg_control, m.msg_controllen) ||
	    io_absent(m.msg_name, m.msg_namelen))
		return true;
	for (size_t i = 0; i < m.msg_iovlen; i++)
		if (io_copy_in(&v, &m.msg_iov[i], sizeof(v)) && io_absent(v.iov_base, v.iov_len))
			return true;
	return false;
}

/* Of a stream, and its control message went with the first part. */
static ssize_t message_rest(int fd, const struct msghdr *msg, int flags, size_t done,
			    enum io_use use)
{
	struct iovec left[IOV_MAX];
	struct msghdr m = { .msg_iov = left };
	size_t total = io_vector_bytes(msg->msg_iov, (int)msg->msg_iovlen);
	int saved = errno;

	for (int i = 0; i < IO_TRIES && done < total; i++) {
		ssize_t got;

		m.msg_iovlen = io_skip(left, msg->msg_iov, (int)msg->msg_iovlen, done);
		if (!io_absent(left[0].iov_base, left[0].iov_len) ||
		    !io_touch_vector(left, (int)m.msg_iovlen, use))
			break;
		if (use == IO_KERNEL_READS)
			got = io_real()->sendmsg(fd, &m, flags);
		else
			got = io_real()->recvmsg(
				fd, &m, flags & MSG_WAITALL ? flags : flags | MSG_DONTWAIT);
		if (!got || (got < 0 && errno != EFAULT))
			break;
		done += got > 0 ? got : 0;
	}
	errno = saved;
	return done;
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	struct msghdr m;
	int saved = errno;
	ssize_t got;

	if (io_wanted() && message_absent(msg))
		take_message(&m, msg, IO_KERNEL_WRITES);
	errno = saved;
	got = io_real()->recvmsg(fd, msg, flags);
	for (int i = 0; i < IO_TRIES && got < 0 && errno == EFAULT; i++) {
		if (!take_message(&m, msg, IO_KERNEL_WRITES)) {
			errno = EFAULT;
			return -1;
		}
		got = io_real()->recvmsg(fd, msg, flags);
	}
	if (got > 0 && io_wanted() && !(flags & NO_CONTINUATION) && !msg->msg_controllen &&
	    is_stream(fd))
		got = message_rest(fd, msg, flags, got, IO_KERNEL_WRITES);
	return got;
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	ssize_t got = io_real()->sendmsg(fd, msg, flags);
	struct msghdr m;

	for (int i = 0; i < IO_TRIES && got < 0 && errno == EFAULT; i++) {
		if (!take_message(&m, msg, IO_KERNEL_READS)) {
			errno = EFAULT;
			return -1;
		}
		got = io_real()->sendmsg(fd, msg, flags);
	}
	if (got > 0 && io_wanted())
		got = message_rest(fd, msg, flags, got, IO_KERNEL_READS);
	return got;
}

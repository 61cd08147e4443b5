// SPDX-License-Identifier: MIT
/* What the engine of a device is asked: over its socket, and through the page that is shared. */
#include "device/proc.h"
#include "os/sys.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

/* The application's signals come here, too. A reply that was left would be the next request's. */
static long send_message(int fd, const struct msghdr *m)
{
	long n;

	do {
		n = os_syscall3(SYS_sendmsg, fd, m, MSG_NOSIGNAL);
	} while (n == -EINTR);
	return n;
}

static long read_reply(int fd, struct hmm_engine_reply *reply)
{
	long n;

	do {
		n = os_read(fd, reply, sizeof(*reply));
	} while (n == -EINTR);
	return n;
}

int hmm_proc_request(struct hmm_proc *p, const struct hmm_engine_msg *msg, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct hmm_engine_reply reply = { 0 };
	struct iovec iov = { (void *)(uintptr_t)msg, sizeof(*msg) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	long got = -ENODEV;

	if (fd >= 0) {
		struct cmsghdr *c;

		m.msg_control = control.bytes;
		m.msg_controllen = sizeof(control.bytes);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		os_copy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	os_mutex_lock(&p->control_lock);
	if (hmm_proc_up(p))
		got = send_message(p->control_fd, &m);
	if (got == sizeof(*msg))
		got = read_reply(p->control_fd, &reply);
	os_mutex_unlock(&p->control_lock);
	if (got != sizeof(reply) || reply.magic != HMM_ENGINE_MAGIC)
		return -ENODEV;
	return reply.result;
}

int hmm_proc_post(struct hmm_proc *p, struct hmm_engine_mbox *m)
{
	uint32_t *state = (uint32_t *)&m->state;

	__atomic_store_n(state, HMM_MBOX_REQUEST, __ATOMIC_RELEASE);
	os_futex_wake(state, 1, true);
	while (__atomic_load_n(state, __ATOMIC_ACQUIRE) == HMM_MBOX_REQUEST) {
		struct pollfd end = { .fd = p->pidfd, .events = POLLIN };
		struct timespec now = { 0, 0 };

		if (os_futex_wait(state, HMM_MBOX_REQUEST, 5000000, true) != -ETIMEDOUT)
			continue;
		if (os_syscall5(SYS_ppoll, &end, 1, &now, NULL, 8) == 1)
			return -ENODEV; /* it is dead, so nothing is mapped there any more */
	}
	__atomic_store_n(state, HMM_MBOX_IDLE, __ATOMIC_RELEASE);
	return m->result;
}

/* Page by page what is in the buffer must not fault while the mailbox is ours. */
static long io_chunk(struct hmm_proc *p, uintptr_t addr, char *buffer, size_t n, bool write)
{
	struct hmm_engine_mbox *m = &p->shared->io;
	char *data = (char *)p->shared + HMM_ENGINE_IO_OFFSET;
	long done;

	if (write)
		memcpy(data, buffer, n);
	m->op = write ? HMM_ENGINE_IO_WRITE : HMM_ENGINE_IO_READ;
	m->start = addr;
	m->length = n;
	done = hmm_proc_post(p, m);
	if (done > 0 && !write)
		memcpy(buffer, data, (size_t)done);
	return done;
}

long hmm_proc_io(struct hmm_proc *p, uintptr_t addr, char *buffer, size_t length, bool write)
{
	size_t total = 0;
	long n = 0;

	os_mutex_lock(&p->io_lock);
	if (!hmm_proc_up(p))
		n = -ENODEV;
	while (n >= 0 && total < length) {
		size_t want = length - total;

		if (want > HMM_ENGINE_IO_BYTES)
			want = HMM_ENGINE_IO_BYTES;
		n = io_chunk(p, addr + total, buffer + total, want, write);
		if (n > 0)
			total += (size_t)n;
		if (n < (long)want)
			break;
	}
	os_mutex_unlock(&p->io_lock);
	return total ? (long)total : n;
}

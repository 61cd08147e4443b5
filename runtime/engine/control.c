// SPDX-License-Identifier: MIT
/* The control socket: one request, one reply, until the client goes. */
#include "engine/engine.h"
#include "engine/cl_serve.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_FDS 253 /* of one message, says the kernel */

static void *serve(void *arg)
{
	int fd = (int)(intptr_t)arg;

	engine_cl_serve(fd);
	close(fd);
	return NULL;
}

static int connected(int fd)
{
	pthread_t thread;
	int err = pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd);

	if (!err)
		pthread_detach(thread);
	return -err;
}

/* *keep: the descriptor belongs to someone now. */
static int act(const struct hmm_engine_msg *m, int fd, bool *keep)
{
	switch (m->op) {
	case HMM_ENGINE_CONNECT: {
		int err = connected(fd);

		*keep = !err;
		return err;
	}
	case HMM_ENGINE_MAP_FILE:
		return engine_map_file(m->start, m->length, m->prot, fd, m->offset);
	case HMM_ENGINE_UNMAP_FILE:
		return engine_unmap_file(m->start, m->length);
	default:
		_exit(0);
	}
}

/* The first descriptor of a message; all others are closed. How many there were. */
static unsigned int take_fds(struct msghdr *msg, int *fd)
{
	unsigned int n = 0;

	*fd = -1;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = CMSG_LEN(0); at + sizeof(int) <= c->cmsg_len; at += sizeof(int)) {
			int got;

			memcpy(&got, (char *)c + at, sizeof(got));
			if (n++)
				close(got);
			else
				*fd = got;
		}
	}
	return n;
}

/* A message that was cut, or has more than one descriptor, has a size that is none. */
static ssize_t receive(struct hmm_engine_msg *m, int *fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
	} control;
	struct iovec iov = { m, sizeof(*m) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	ssize_t got = recvmsg(HMM_ENGINE_CTL_FD, &msg, MSG_CMSG_CLOEXEC);

	*fd = -1;
	if (got <= 0)
		return got;
	if (take_fds(&msg, fd) > 1 || msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
		return (ssize_t)sizeof(*m) + 1;
	return got;
}

void engine_control_loop(void)
{
	for (;;) {
		struct hmm_engine_reply reply = { .magic = HMM_ENGINE_MAGIC };
		struct hmm_engine_msg m;
		bool keep = false;
		int fd;
		ssize_t got = receive(&m, &fd);

		if (got == 0 || (got < 0 && errno != EINTR))
			return;
		if (got < 0)
			continue;
		reply.result = engine_check_msg(&m, (size_t)got, fd >= 0, engine.window,
						engine.n_windows);
		if (!reply.result)
			reply.result = act(&m, fd, &keep);
		if (fd >= 0 && !keep)
			close(fd);
		if (send(HMM_ENGINE_CTL_FD, &reply, sizeof(reply), MSG_NOSIGNAL) < 0)
			return;
	}
}

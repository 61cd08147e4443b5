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

static ssize_t receive(struct hmm_engine_msg *m, int *fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { m, sizeof(*m) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	ssize_t got = recvmsg(HMM_ENGINE_CTL_FD, &msg, MSG_CMSG_CLOEXEC);
	struct cmsghdr *c;

	*fd = -1;
	if (got <= 0)
		return got;
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(c), sizeof(int));
	return msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? (ssize_t)sizeof(*m) + 1 : got;
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

// SPDX-License-Identifier: MIT
/* One front-end connection: read a request, do it, answer; until it closes. */
#include "engine/cl_serve.h"
#include "engine/cl_engine.h"
#include "engine/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

struct connection {
	int fd;
	cl_command_queue queue; /* made by the first launch */
	char *in;
	size_t in_capacity;
	struct cl_reply reply;
};

static int read_all(int fd, void *to, size_t length)
{
	for (size_t done = 0; done < length;) {
		ssize_t n = read(fd, (char *)to + done, length - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EPIPE;
		done += (size_t)n;
	}
	return 0;
}

/* Head and payload by one call: the other side wakes up once. */
static int send_both(int fd, struct iovec v[2])
{
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };

	while (v[0].iov_len + v[1].iov_len) {
		ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EPIPE;
		for (int i = 0; i < 2; i++) {
			size_t part = (size_t)n < v[i].iov_len ? (size_t)n : v[i].iov_len;

			v[i].iov_base = (char *)v[i].iov_base + part;
			v[i].iov_len -= part;
			n -= (ssize_t)part;
		}
	}
	return 0;
}

void *cl_reply_add(struct cl_reply *r, size_t bytes)
{
	void *at;

	if (bytes > CL_WIRE_MAX - r->length) {
		r->status = CL_OUT_OF_HOST_MEMORY;
		return NULL;
	}
	if (r->length + bytes > r->capacity) {
		size_t capacity = r->capacity ? r->capacity : 4096;
		char *data;

		while (capacity < r->length + bytes)
			capacity *= 2;
		data = realloc(r->data, capacity);
		if (!data) {
			r->status = CL_OUT_OF_HOST_MEMORY;
			return NULL;
		}
		r->data = data;
		r->capacity = capacity;
	}
	at = r->data + r->length;
	memset(at, 0, bytes);
	r->length += bytes;
	return at;
}

static void do_launches(struct connection *c, uint32_t length)
{
	const struct cl_engine *e = cl_engine_get(&c->reply.status);

	if (!e)
		return;
	if (!c->queue)
		c->queue = clCreateCommandQueue(e->context, e->device, 0, &c->reply.status);
	if (!c->queue)
		return;
	engine_crash_install();
	cl_do_launches(c->queue, (const void *)c->in, length, &c->reply);
}

static void dispatch(struct connection *c, const struct cl_wire_head *head)
{
	const void *q = c->in;

	switch (head->op) {
	case CL_WIRE_DEVICE_INFO:
		cl_do_device_info(q, &c->reply);
		break;
	case CL_WIRE_BUILD:
		cl_do_build(q, &c->reply);
		break;
	case CL_WIRE_RELEASE:
		cl_do_release(q);
		break;
	case CL_WIRE_KERNEL:
		cl_do_kernel(q, &c->reply);
		break;
	case CL_WIRE_LAUNCH:
		do_launches(c, head->length);
		break;
	}
}

/* A compiler that gives up and a stack that overflows end the process without a word. */
static void serve_one(struct connection *c, const struct cl_wire_head *head)
{
	bool risky = head->op == CL_WIRE_BUILD || head->op == CL_WIRE_KERNEL ||
		     head->op == CL_WIRE_LAUNCH;

	if (risky)
		__atomic_fetch_add(&engine.shared->cl_busy, 1, __ATOMIC_SEQ_CST);
	dispatch(c, head);
	if (risky)
		__atomic_fetch_sub(&engine.shared->cl_busy, 1, __ATOMIC_SEQ_CST);
}

static int receive(struct connection *c, struct cl_wire_head *head)
{
	int err = read_all(c->fd, head, sizeof(*head));

	if (err)
		return err;
	if (head->magic != CL_WIRE_MAGIC || head->length > CL_WIRE_MAX)
		return -EINVAL;
	if (head->length > c->in_capacity) {
		free(c->in);
		c->in_capacity = 0;
		c->in = malloc(head->length);
		if (!c->in)
			return -ENOMEM;
		c->in_capacity = head->length;
	}
	err = read_all(c->fd, c->in, head->length);
	return err ? err : cl_wire_check(head->op, c->in, head->length);
}

static int answer(struct connection *c, struct cl_wire_head *head)
{
	struct iovec v[2] = { { head, sizeof(*head) }, { c->reply.data, c->reply.length } };

	head->status = c->reply.status;
	head->length = (uint32_t)c->reply.length;
	return send_both(c->fd, v);
}

void engine_cl_serve(int fd)
{
	struct connection c = { .fd = fd };
	struct cl_wire_head head;

	while (!receive(&c, &head)) {
		c.reply.status = CL_SUCCESS;
		c.reply.length = 0;
		serve_one(&c, &head);
		if (answer(&c, &head))
			break;
	}
	if (c.queue)
		clReleaseCommandQueue(c.queue);
	free(c.in);
	free(c.reply.data);
}

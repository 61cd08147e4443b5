// SPDX-License-Identifier: MIT
/*
 * One connection to an engine: a request, its reply. Buffers never migrate. A thread that is
 * cancelled meanwhile would end with its caller's locks, so that waits.
 */
#include "opencl/ocl.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADER 64u /* of an allocation: with it they fill whole classes */
#define FIRST_CAPACITY (4096 - HEADER)
#define KEPT_CAPACITY ((1u << 20) - HEADER)

/*
 * Connections of this process: a forked child closes its copies, or the engine would not see them
 * closed here. Not set, or no more, for a moment around open and close: then one copy stays.
 */
#define WORD_BITS 64
static _Atomic(uint64_t) opened[1024];

static void note(int fd, bool is_open)
{
	uint64_t bit = 1ull << fd % WORD_BITS;

	if ((size_t)fd / WORD_BITS >= sizeof(opened) / sizeof(opened[0]))
		return;
	if (is_open)
		atomic_fetch_or(&opened[fd / WORD_BITS], bit);
	else
		atomic_fetch_and(&opened[fd / WORD_BITS], ~bit);
}

void ocl_conn_forget_all(void)
{
	for (size_t i = 0; i < sizeof(opened) / sizeof(opened[0]); i++) {
		uint64_t left = atomic_exchange(&opened[i], 0);

		for (; left; left &= left - 1)
			close((int)(i * WORD_BITS) + __builtin_ctzll(left));
	}
}

/* Its engine ended: what was made there is gone, and a request would be lost. */
static bool hung_up(const struct ocl_conn *c)
{
	char byte;
	ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return !n || (n < 0 && errno != EAGAIN && errno != EINTR);
}

static void hang_up(struct ocl_conn *c)
{
	if (c->fd >= 0) {
		note(c->fd, false);
		close(c->fd);
	}
	c->fd = -1;
}

/* Also in a process that is not ours any more: then it has no devices. */
static int connect_again(struct ocl_conn *c, int device)
{
	struct ocl_state *s = ocl_state();
	int err;

	if (c->fd >= 0 && !hung_up(c))
		return 0;
	hang_up(c);
	if (!s || !s->hmm)
		return -EPERM;
	err = hmm_engine_connect(s->hmm, device, &c->fd, &c->generation);
	if (!err)
		note(c->fd, true);
	return err;
}

int ocl_conn_open(struct ocl_conn *c, int device)
{
	int old, err;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	err = connect_again(c, device);
	pthread_setcancelstate(old, NULL);
	return err;
}

void ocl_conn_close(struct ocl_conn *c)
{
	int old;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	hang_up(c);
	pthread_setcancelstate(old, NULL);
}

void ocl_conn_exit(struct ocl_conn *c)
{
	ocl_conn_close(c);
	ocl_free(c->buffer);
	c->buffer = NULL;
	c->capacity = 0;
}

void ocl_conn_trim(struct ocl_conn *c)
{
	if (c->capacity <= KEPT_CAPACITY)
		return;
	ocl_free(c->buffer);
	c->buffer = NULL;
	c->capacity = 0;
}

static int grow(struct ocl_conn *c, size_t bytes)
{
	size_t capacity = FIRST_CAPACITY;
	char *buffer;

	if (bytes <= c->capacity)
		return 0;
	while (capacity < bytes)
		capacity = 2 * (capacity + HEADER) - HEADER;
	buffer = ocl_alloc(capacity);
	if (!buffer)
		return -ENOMEM;
	ocl_free(c->buffer);
	c->buffer = buffer;
	c->capacity = capacity;
	return 0;
}

void *ocl_conn_payload(struct ocl_conn *c, size_t bytes)
{
	if (bytes > CL_WIRE_MAX || grow(c, sizeof(struct cl_wire_head) + bytes))
		return NULL;
	return c->buffer + sizeof(struct cl_wire_head);
}

static int send_all(int fd, const char *from, size_t bytes)
{
	while (bytes) {
		ssize_t n = send(fd, from, bytes, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -ENOTCONN;
		from += n;
		bytes -= (size_t)n;
	}
	return 0;
}

static int receive_all(int fd, char *to, size_t bytes)
{
	while (bytes) {
		ssize_t n = recv(fd, to, bytes, MSG_WAITALL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EPIPE;
		to += n;
		bytes -= (size_t)n;
	}
	return 0;
}

static int receive_reply(struct ocl_conn *c, enum cl_wire_op op, struct cl_wire_head *head)
{
	int err = receive_all(c->fd, c->buffer, sizeof(*head));

	if (err)
		return err;
	memcpy(head, c->buffer, sizeof(*head));
	if (head->magic != CL_WIRE_MAGIC || head->length > CL_WIRE_MAX)
		return -EPROTO;
	if (head->op != (uint32_t)op)
		return -EPROTO;
	err = grow(c, head->length);
	return err ? err : receive_all(c->fd, c->buffer, head->length);
}

static int request(struct ocl_conn *c, enum cl_wire_op op, size_t bytes, cl_int *status,
		   const void **reply, size_t *reply_bytes)
{
	struct cl_wire_head head = { CL_WIRE_MAGIC, op, 0, (uint32_t)bytes };
	int err;

	memcpy(c->buffer, &head, sizeof(head));
	err = send_all(c->fd, c->buffer, sizeof(head) + bytes);
	if (!err)
		err = receive_reply(c, op, &head);
	if (err) {
		hang_up(c);
		return err;
	}
	*status = head.status;
	*reply = c->buffer;
	*reply_bytes = head.length;
	return 0;
}

int ocl_conn_call(struct ocl_conn *c, enum cl_wire_op op, size_t bytes, cl_int *status,
		  const void **reply, size_t *reply_bytes)
{
	int old, err;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	err = request(c, op, bytes, status, reply, reply_bytes);
	pthread_setcancelstate(old, NULL);
	return err;
}

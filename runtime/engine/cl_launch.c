// SPDX-License-Identifier: MIT
/*
 * Launches: for each set every argument and enqueue it; wait for the last. Faults are served while
 * they run.
 */
#include "engine/cl_engine.h"

#include <string.h>
#include <time.h>

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Bytes that are sent for a pointer would be taken for an object of this process. */
static cl_int set_arg(const struct cl_engine_kernel *k, cl_uint i, const struct cl_wire_arg *a,
		      const char *bytes)
{
	if (a->kind != k->kinds[i])
		return CL_INVALID_ARG_VALUE;
	switch (a->kind) {
	case CL_WIRE_ARG_POINTER:
		return clSetKernelArgSVMPointer(k->kernel, i, (void *)(uintptr_t)a->value);
	case CL_WIRE_ARG_LOCAL:
		return clSetKernelArg(k->kernel, i, a->size, NULL);
	default:
		return clSetKernelArg(k->kernel, i, a->size, bytes);
	}
}

static const char *next_arg(const char *at, const struct cl_wire_arg *a)
{
	at += sizeof(*a);
	return a->kind == CL_WIRE_ARG_VALUE ? at + ((a->size + 7) & ~7u) : at;
}

static cl_int set_args(struct cl_engine_kernel *k, const struct cl_wire_launch *q)
{
	const char *at = (const char *)(q + 1);
	cl_int err = CL_SUCCESS;

	for (cl_uint i = 0; i < q->n_args && !err; i++) {
		struct cl_wire_arg a;

		memcpy(&a, at, sizeof(a));
		err = set_arg(k, i, &a, at + sizeof(a));
		at = next_arg(at, &a);
	}
	return err;
}

static const struct cl_wire_launch *next_launch(const struct cl_wire_launch *q)
{
	const char *at = (const char *)(q + 1);

	for (cl_uint i = 0; i < q->n_args; i++) {
		struct cl_wire_arg a;

		memcpy(&a, at, sizeof(a));
		at = next_arg(at, &a);
	}
	return (const void *)at; /* all parts are multiples of 8 */
}

static cl_int enqueue(struct cl_engine_kernel *k, cl_command_queue queue,
		      const struct cl_wire_launch *q)
{
	size_t offset[3], global[3], local[3];
	cl_int err;

	for (int i = 0; i < 3; i++) {
		offset[i] = q->offset[i];
		global[i] = q->global[i];
		local[i] = q->local[i];
	}
	pthread_mutex_lock(&k->lock);
	err = q->n_args == k->n_args ? set_args(k, q) : CL_INVALID_KERNEL_ARGS;
	if (!err)
		err = clEnqueueNDRangeKernel(queue, k->kernel, q->dims, offset, global,
					     q->flags & CL_WIRE_HAS_LOCAL ? local : NULL, 0, NULL,
					     NULL);
	pthread_mutex_unlock(&k->lock);
	return err;
}

static cl_int launch(cl_command_queue queue, const struct cl_wire_launch *q)
{
	struct cl_engine_kernel *k = cl_kernel_get(q->kernel);
	cl_int err = k ? enqueue(k, queue, q) : CL_INVALID_KERNEL;

	if (k)
		cl_kernel_put(k);
	return err;
}

void cl_do_launches(cl_command_queue queue, const struct cl_wire_launch *q, uint32_t length,
		    struct cl_reply *r)
{
	const char *end = (const char *)q + length;
	struct cl_wire_launched *out = cl_reply_add(r, sizeof(*out));
	cl_int err;

	if (!out)
		return;
	out->start = now();
	for (; (const char *)q < end; q = next_launch(q)) {
		if (r->status && !out->before)
			out->before = r->status;
		r->status = launch(queue, q);
	}
	err = clFinish(queue);
	out->end = now();
	if (err && !r->status)
		r->status = err;
	if (err && !out->before)
		out->before = err;
}

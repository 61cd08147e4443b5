// SPDX-License-Identifier: MIT
/* A launch: set every argument, run, wait. Faults are served while it runs. */
#include "engine/cl_engine.h"

#include <string.h>
#include <time.h>

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static cl_int set_arg(cl_kernel k, cl_uint i, const struct cl_wire_arg *a, const char *bytes)
{
	switch (a->kind) {
	case CL_WIRE_ARG_POINTER:
		return clSetKernelArgSVMPointer(k, i, (void *)(uintptr_t)a->value);
	case CL_WIRE_ARG_LOCAL:
		return clSetKernelArg(k, i, a->size, NULL);
	default:
		return clSetKernelArg(k, i, a->size, bytes);
	}
}

static cl_int set_args(struct cl_engine_kernel *k, const struct cl_wire_launch *q)
{
	const char *at = (const char *)(q + 1);
	cl_int err = CL_SUCCESS;

	for (cl_uint i = 0; i < q->n_args && !err; i++) {
		struct cl_wire_arg a;

		memcpy(&a, at, sizeof(a));
		at += sizeof(a);
		err = set_arg(k->kernel, i, &a, at);
		if (a.kind == CL_WIRE_ARG_VALUE)
			at += (a.size + 7) & ~7u;
	}
	return err;
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

void cl_do_launch(cl_command_queue queue, const struct cl_wire_launch *q, struct cl_reply *r)
{
	struct cl_wire_launched *out = cl_reply_add(r, sizeof(*out));
	struct cl_engine_kernel *k = cl_kernel_get(q->kernel);

	if (!out)
		goto out;
	if (!k) {
		r->status = CL_INVALID_KERNEL;
		return;
	}
	out->start = now();
	r->status = enqueue(k, queue, q);
	if (!r->status)
		r->status = clFinish(queue);
	out->end = now();
out:
	if (k)
		cl_kernel_put(k);
}

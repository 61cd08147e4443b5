// SPDX-License-Identifier: MIT
#include "file/kernel.h"

#include <hmm/hmm_engine.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "engine/cl_wire.h"

static bool read_all(int fd, void *to, size_t n)
{
	for (char *p = to; n;) {
		ssize_t got = read(fd, p, n);

		if (got <= 0)
			return false;
		p += got;
		n -= (size_t)got;
	}
	return true;
}

/* One request; the reply's payload is left in k->reply. An OpenCL error, or -1. */
static int request(struct kernel *k, uint32_t op, const void *data, size_t n)
{
	struct cl_wire_head q = { CL_WIRE_MAGIC, op, 0, (uint32_t)n }, r;

	if (write(k->fd, &q, sizeof(q)) != sizeof(q) || write(k->fd, data, n) != (ssize_t)n)
		return -1;
	if (!read_all(k->fd, &r, sizeof(r)) || r.length > sizeof(k->reply) ||
	    !read_all(k->fd, k->reply, r.length))
		return -1;
	return r.status;
}

int kernel_open(struct kernel *k, struct hmm *h, int device, const char *source, const char *name)
{
	char data[4096];
	struct cl_wire_build build = { .source_length = (uint32_t)strlen(source) };
	struct cl_wire_kernel kernel = { 0, (uint32_t)strlen(name) };
	unsigned int generation;
	int err = hmm_engine_connect(h, device, &k->fd, &generation);

	if (err || sizeof(build) + build.source_length > sizeof(data))
		return err ? err : -1;
	memcpy(data, &build, sizeof(build));
	memcpy(data + sizeof(build), source, strlen(source));
	err = request(k, CL_WIRE_BUILD, data, sizeof(build) + strlen(source));
	if (err)
		return err;
	memcpy(&kernel.program, k->reply, sizeof(uint32_t)); /* cl_wire_built.program */
	memcpy(data, &kernel, sizeof(kernel));
	memcpy(data + sizeof(kernel), name, strlen(name));
	err = request(k, CL_WIRE_KERNEL, data, sizeof(kernel) + strlen(name));
	memcpy(&k->id, k->reply, sizeof(uint32_t)); /* cl_wire_kernel_info.kernel */
	return err;
}

int kernel_run(struct kernel *k, unsigned int items, char *p, unsigned int a, int b)
{
	struct {
		struct cl_wire_launch launch;
		struct cl_wire_arg memory, first;
		int32_t a, pad1;
		struct cl_wire_arg second;
		int32_t b, pad2;
	} l = {
		.launch = { .kernel = k->id,
			    .dims = 1,
			    .flags = CL_WIRE_HAS_LOCAL,
			    .n_args = 3,
			    .global = { items },
			    .local = { 1 } },
		.memory = { CL_WIRE_ARG_POINTER, 8, (uintptr_t)p },
		.first = { CL_WIRE_ARG_VALUE, 4, 0 },
		.a = (int32_t)a,
		.second = { CL_WIRE_ARG_VALUE, 4, 0 },
		.b = b,
	};

	return request(k, CL_WIRE_LAUNCH, &l, sizeof(l));
}

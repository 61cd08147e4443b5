/* SPDX-License-Identifier: MIT */
/* The engine's OpenCL half: what its files share. */
#ifndef HMM_ENGINE_CL_ENGINE_H
#define HMM_ENGINE_CL_ENGINE_H

#define CL_TARGET_OPENCL_VERSION 300
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS

#include <CL/cl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/cl_wire.h"

/* One platform, device and context for the process; made by the first request. */
struct cl_engine {
	cl_platform_id platform;
	cl_device_id device;
	cl_context context;
	bool needs_scope; /* its compiler does not know memory_scope_all_svm_devices */
};

/* cl_device.c. Return: the engine, or NULL with a CL error in @status. */
const struct cl_engine *cl_engine_get(cl_int *status);

/* A reply under construction: grows; freed by the connection. */
struct cl_reply {
	char *data;
	size_t length, capacity;
	cl_int status;
};

/* cl_serve.c: room for @bytes more, zeroed; NULL and CL_OUT_OF_HOST_MEMORY in @r else. */
void *cl_reply_add(struct cl_reply *r, size_t bytes);

/* cl_device.c */
void cl_do_device_info(const struct cl_wire_info *q, struct cl_reply *r);

/* cl_program.c */
struct cl_engine_kernel {
	struct cl_engine_kernel *next;
	cl_kernel kernel;
	pthread_mutex_t lock; /* arguments are set and enqueued as one step */
	uint32_t id;
	uint32_t n_args;
	uint8_t *kinds; /* enum cl_wire_arg_kind of each argument */
	unsigned int users;
	bool dead;
	char name[];
};

void cl_do_build(const struct cl_wire_build *q, struct cl_reply *r);
void cl_do_release(const struct cl_wire_info *q);
void cl_do_kernel(const struct cl_wire_kernel *q, struct cl_reply *r);
struct cl_engine_kernel *cl_kernel_get(uint32_t id); /* NULL: no such kernel */
void cl_kernel_put(struct cl_engine_kernel *k);

/* cl_kernel_info.c */
void cl_describe_kernel(struct cl_engine_kernel *k, struct cl_reply *r);

/* cl_launch.c: all that are in the @length bytes from @q on. */
void cl_do_launches(cl_command_queue queue, const struct cl_wire_launch *q, uint32_t length,
		    struct cl_reply *r);

#endif /* HMM_ENGINE_CL_ENGINE_H */

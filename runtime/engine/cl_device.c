// SPDX-License-Identifier: MIT
/* The OpenCL device that runs the kernels: the first one that is not HMM itself. */
#include "engine/cl_engine.h"

#include <stdlib.h>
#include <string.h>

#define MAX_PLATFORMS 16

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct cl_engine the_engine;
static bool ready;

static bool is_hmm(cl_platform_id p)
{
	char name[16] = "";

	return clGetPlatformInfo(p, CL_PLATFORM_NAME, sizeof(name), name, NULL) == CL_SUCCESS &&
	       !strcmp(name, "HMM");
}

static cl_int find_device(struct cl_engine *e)
{
	cl_platform_id p[MAX_PLATFORMS];
	cl_uint n = 0;
	cl_int err = clGetPlatformIDs(MAX_PLATFORMS, p, &n);

	if (err)
		return CL_DEVICE_NOT_AVAILABLE;
	for (cl_uint i = 0; i < n && i < MAX_PLATFORMS; i++) {
		if (is_hmm(p[i]))
			continue;
		if (!clGetDeviceIDs(p[i], CL_DEVICE_TYPE_ALL, 1, &e->device, NULL)) {
			e->platform = p[i];
			return CL_SUCCESS;
		}
	}
	return CL_DEVICE_NOT_AVAILABLE;
}

static bool has_feature(cl_device_id d, const char *name)
{
	cl_name_version *v;
	size_t bytes = 0;
	bool found = false;

	if (clGetDeviceInfo(d, CL_DEVICE_OPENCL_C_FEATURES, 0, NULL, &bytes) || !bytes)
		return false;
	v = malloc(bytes);
	if (v && !clGetDeviceInfo(d, CL_DEVICE_OPENCL_C_FEATURES, bytes, v, NULL))
		for (size_t i = 0; i < bytes / sizeof(*v) && !found; i++)
			found = !strcmp(v[i].name, name);
	free(v);
	return found;
}

static cl_int make_context(struct cl_engine *e)
{
	cl_context_properties props[] = { CL_CONTEXT_PLATFORM, (cl_context_properties)e->platform,
					  0 };
	cl_int err;

	e->context = clCreateContext(props, 1, &e->device, NULL, NULL, &err);
	e->needs_scope = !has_feature(e->device, "__opencl_c_atomic_scope_all_devices");
	return err;
}

/* What fails, for want of memory or descriptors, is tried again by the next request. */
const struct cl_engine *cl_engine_get(cl_int *status)
{
	*status = CL_SUCCESS;
	pthread_mutex_lock(&lock);
	if (!ready) {
		*status = find_device(&the_engine);
		if (!*status)
			*status = make_context(&the_engine);
		ready = !*status;
	}
	pthread_mutex_unlock(&lock);
	return *status ? NULL : &the_engine;
}

/* Values that hold handles or pointers of this process mean nothing elsewhere. */
static bool is_private(cl_device_info param)
{
	return param == CL_DEVICE_PLATFORM || param == CL_DEVICE_PARENT_DEVICE ||
	       param == CL_DEVICE_REFERENCE_COUNT || param == CL_DEVICE_PARTITION_TYPE;
}

void cl_do_device_info(const struct cl_wire_info *q, struct cl_reply *r)
{
	const struct cl_engine *e = cl_engine_get(&r->status);
	size_t bytes = 0;
	void *to;

	if (!e)
		return;
	if (is_private(q->param)) {
		r->status = CL_INVALID_VALUE;
		return;
	}
	r->status = clGetDeviceInfo(e->device, q->param, 0, NULL, &bytes);
	if (r->status || !bytes)
		return;
	to = cl_reply_add(r, bytes);
	if (to)
		r->status = clGetDeviceInfo(e->device, q->param, bytes, to, NULL);
}

// SPDX-License-Identifier: MIT
#include "bench_cl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bench_cl_check(cl_int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "%s: OpenCL error %d\n", what, err);
	exit(1);
}

static cl_platform_id find(const char *wanted)
{
	cl_platform_id p[16];
	char name[128];
	cl_uint n = 0;

	bench_cl_check(clGetPlatformIDs(16, p, &n), "clGetPlatformIDs");
	for (cl_uint i = 0; i < n && i < 16; i++)
		if (!clGetPlatformInfo(p[i], CL_PLATFORM_NAME, sizeof(name), name, NULL) &&
		    strstr(name, wanted))
			return p[i];
	fprintf(stderr, "no OpenCL platform %s; start me by tests/bench/run.sh\n", wanted);
	exit(1);
}

void bench_cl_open(struct bench_cl *p, const char *name, const char *source)
{
	cl_int err;

	bench_cl_check(clGetDeviceIDs(find(name), CL_DEVICE_TYPE_ALL, 1, &p->device, NULL), name);
	p->context = clCreateContext(NULL, 1, &p->device, NULL, NULL, &err);
	bench_cl_check(err, "clCreateContext");
	p->queue = clCreateCommandQueueWithProperties(p->context, p->device, NULL, &err);
	bench_cl_check(err, "clCreateCommandQueue");
	p->program = clCreateProgramWithSource(p->context, 1, &source, NULL, &err);
	bench_cl_check(err, "clCreateProgramWithSource");
	bench_cl_check(clBuildProgram(p->program, 1, &p->device, "", NULL, NULL), "clBuildProgram");
}

cl_kernel bench_cl_kernel(const struct bench_cl *p, const char *name)
{
	cl_int err;
	cl_kernel k = clCreateKernel(p->program, name, &err);

	bench_cl_check(err, name);
	return k;
}

void bench_cl_pointer(cl_kernel k, cl_uint i, const void *p)
{
	bench_cl_check(clSetKernelArgSVMPointer(k, i, p), "clSetKernelArgSVMPointer");
}

void bench_cl_value(cl_kernel k, cl_uint i, cl_ulong value)
{
	bench_cl_check(clSetKernelArg(k, i, sizeof(value), &value), "clSetKernelArg");
}

void bench_cl_run(const struct bench_cl *p, cl_kernel k, size_t items)
{
	size_t local = items < 64 ? 1 : 64;

	bench_cl_check(clEnqueueNDRangeKernel(p->queue, k, 1, NULL, &items, &local, 0, NULL, NULL),
		       "clEnqueueNDRangeKernel");
	bench_cl_check(clFinish(p->queue), "clFinish");
}

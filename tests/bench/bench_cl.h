/* SPDX-License-Identifier: MIT */
/* The OpenCL platforms that benchmarks compare: ours and PoCL's own, in one program. */
#ifndef HMM_BENCH_CL_H
#define HMM_BENCH_CL_H

#define CL_TARGET_OPENCL_VERSION 200
#include <CL/cl.h>
#include <stddef.h>

#define BENCH_HMM "HMM"
#define BENCH_POCL "Portable"

struct bench_cl {
	cl_context context;
	cl_device_id device;
	cl_command_queue queue;
	cl_program program;
};

void bench_cl_check(cl_int err, const char *what); /* or the end of the program */

/* The first device of the platform with @name in its name, and @source built for it. */
void bench_cl_open(struct bench_cl *p, const char *name, const char *source);
cl_kernel bench_cl_kernel(const struct bench_cl *p, const char *name);
void bench_cl_pointer(cl_kernel k, cl_uint i, const void *p);
void bench_cl_value(cl_kernel k, cl_uint i, cl_ulong value);
void bench_cl_run(const struct bench_cl *p, cl_kernel k, size_t items); /* and clFinish() */

#endif /* HMM_BENCH_CL_H */

/* SPDX-License-Identifier: MIT */
/* What the OpenCL tests share: plain clients of the platform named HMM. */
#ifndef HMM_TESTS_OPENCL_COMMON_H
#define HMM_TESTS_OPENCL_COMMON_H

#define CL_TARGET_OPENCL_VERSION 300
#define CL_USE_DEPRECATED_OPENCL_1_1_APIS
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS

#include <CL/cl.h>
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern cl_platform_id platform;
extern cl_device_id device;
extern cl_context context;
extern cl_command_queue queue;

/* Finds the platform; false without one. */
int opencl_setup(void);
cl_program opencl_build(const char *source, const char *options);
cl_kernel opencl_kernel(const char *source, const char *name);

struct opencl_test {
	const char *name;
	void (*fn)(void);
};

/* What the kernel tell() of @p stores. */
int opencl_told(cl_context c, cl_device_id d, cl_program p);

/* Runs them; the exit status of main(). */
int opencl_run(const char *suite, const struct opencl_test *tests, size_t n);

#define CL_OK(expression) CU_ASSERT_EQUAL(expression, CL_SUCCESS)

#endif /* HMM_TESTS_OPENCL_COMMON_H */

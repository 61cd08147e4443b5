// SPDX-License-Identifier: MIT
/* A program that ends with its memory on the device, also where LeakSanitizer then looks at it. */
#include "opencl/common.h"

static int on_device[1 << 20];

static void test_leave(void)
{
	cl_kernel k = opencl_kernel("kernel void f(global int *p) { p[get_global_id(0)] = 1; }",
				    "f");
	size_t n = 1 << 20;

	CU_ASSERT_PTR_NOT_NULL_FATAL(k);
	CL_OK(clSetKernelArgSVMPointer(k, 0, on_device));
	CL_OK(clEnqueueNDRangeKernel(queue, k, 1, NULL, &n, NULL, 0, NULL, NULL));
	CL_OK(clFinish(queue));
	CL_OK(clReleaseKernel(k));
}

int main(void)
{
	static const struct opencl_test tests[] = {
		{ "memory that stays on the device", test_leave },
	};

	return opencl_run("exit", tests, sizeof(tests) / sizeof(tests[0]));
}

// SPDX-License-Identifier: MIT
/* What ends the engine without a word costs one launch or one build, and not the device. */
#include "opencl/common.h"

static const char source[] =
	"kernel void one(global int *p) { *p += 1; }\n"
	"kernel void large(global int *out) { int a[4096]; int l = get_local_id(0), s = 0;\n"
	"  for (int i = 0; i < 4096; i++) a[i] = i * l + out[0];\n"
	"  barrier(CLK_LOCAL_MEM_FENCE);\n"
	"  for (int i = 0; i < 4096; i++) s += a[(i * 7 + out[0]) & 4095];\n"
	"  barrier(CLK_LOCAL_MEM_FENCE);\n"
	"  out[get_global_id(0)] = s + a[out[0]]; }\n"
	"#ifdef __x86_64__\n"
	"#define CALL 231\n"
	"#define EXIT __asm__ volatile(\"syscall\" :: \"a\"(call), \"D\"(1) : \"rcx\", \"r11\")\n"
	"#else\n"
	"#define CALL 94\n"
	"#define EXIT __asm__ volatile(\"mov x8, %0; svc #0\" :: \"r\"(call) : \"x8\")\n"
	"#endif\n"
	"kernel void leave(global int *p) { long call = CALL; EXIT; *p = 100; }\n";

static cl_int run(cl_kernel k, size_t n, size_t local)
{
	CL_OK(clEnqueueNDRangeKernel(queue, k, 1, NULL, &n, &local, 0, NULL, NULL));
	return clFinish(queue);
}

static void counts(int from)
{
	cl_kernel k = opencl_kernel(source, "one");
	int *p = malloc(sizeof(*p));

	CU_ASSERT_PTR_NOT_NULL_FATAL(k);
	*p = from;
	CL_OK(clSetKernelArgSVMPointer(k, 0, p));
	CL_OK(run(k, 1, 1));
	CU_ASSERT_EQUAL(*p, from + 1);
	CL_OK(clReleaseKernel(k));
	free(p);
}

/* The private arrays of all work-items of a group lie on one stack: here 32 MiB. */
static void test_large_group(void)
{
	cl_kernel k = opencl_kernel(source, "large");
	int *out = calloc(4096, sizeof(*out));

	CU_ASSERT_PTR_NOT_NULL_FATAL(k);
	CL_OK(clSetKernelArgSVMPointer(k, 0, out));
	CL_OK(run(k, 2048, 2048));
	CU_ASSERT_EQUAL(out[2], 2 * 4095 * 2048);
	CL_OK(clReleaseKernel(k));
	free(out);
}

/* As a stack that overflows does, or a compiler at the kernel's first launch: no last words. */
static void test_launch(void)
{
	cl_kernel k = opencl_kernel(source, "leave"), one = opencl_kernel(source, "one");
	int *p = calloc(1, sizeof(*p));

	CU_ASSERT_PTR_NOT_NULL_FATAL(k);
	CL_OK(clSetKernelArgSVMPointer(k, 0, p));
	CL_OK(clSetKernelArgSVMPointer(one, 0, p));
	for (int i = 1; i <= 2; i++) {
		CU_ASSERT_EQUAL(run(k, 1, 1), CL_OUT_OF_RESOURCES);
		CL_OK(run(one, 1, 1));
		CU_ASSERT_EQUAL(*p, i);
	}
	CL_OK(clReleaseKernel(k));
	CL_OK(clReleaseKernel(one));
	counts(6);
	free(p);
}

static void test_build(void)
{
	const char *bad = "#pragma clang __debug llvm_fatal_error\nkernel void f(void) {}";
	cl_program p = clCreateProgramWithSource(context, 1, &bad, NULL, NULL);
	cl_build_status status = 0;
	char log[256] = "";

	CU_ASSERT_EQUAL(clBuildProgram(p, 0, NULL, NULL, NULL, NULL), CL_BUILD_PROGRAM_FAILURE);
	CL_OK(clGetProgramBuildInfo(p, device, CL_PROGRAM_BUILD_STATUS, sizeof(status), &status,
				    NULL));
	CU_ASSERT_EQUAL(status, CL_BUILD_ERROR);
	CL_OK(clGetProgramBuildInfo(p, device, CL_PROGRAM_BUILD_LOG, sizeof(log), log, NULL));
	CU_ASSERT_PTR_NOT_NULL(strstr(log, "compiler ended"));
	CL_OK(clReleaseProgram(p));
	counts(3);
}

int main(void)
{
	static const struct opencl_test tests[] = {
		{ "work-groups with much private memory", test_large_group },
		{ "a launch that ends the engine", test_launch },
		{ "a build that ends the compiler", test_build },
	};

	return opencl_run("engine end", tests, sizeof(tests) / sizeof(tests[0]));
}

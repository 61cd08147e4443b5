// SPDX-License-Identifier: MIT
/* Binaries of programs: what they keep of a build, and whose they are. */
#include "opencl/common.h"

static unsigned char *step_binary(cl_context c, cl_device_id d, const char *options, size_t *bytes)
{
	const char *text = "kernel void tell(global int *p) { *p = STEP; }";
	cl_program p = clCreateProgramWithSource(c, 1, &text, NULL, NULL);
	unsigned char *binary[2] = { NULL, NULL };
	size_t sizes[2] = { 0 }, n;
	cl_uint devices = 0;

	CL_OK(clBuildProgram(p, 1, &d, options, NULL, NULL));
	CL_OK(clGetProgramInfo(p, CL_PROGRAM_NUM_DEVICES, sizeof(devices), &devices, NULL));
	CL_OK(clGetProgramInfo(p, CL_PROGRAM_BINARY_SIZES, sizeof(sizes), sizes, NULL));
	n = devices == 2 && !sizes[0] ? 1 : 0;
	binary[n] = malloc(sizes[n]);
	CL_OK(clGetProgramInfo(p, CL_PROGRAM_BINARIES, sizeof(binary), binary, NULL));
	CL_OK(clReleaseProgram(p));
	*bytes = sizes[n];
	return binary[n];
}

/* A binary is what was built: later options do not change it, nor need they be said again. */
static void test_binary_options(void)
{
	size_t bytes;
	unsigned char *binary = step_binary(context, device, "-DSTEP=42", &bytes);
	const unsigned char *in = binary;
	cl_program p = clCreateProgramWithBinary(context, 1, &device, &bytes, &in, NULL, NULL);

	CL_OK(clBuildProgram(p, 0, NULL, NULL, NULL, NULL));
	CU_ASSERT_EQUAL(opencl_told(context, device, p), 42);
	CL_OK(clBuildProgram(p, 0, NULL, "-DSTEP=7", NULL, NULL));
	CU_ASSERT_EQUAL(opencl_told(context, device, p), 42);
	CL_OK(clReleaseProgram(p));
	free(binary);
}

/* Each device gets the binary that is its own, or none. */
static void test_binaries_of_devices(void)
{
	cl_device_id d[2], of[2] = { NULL, NULL };
	unsigned char *binary[2];
	const unsigned char *in[2];
	size_t bytes[2];
	cl_uint n = 0;
	cl_context c;
	cl_program p;
	cl_kernel k;

	CL_OK(clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 2, d, &n));
	if (n < 2) {
		printf("(skipped: one device) ");
		return;
	}
	c = clCreateContext(NULL, 2, d, NULL, NULL, NULL);
	binary[0] = step_binary(c, d[0], "-DSTEP=1", &bytes[0]);
	binary[1] = step_binary(c, d[1], "-DSTEP=22", &bytes[1]);
	in[0] = binary[0];
	in[1] = binary[1];
	p = clCreateProgramWithBinary(c, 2, d, bytes, in, NULL, NULL);
	CL_OK(clBuildProgram(p, 0, NULL, NULL, NULL, NULL));
	CU_ASSERT_EQUAL(opencl_told(c, d[0], p), 1);
	CU_ASSERT_EQUAL(opencl_told(c, d[1], p), 22);
	CL_OK(clReleaseProgram(p));
	p = clCreateProgramWithBinary(c, 1, &d[1], &bytes[1], &in[1], NULL, NULL);
	CL_OK(clGetProgramInfo(p, CL_PROGRAM_NUM_DEVICES, sizeof(n), &n, NULL));
	CL_OK(clGetProgramInfo(p, CL_PROGRAM_DEVICES, sizeof(of), of, NULL));
	CU_ASSERT(n == 1 && of[0] == d[1]);
	CU_ASSERT_EQUAL(clBuildProgram(p, 1, &d[0], NULL, NULL, NULL), CL_INVALID_DEVICE);
	CL_OK(clBuildProgram(p, 0, NULL, NULL, NULL, NULL));
	CU_ASSERT_EQUAL(opencl_told(c, d[1], p), 22);
	k = clCreateKernel(p, "tell", NULL);
	CL_OK(clGetKernelInfo(k, CL_KERNEL_ATTRIBUTES, 0, NULL, bytes));
	CL_OK(clReleaseKernel(k));
	CL_OK(clReleaseProgram(p));
	CL_OK(clReleaseContext(c));
	free(binary[0]);
	free(binary[1]);
}

int main(void)
{
	static const struct opencl_test tests[] = {
		{ "binaries and their options", test_binary_options },
		{ "binaries of two devices", test_binaries_of_devices },
	};

	return opencl_run("binaries", tests, sizeof(tests) / sizeof(tests[0]));
}

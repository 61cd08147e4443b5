// SPDX-License-Identifier: MIT
#include "opencl/common.h"

cl_platform_id platform;
cl_device_id device;
cl_context context;
cl_command_queue queue;

static int find_platform(void)
{
	cl_platform_id all[16];
	cl_uint n = 0;
	char name[32];

	if (clGetPlatformIDs(16, all, &n))
		return 0;
	for (cl_uint i = 0; i < n && i < 16; i++) {
		name[0] = 0;
		clGetPlatformInfo(all[i], CL_PLATFORM_NAME, sizeof(name), name, NULL);
		if (!strcmp(name, "HMM")) {
			platform = all[i];
			return 1;
		}
	}
	return 0;
}

int opencl_setup(void)
{
	const cl_queue_properties props[] = { CL_QUEUE_PROPERTIES, CL_QUEUE_PROFILING_ENABLE, 0 };

	if (!find_platform() || clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &device, NULL))
		return 0;
	context = clCreateContext(NULL, 1, &device, NULL, NULL, NULL);
	queue = clCreateCommandQueueWithProperties(context, device, props, NULL);
	return queue != NULL;
}

cl_program opencl_build(const char *source, const char *options)
{
	cl_program p = clCreateProgramWithSource(context, 1, &source, NULL, NULL);

	if (p && clBuildProgram(p, 0, NULL, options, NULL, NULL)) {
		clReleaseProgram(p);
		return NULL;
	}
	return p;
}

cl_kernel opencl_kernel(const char *source, const char *name)
{
	cl_program p = opencl_build(source, NULL);
	cl_kernel k = p ? clCreateKernel(p, name, NULL) : NULL;

	if (p)
		clReleaseProgram(p);
	return k;
}

int opencl_told(cl_context c, cl_device_id d, cl_program p)
{
	cl_command_queue q = clCreateCommandQueue(c, d, 0, NULL);
	cl_kernel k = clCreateKernel(p, "tell", NULL);
	int *out = calloc(1, sizeof(*out)), value;
	size_t one = 1;

	CU_ASSERT_PTR_NOT_NULL_FATAL(k);
	CL_OK(clSetKernelArgSVMPointer(k, 0, out));
	CL_OK(clEnqueueNDRangeKernel(q, k, 1, NULL, &one, NULL, 0, NULL, NULL));
	CL_OK(clFinish(q));
	value = *out;
	free(out);
	CL_OK(clReleaseKernel(k));
	CL_OK(clReleaseCommandQueue(q));
	return value;
}

int opencl_run(const char *suite, const struct opencl_test *tests, size_t n)
{
	CU_pSuite s;
	unsigned int failed;

	if (!opencl_setup()) {
		fprintf(stderr, "no OpenCL platform named HMM with a device\n");
		return 1;
	}
	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	s = CU_add_suite(suite, NULL, NULL);
	for (size_t i = 0; i < n; i++)
		CU_add_test(s, tests[i].name, tests[i].fn);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed ? 1 : 0;
}

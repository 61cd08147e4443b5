// SPDX-License-Identifier: MIT
/* Programs and kernels: builds, logs, arguments of every form, launch sizes. */
#include "opencl/common.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

static const char source[] =
	"#ifndef STEP\n#define STEP 1\n#endif\n"
	"struct pair { int a; float b; };\n"
	"kernel void blend(global int *out, constant int *in, local int *tmp, struct pair p, int4 v) {\n"
	"  size_t l = get_local_id(0); tmp[l] = in ? in[get_global_id(0)] : 0;\n"
	"  barrier(CLK_LOCAL_MEM_FENCE);\n"
	"  out[get_global_id(0)] = tmp[l] + p.a + (int)p.b + v.w + STEP; }\n"
	"kernel void ids(global ulong *out) { size_t i = get_global_id(0) - get_global_offset(0);\n"
	"  out[i] = get_global_id(0); }\n"
	"kernel __attribute__((reqd_work_group_size(2, 2, 1))) void square(void) {}\n"
	"kernel __attribute__((reqd_work_group_size(4, 1, 1))) void four(global int *p) {\n"
	"  p[get_global_id(0)] = get_local_size(0); }\n";

struct pair {
	int a;
	float b;
};

static void test_log(void)
{
	const char *bad = "kernel void f( { this is not OpenCL }";
	cl_program p = clCreateProgramWithSource(context, 1, &bad, NULL, NULL);
	cl_build_status status;
	char log[4096] = "";
	cl_int err;

	CU_ASSERT_EQUAL(clBuildProgram(p, 0, NULL, NULL, NULL, NULL), CL_BUILD_PROGRAM_FAILURE);
	CL_OK(clGetProgramBuildInfo(p, device, CL_PROGRAM_BUILD_STATUS, sizeof(status), &status,
				    NULL));
	CU_ASSERT_EQUAL(status, CL_BUILD_ERROR);
	CL_OK(clGetProgramBuildInfo(p, device, CL_PROGRAM_BUILD_LOG, sizeof(log), log, NULL));
	CU_ASSERT(strlen(log) > 10 && strstr(log, "error"));
	CU_ASSERT_PTR_NULL(clCreateKernel(p, "f", &err));
	CU_ASSERT_EQUAL(err, CL_INVALID_PROGRAM_EXECUTABLE);
	CL_OK(clReleaseProgram(p));
	CU_ASSERT_PTR_NULL(clCreateProgramWithSource(context, 0, NULL, NULL, &err));
	CU_ASSERT_EQUAL(err, CL_INVALID_VALUE);
}

static volatile int notified;

static void CL_CALLBACK on_build(cl_program p, void *data)
{
	(void)p;
	notified = *(int *)data;
}

static void test_info(void)
{
	const char *parts[2] = { source, "kernel void last(void) {}" };
	cl_program p = clCreateProgramWithSource(context, 2, parts, NULL, NULL), q;
	size_t n = 0, bytes;
	unsigned char *binary;
	const unsigned char *in;
	char text[4096];
	cl_kernel k[8];
	cl_uint n_kernels = 0;
	int value = 6;
	cl_int err;

	CL_OK(clBuildProgram(p, 1, &device, "-DSTEP=3", on_build, &value));
	CU_ASSERT_EQUAL(notified, 6);
	CL_OK(clGetProgramBuildInfo(p, device, CL_PROGRAM_BUILD_OPTIONS, sizeof(text), text, NULL));
	CU_ASSERT_STRING_EQUAL(text, "-DSTEP=3");
	CL_OK(clGetProgramInfo(p, CL_PROGRAM_NUM_KERNELS, sizeof(n), &n, NULL));
	CU_ASSERT_EQUAL(n, 5);
	CL_OK(clGetProgramInfo(p, CL_PROGRAM_SOURCE, sizeof(text), text, &bytes));
	CU_ASSERT_EQUAL(bytes, strlen(parts[0]) + strlen(parts[1]) + 1);
	CL_OK(clCreateKernelsInProgram(p, 8, k, &n_kernels));
	CU_ASSERT_EQUAL(n_kernels, 5);
	CU_ASSERT_EQUAL(clBuildProgram(p, 0, NULL, NULL, NULL, NULL), CL_INVALID_OPERATION);
	for (cl_uint i = 0; i < n_kernels; i++)
		CL_OK(clReleaseKernel(k[i]));
	CL_OK(clGetProgramInfo(p, CL_PROGRAM_BINARY_SIZES, sizeof(bytes), &bytes, NULL));
	binary = malloc(bytes);
	CL_OK(clGetProgramInfo(p, CL_PROGRAM_BINARIES, sizeof(binary), &binary, NULL));
	in = binary;
	q = clCreateProgramWithBinary(context, 1, &device, &bytes, &in, NULL, &err);
	CU_ASSERT_EQUAL(err, CL_SUCCESS);
	CL_OK(clBuildProgram(q, 0, NULL, NULL, NULL, NULL));
	binary[0] ^= 1;
	CU_ASSERT_PTR_NULL(clCreateProgramWithBinary(context, 1, &device, &bytes, &in, NULL, &err));
	CU_ASSERT_EQUAL(err, CL_INVALID_BINARY);
	free(binary);
	CL_OK(clReleaseProgram(p));
	CL_OK(clReleaseProgram(q));
}

static cl_int launch(cl_kernel k, cl_uint dims, const size_t *offset, const size_t *global,
		     const size_t *local)
{
	return clEnqueueNDRangeKernel(queue, k, dims, offset, global, local, 0, NULL, NULL);
}

static void *builds(void *program)
{
	for (int i = 0; i < 20; i++)
		CL_OK(clBuildProgram(program, 0, NULL, "-DSTEP=5", NULL, NULL));
	return NULL;
}

static void test_threads(void)
{
	const char *text = "kernel void tell(global int *p) { *p = STEP; }";
	cl_program p = clCreateProgramWithSource(context, 1, &text, NULL, NULL);
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, builds, p);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	CU_ASSERT_EQUAL(opencl_told(context, device, p), 5);
	CL_OK(clReleaseProgram(p));
}

static _Atomic int built;

/* Not one that the compiler has in its cache. */
static void *builds_slowly(void *round)
{
	static char text[1 << 16];
	size_t n = (size_t)snprintf(text, sizeof(text), "/* %d.%d */", getpid(), *(int *)round);
	cl_program p;

	for (int i = 0; i < 500; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n,
				      "kernel void k%d(global float *p) { p[0] = sin(p[%d]); }\n",
				      i, i);
	p = opencl_build(text, NULL);
	CU_ASSERT_PTR_NOT_NULL(p);
	built = 1;
	clReleaseProgram(p);
	return NULL;
}

static int launches_beside_build(cl_kernel k, int round)
{
	size_t one = 1;
	pthread_t t;
	int n = 0;

	built = 0;
	pthread_create(&t, NULL, builds_slowly, &round);
	while (!built) {
		CL_OK(launch(k, 1, NULL, &one, NULL));
		CL_OK(clFinish(queue));
		n += !built;
		usleep(500);
	}
	pthread_join(t, NULL);
	return n;
}

/* Again where the machine had no time for more. */
static void test_launches_beside_build(void)
{
	cl_kernel k = opencl_kernel("kernel void count(global int *p) { ++*p; }", "count");
	int *p = calloc(1, sizeof(*p)), n = 0;
	size_t one = 1;

	CL_OK(clSetKernelArgSVMPointer(k, 0, p));
	CL_OK(launch(k, 1, NULL, &one, NULL));
	CL_OK(clFinish(queue));
	for (int i = 0; i < 5 && n < 10; i++)
		n = launches_beside_build(k, i);
	CU_ASSERT(n >= 10);
	CL_OK(clReleaseKernel(k));
	free(p);
}

static void write_header(const char *folder, int value)
{
	char name[64];
	FILE *f;

	snprintf(name, sizeof(name), "%s/step.h", folder);
	CU_ASSERT_EQUAL(mkdir(folder, 0700), 0);
	f = fopen(name, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	fprintf(f, "#define STEP %d\n", value);
	fclose(f);
}

static void remove_header(const char *folder)
{
	char name[64];

	snprintf(name, sizeof(name), "%s/step.h", folder);
	unlink(name);
	rmdir(folder);
}

/* A relative path is meant from where the program stands when it builds; also for a new engine. */
static void test_includes(void)
{
	const char *text = "#include \"step.h\"\nkernel void tell(global int *p) { *p = STEP; }\n"
			   "kernel void poke(void) { *(global int *)8 = 1; }";
	char folder[] = "/tmp/hmm-opencl-XXXXXX", *old = getcwd(NULL, 0);
	cl_program p = clCreateProgramWithSource(context, 1, &text, NULL, NULL);
	cl_kernel poke;

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	CU_ASSERT_EQUAL_FATAL(chdir(folder), 0);
	write_header("one", 1);
	write_header("two", 2);
	CL_OK(clBuildProgram(p, 0, NULL, "-I one", NULL, NULL));
	CU_ASSERT_EQUAL(opencl_told(context, device, p), 1);
	CU_ASSERT_EQUAL_FATAL(chdir("two"), 0);
	CL_OK(clBuildProgram(p, 0, NULL, "-I .", NULL, NULL));
	CU_ASSERT_EQUAL(opencl_told(context, device, p), 2);
	CU_ASSERT_EQUAL(chdir("../one"), 0);
	poke = clCreateKernel(p, "poke", NULL);
	CL_OK(clEnqueueTask(queue, poke, 0, NULL, NULL));
	CU_ASSERT_EQUAL(clFinish(queue), CL_OUT_OF_RESOURCES);
	CU_ASSERT_EQUAL(opencl_told(context, device, p), 2);
	CU_ASSERT_EQUAL(chdir(folder), 0);
	remove_header("one");
	remove_header("two");
	CU_ASSERT_EQUAL(chdir(old), 0);
	CU_ASSERT_EQUAL(rmdir(folder), 0);
	CL_OK(clReleaseKernel(poke));
	CL_OK(clReleaseProgram(p));
	free(old);
}

static void test_arguments(void)
{
	cl_program p = opencl_build(source, "-DSTEP=1000");
	cl_kernel k = p ? clCreateKernel(p, "blend", NULL) : NULL, clone;
	cl_mem out = clCreateBuffer(context, 0, 64 * 4, NULL, NULL), in, none = NULL;
	size_t n = 64, local = 16;
	struct pair pair = { 10, 20.5f };
	cl_int4 v = { { 1, 2, 3, 100 } };
	int host[64];
	cl_int err;

	CU_ASSERT_PTR_NOT_NULL_FATAL(k);
	for (int i = 0; i < 64; i++)
		host[i] = i;
	in = clCreateBuffer(context, CL_MEM_COPY_HOST_PTR, sizeof(host), host, NULL);
	CU_ASSERT_EQUAL(clEnqueueNDRangeKernel(queue, k, 1, NULL, &n, &local, 0, NULL, NULL),
			CL_INVALID_KERNEL_ARGS);
	CU_ASSERT_EQUAL(clSetKernelArg(k, 9, 8, &out), CL_INVALID_ARG_INDEX);
	CU_ASSERT_EQUAL(clSetKernelArg(k, 0, 4, &out), CL_INVALID_ARG_SIZE);
	CU_ASSERT_EQUAL(clSetKernelArg(k, 2, 64, host), CL_INVALID_ARG_VALUE);
	CU_ASSERT_EQUAL(clSetKernelArg(k, 2, 0, NULL), CL_INVALID_ARG_SIZE);
	CU_ASSERT_EQUAL(clSetKernelArg(k, 4, 4, &v), CL_INVALID_ARG_SIZE);
	CU_ASSERT_EQUAL(clSetKernelArg(k, 4, 16, NULL), CL_INVALID_ARG_VALUE);
	CU_ASSERT_EQUAL(clSetKernelArgSVMPointer(k, 4, host), CL_INVALID_ARG_VALUE);
	CL_OK(clSetKernelArg(k, 0, sizeof(out), &out));
	CL_OK(clSetKernelArg(k, 1, sizeof(in), &in));
	CL_OK(clSetKernelArg(k, 2, 64, NULL));
	CL_OK(clSetKernelArg(k, 3, sizeof(pair), &pair));
	CL_OK(clSetKernelArg(k, 4, sizeof(v), &v));
	clone = clCloneKernel(k, &err);
	CU_ASSERT_EQUAL(err, CL_SUCCESS);
	CL_OK(clEnqueueNDRangeKernel(queue, k, 1, NULL, &n, &local, 0, NULL, NULL));
	/* The launch has its arguments: these are for the next one. */
	pair.a = 0;
	CL_OK(clSetKernelArg(k, 3, sizeof(pair), &pair));
	CL_OK(clSetKernelArg(k, 1, sizeof(none), &none));
	CL_OK(clEnqueueReadBuffer(queue, out, CL_TRUE, 0, sizeof(host), host, 0, NULL, NULL));
	CU_ASSERT(host[0] == 1130 && host[63] == 1193);
	CL_OK(clEnqueueNDRangeKernel(queue, k, 1, NULL, &n, &local, 0, NULL, NULL));
	CL_OK(clEnqueueReadBuffer(queue, out, CL_TRUE, 0, sizeof(host), host, 0, NULL, NULL));
	CU_ASSERT(host[0] == 1120 && host[63] == 1120);
	CL_OK(clEnqueueNDRangeKernel(queue, clone, 1, NULL, &n, &local, 0, NULL, NULL));
	CL_OK(clEnqueueReadBuffer(queue, out, CL_TRUE, 0, sizeof(host), host, 0, NULL, NULL));
	CU_ASSERT(host[0] == 1130 && host[63] == 1193);
	CL_OK(clReleaseMemObject(in));
	CL_OK(clReleaseMemObject(out));
	CL_OK(clReleaseKernel(clone));
	CL_OK(clReleaseKernel(k));
	CL_OK(clReleaseProgram(p));
}

static void test_sizes(void)
{
	cl_kernel ids = opencl_kernel(source, "ids"), four = opencl_kernel(source, "four");
	static cl_ulong out[32];
	static int locals[8];
	size_t n = 8, offset = 100, zero = 0, huge = 1ul << 40, most = SIZE_MAX, bad = 2;
	size_t compile[3], none[2] = { 8, 0 };
	cl_event done;

	CU_ASSERT_PTR_NOT_NULL_FATAL(ids);
	CU_ASSERT_PTR_NOT_NULL_FATAL(four);
	CL_OK(clSetKernelArgSVMPointer(ids, 0, out));
	CL_OK(launch(ids, 1, &offset, &n, NULL));
	CL_OK(clFinish(queue));
	CU_ASSERT(out[0] == 100 && out[7] == 107);
	CU_ASSERT_EQUAL(launch(ids, 0, NULL, &n, NULL), CL_INVALID_WORK_DIMENSION);
	CU_ASSERT_EQUAL(launch(ids, 4, NULL, &n, NULL), CL_INVALID_WORK_DIMENSION);
	out[0] = 5;
	CL_OK(launch(ids, 1, NULL, &zero, NULL)); /* no items: nothing to do */
	CL_OK(launch(ids, 1, NULL, NULL, NULL));
	CL_OK(launch(ids, 2, NULL, none, NULL));
	CL_OK(clEnqueueNDRangeKernel(queue, ids, 1, NULL, &zero, NULL, 0, NULL, &done));
	CL_OK(clWaitForEvents(1, &done));
	CL_OK(clReleaseEvent(done));
	CU_ASSERT_EQUAL(out[0], 5);
	CU_ASSERT_EQUAL(launch(ids, 1, &most, &n, NULL), CL_INVALID_GLOBAL_OFFSET);
	CU_ASSERT_EQUAL(launch(ids, 1, NULL, &huge, &huge), CL_INVALID_WORK_ITEM_SIZE);
	CL_OK(clSetKernelArgSVMPointer(four, 0, locals));
	CL_OK(clGetKernelWorkGroupInfo(four, device, CL_KERNEL_COMPILE_WORK_GROUP_SIZE,
				       sizeof(compile), compile, NULL));
	CU_ASSERT(compile[0] == 4 && compile[1] == 1 && compile[2] == 1);
	CU_ASSERT_EQUAL(launch(four, 1, NULL, &n, &bad), CL_INVALID_WORK_GROUP_SIZE);
	CL_OK(launch(four, 1, NULL, &n, NULL));
	CL_OK(clFinish(queue));
	CU_ASSERT_EQUAL(locals[7], 4);
	CL_OK(clReleaseKernel(ids));
	CL_OK(clReleaseKernel(four));
}

/* What the device would refuse is said by the enqueue, and ends nothing else. */
static void test_bad_groups(void)
{
	cl_kernel ids = opencl_kernel(source, "ids"), four = opencl_kernel(source, "four");
	cl_kernel square = opencl_kernel(source, "square");
	size_t eight[2] = { 8, 8 }, two[2] = { 2, 2 }, ten = 10, size = 4, most = 0;
	int *out = calloc(16, sizeof(*out));
	cl_bool any;

	CL_OK(clGetDeviceInfo(device, CL_DEVICE_NON_UNIFORM_WORK_GROUP_SUPPORT, sizeof(any), &any,
			      NULL));
	CL_OK(clSetKernelArgSVMPointer(ids, 0, out));
	CL_OK(clSetKernelArgSVMPointer(four, 0, out));
	if (!any) {
		CU_ASSERT_EQUAL(launch(ids, 1, NULL, &ten, &size), CL_INVALID_WORK_GROUP_SIZE);
		CU_ASSERT_EQUAL(launch(four, 1, NULL, &ten, NULL), CL_INVALID_WORK_GROUP_SIZE);
	}
	CU_ASSERT_EQUAL(launch(square, 1, NULL, eight, two), CL_INVALID_WORK_GROUP_SIZE);
	CU_ASSERT_EQUAL(launch(square, 1, NULL, eight, NULL), CL_INVALID_WORK_GROUP_SIZE);
	CL_OK(launch(square, 2, NULL, eight, two));
	CL_OK(clGetKernelWorkGroupInfo(ids, device, CL_KERNEL_WORK_GROUP_SIZE, sizeof(most), &most,
				       NULL));
	most *= 2;
	CU_ASSERT_NOT_EQUAL(launch(ids, 1, NULL, &most, &most), CL_SUCCESS);
	CL_OK(clFinish(queue));
	CL_OK(clReleaseKernel(ids));
	CL_OK(clReleaseKernel(four));
	CL_OK(clReleaseKernel(square));
	free(out);
}

/* Longer ones are cut, and not left out. */
static void test_long_names(void)
{
	char text[1024], name[101], got[2048] = "";
	cl_kernel k;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	snprintf(text, sizeof(text), "kernel void f(int %s, int %s%s%s) {}", name, name, name,
		 name);
	k = opencl_kernel(text, "f");
	CU_ASSERT_PTR_NOT_NULL_FATAL(k);
	CL_OK(clGetKernelArgInfo(k, 0, CL_KERNEL_ARG_NAME, sizeof(got), got, NULL));
	CU_ASSERT_STRING_EQUAL(got, name);
	CL_OK(clGetKernelArgInfo(k, 1, CL_KERNEL_ARG_NAME, sizeof(got), got, NULL));
	CU_ASSERT_EQUAL(strspn(got, "n"), 255);
	CL_OK(clReleaseKernel(k));
}

static void test_references(void)
{
	cl_program p = opencl_build(source, NULL), of_kernel;
	cl_kernel k = clCreateKernel(p, "ids", NULL);
	cl_uint refs;
	cl_int err;

	CU_ASSERT_PTR_NULL(clCreateKernel(p, "nobody", &err));
	CU_ASSERT_EQUAL(err, CL_INVALID_KERNEL_NAME);
	CL_OK(clRetainKernel(k));
	CL_OK(clGetKernelInfo(k, CL_KERNEL_REFERENCE_COUNT, sizeof(refs), &refs, NULL));
	CU_ASSERT_EQUAL(refs, 2);
	CL_OK(clReleaseKernel(k));
	CL_OK(clReleaseProgram(p));
	CL_OK(clGetKernelInfo(k, CL_KERNEL_PROGRAM, sizeof(of_kernel), &of_kernel, NULL));
	CU_ASSERT_PTR_EQUAL(of_kernel, p);
	CL_OK(clReleaseKernel(k));
}

int main(void)
{
	static const struct opencl_test tests[] = {
		{ "compile errors and their log", test_log },
		{ "program queries, callbacks, binaries", test_info },
		{ "builds by several threads", test_threads },
		{ "launches beside a build", test_launches_beside_build },
		{ "includes from where the program stands", test_includes },
		{ "arguments of every form", test_arguments },
		{ "launch sizes", test_sizes },
		{ "work-groups that cannot be", test_bad_groups },
		{ "long names", test_long_names },
		{ "reference counts", test_references },
	};

	return opencl_run("programs", tests, sizeof(tests) / sizeof(tests[0]));
}

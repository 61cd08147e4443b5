// SPDX-License-Identifier: MIT
/* Launches that nobody has an event of: they go to the engine together, and none is lost or late. */
#include "opencl/common.h"

#include <pthread.h>
#include <unistd.h>

#define LAUNCHES 3000
#define THREADS 3

static const char source[] = "kernel void times(global uint *p, uint v) { *p = *p * 3 + v; }\n"
			     "kernel void turn(global uint *p, uint v) { *p ^= v * 2654435761u; }\n"
			     "kernel void await(volatile global int *p) { while (!*p) ; }\n"
			     "kernel void poke(ulong at) { *(volatile global uint *)at = 1; }\n";

static void launch(cl_command_queue q, cl_kernel k, cl_event *event)
{
	size_t one = 1;

	CL_OK(clEnqueueNDRangeKernel(q, k, 1, NULL, &one, NULL, 0, NULL, event));
}

/* By two kernels, of which each undoes what comes too early. */
static void step(cl_command_queue q, cl_kernel k[2], cl_uint i, cl_uint *expected, cl_event *event)
{
	cl_kernel now = k[i % 3 == 0];

	CL_OK(clSetKernelArg(now, 1, sizeof(i), &i));
	launch(q, now, event);
	*expected = i % 3 ? *expected * 3 + i : *expected ^ i * 2654435761u;
}

static void make(cl_program p, cl_kernel k[2], cl_uint *at)
{
	k[0] = clCreateKernel(p, "times", NULL);
	k[1] = clCreateKernel(p, "turn", NULL);
	CU_ASSERT_PTR_NOT_NULL(k[0]);
	CU_ASSERT_PTR_NOT_NULL(k[1]);
	for (int i = 0; i < 2; i++)
		CL_OK(clSetKernelArgSVMPointer(k[i], 0, at));
}

static void *in_order(void *program)
{
	cl_command_queue q = clCreateCommandQueue(context, device, 0, NULL);
	cl_uint *at = calloc(1, sizeof(*at)), expected = 0;
	cl_kernel k[2];
	cl_event e;

	make(program, k, at);
	for (cl_uint i = 0; i < LAUNCHES; i++) {
		if (i % 97) {
			step(q, k, i, &expected, NULL);
			continue;
		}
		step(q, k, i, &expected, &e);
		if (i % 5) {
			CL_OK(clWaitForEvents(1, &e));
			CU_ASSERT_EQUAL(*at, expected);
		}
		CL_OK(clReleaseEvent(e));
	}
	for (int i = 0; i < 2; i++)
		CL_OK(clReleaseKernel(k[i]));
	CL_OK(clFinish(q));
	CU_ASSERT_EQUAL(*at, expected);
	CL_OK(clReleaseCommandQueue(q));
	free(at);
	return NULL;
}

static void test_order(void)
{
	cl_program p = opencl_build(source, NULL);

	in_order(p);
	CL_OK(clReleaseProgram(p));
}

/* Each with a queue of its own, and kernels of one program. */
static void test_threads(void)
{
	cl_program p = opencl_build(source, NULL);
	pthread_t t[THREADS];

	for (int i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, in_order, p);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	CL_OK(clReleaseProgram(p));
}

/* What comes after a launch may wait for what the CPU does when that one is over. */
static void test_seen_in_time(void)
{
	cl_program p = opencl_build(source, NULL);
	cl_kernel k[2], await = clCreateKernel(p, "await", NULL);
	volatile int *go = calloc(1, sizeof(*go));
	cl_uint *at = calloc(1, sizeof(*at)), expected = 0;
	cl_event e;

	make(p, k, at);
	CL_OK(clSetKernelArgSVMPointer(await, 0, (const void *)go));
	alarm(60);
	for (int round = 0; round < 10; round++) {
		*go = 0;
		for (cl_uint i = 0; i < 20; i++)
			step(queue, k, i, &expected, i == 9 ? &e : NULL);
		launch(queue, await, NULL);
		step(queue, k, 20, &expected, NULL);
		CL_OK(clWaitForEvents(1, &e));
		CL_OK(clReleaseEvent(e));
		*go = 1;
		CL_OK(clFinish(queue));
		CU_ASSERT_EQUAL(*at, expected);
	}
	alarm(0);
	CL_OK(clReleaseKernel(k[0]));
	CL_OK(clReleaseKernel(k[1]));
	CL_OK(clReleaseKernel(await));
	CL_OK(clReleaseProgram(p));
	free((void *)go);
	free(at);
}

static void CL_CALLBACK freed(cl_mem m, void *count)
{
	(void)m;
	++*(int *)count;
}

/* What they hold is theirs until they are over, and nobody's then. */
static void test_holds(void)
{
	cl_program p = opencl_build(source, NULL);
	cl_kernel k = clCreateKernel(p, "times", NULL);
	static int count;

	for (cl_uint i = 0; i < 50; i++) {
		cl_mem m = clCreateBuffer(context, CL_MEM_READ_WRITE, 4096, NULL, NULL);

		CL_OK(clSetMemObjectDestructorCallback(m, freed, &count));
		CL_OK(clSetKernelArg(k, 0, sizeof(m), &m));
		CL_OK(clSetKernelArg(k, 1, sizeof(i), &i));
		launch(queue, k, NULL);
		CL_OK(clReleaseMemObject(m));
	}
	CL_OK(clReleaseKernel(k));
	CL_OK(clReleaseProgram(p));
	CL_OK(clFinish(queue));
	CU_ASSERT_EQUAL(count, 50);
}

/* Those that are sent together end together; what was over stays, and what comes after runs. */
static void test_fault(void)
{
	cl_program p = opencl_build(source, NULL);
	cl_kernel k[2], poke = clCreateKernel(p, "poke", NULL);
	cl_uint *at = calloc(1, sizeof(*at)), expected = 0, ignored = 0;
	cl_ulong bad = 8;

	make(p, k, at);
	CL_OK(clSetKernelArg(poke, 0, sizeof(bad), &bad));
	for (int round = 0; round < 3; round++) {
		for (cl_uint i = 0; i < 50; i++)
			step(queue, k, i, &expected, NULL);
		CL_OK(clFinish(queue));
		CU_ASSERT_EQUAL(*at, expected);
		for (cl_uint i = 0; i < 10; i++) {
			step(queue, k, i, &ignored, NULL);
			if (i == 5)
				launch(queue, poke, NULL);
		}
		CU_ASSERT_EQUAL(clFinish(queue), CL_OUT_OF_RESOURCES);
		CL_OK(clFinish(queue));
		expected = *at;
	}
	CL_OK(clReleaseKernel(k[0]));
	CL_OK(clReleaseKernel(k[1]));
	CL_OK(clReleaseKernel(poke));
	CL_OK(clReleaseProgram(p));
	free(at);
}

int main(void)
{
	static const struct opencl_test tests[] = {
		{ "in order, with events here and there", test_order },
		{ "from several threads", test_threads },
		{ "an event before a launch that waits", test_seen_in_time },
		{ "what launches hold", test_holds },
		{ "a device fault among them", test_fault },
	};

	return opencl_run("launches", tests, sizeof(tests) / sizeof(tests[0]));
}

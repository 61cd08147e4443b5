// SPDX-License-Identifier: MIT
/* Kernels on pointers of the process: heap, .data, .bss, stack, SVM; faults that cannot be. */
#include "opencl/common.h"

#include <sys/wait.h>
#include <unistd.h>

static const char source[] =
	"kernel void add(global int *p, int n) { size_t i = get_global_id(0); p[i] += n; }\n"
	"kernel void scopes(global atomic_int *p) {\n"
	"  atomic_fetch_add_explicit(p, 1, memory_order_relaxed, memory_scope_all_svm_devices); }\n"
	"struct node { global struct node *next; long value; };\n"
	"kernel void chase(global struct node *n, global long *sum) {\n"
	"  long s = 0; while (n) { s += n->value; n = n->next; } *sum = s; }\n"
	"kernel void poke(ulong address) { *(global int *)address = 1; }\n";

#define N 5000

static int in_data[N] = { 1, 2, 3 };
static int in_bss[N];

static void run_add(int *p, int first)
{
	cl_kernel k = opencl_kernel(source, "add");
	size_t n = N;
	int value = 7;

	CU_ASSERT_PTR_NOT_NULL_FATAL(k);
	CL_OK(clSetKernelArgSVMPointer(k, 0, p));
	CL_OK(clSetKernelArg(k, 1, sizeof(value), &value));
	CL_OK(clEnqueueNDRangeKernel(queue, k, 1, NULL, &n, NULL, 0, NULL, NULL));
	CL_OK(clFinish(queue));
	CU_ASSERT_EQUAL(p[0], first + 7);
	CU_ASSERT_EQUAL(p[N - 1], 7);
	CL_OK(clReleaseKernel(k));
}

static void test_pointers(void)
{
	int on_stack[N] = { 30 };
	int *heap = calloc(N, sizeof(int));
	int *svm = clSVMAlloc(context, CL_MEM_READ_WRITE, N * sizeof(int), 0);

	run_add(in_data, 1);
	run_add(in_bss, 0);
	run_add(on_stack, 30);
	run_add(heap, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(svm);
	memset(svm, 0, N * sizeof(int));
	run_add(svm, 0);
	clSVMFree(context, svm);
	free(heap);
}

struct node {
	struct node *next;
	long value;
};

static void test_list(void)
{
	struct node *head = NULL;
	cl_kernel k = opencl_kernel(source, "chase");
	long sum = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(k);
	for (int i = 0; i < 1000; i++) {
		struct node *n = malloc(sizeof(*n) + (size_t)(i % 7) * 100);

		n->next = head;
		n->value = i;
		head = n;
	}
	CL_OK(clSetKernelArgSVMPointer(k, 0, head));
	CL_OK(clSetKernelArgSVMPointer(k, 1, &sum));
	CL_OK(clEnqueueTask(queue, k, 0, NULL, NULL));
	CL_OK(clFinish(queue));
	CU_ASSERT_EQUAL(sum, 999 * 1000 / 2);
	while (head) {
		struct node *n = head;

		head = n->next;
		free(n);
	}
	CL_OK(clReleaseKernel(k));
}

static void test_svm_commands(void)
{
	char *a = clSVMAlloc(context, CL_MEM_READ_WRITE | CL_MEM_SVM_FINE_GRAIN_BUFFER, 1 << 16,
			     64);
	char b[256];
	int pattern = 0x01020304;
	void *list[1] = { a };
	cl_event e;
	cl_int status;
	cl_device_svm_capabilities caps;

	CL_OK(clGetDeviceInfo(device, CL_DEVICE_SVM_CAPABILITIES, sizeof(caps), &caps, NULL));
	CU_ASSERT(caps & CL_DEVICE_SVM_FINE_GRAIN_SYSTEM);
	CU_ASSERT_PTR_NOT_NULL_FATAL(a);
	CL_OK(clEnqueueSVMMemFill(queue, a, &pattern, 4, 1 << 16, 0, NULL, NULL));
	CL_OK(clEnqueueSVMMigrateMem(queue, 1, (const void **)list, NULL, 0, 0, NULL, NULL));
	CL_OK(clEnqueueSVMMap(queue, CL_TRUE, CL_MAP_READ, a, 1 << 16, 0, NULL, NULL));
	CU_ASSERT_EQUAL(a[65535], 1);
	CL_OK(clEnqueueSVMUnmap(queue, a, 0, NULL, NULL));
	CL_OK(clEnqueueSVMMemcpy(queue, CL_TRUE, b, a + 100, sizeof(b), 0, NULL, NULL));
	CU_ASSERT_EQUAL(b[0], 4);
	CU_ASSERT_EQUAL(clEnqueueSVMMemcpy(queue, CL_TRUE, a, a + 1, 8, 0, NULL, NULL),
			CL_MEM_COPY_OVERLAP);
	CU_ASSERT_EQUAL(clEnqueueSVMMemcpy(queue, CL_TRUE, a, b, SIZE_MAX, 0, NULL, NULL),
			CL_INVALID_VALUE);
	CU_ASSERT_EQUAL(clEnqueueSVMMap(queue, CL_TRUE,
					CL_MAP_READ | CL_MAP_WRITE_INVALIDATE_REGION, a, 64, 0,
					NULL, NULL),
			CL_INVALID_VALUE);
	CU_ASSERT_EQUAL(clEnqueueSVMMemFill(queue, a, &pattern, 3, 9, 0, NULL, NULL),
			CL_INVALID_VALUE);
	CL_OK(clEnqueueSVMFree(queue, 1, list, NULL, NULL, 0, NULL, &e));
	CL_OK(clWaitForEvents(1, &e));
	CL_OK(clGetEventInfo(e, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof(status), &status, NULL));
	CU_ASSERT_EQUAL(status, CL_COMPLETE);
	CL_OK(clReleaseEvent(e));
	CU_ASSERT_PTR_NULL(clSVMAlloc(context, 0, 0, 0));
	CU_ASSERT_PTR_NULL(clSVMAlloc(context, 0, 64, 3));
	CU_ASSERT_PTR_NULL(clSVMAlloc(context, CL_MEM_SVM_ATOMICS, 64, 0));
	clSVMFree(context, NULL);
}

static void test_scope(void)
{
	cl_program p = opencl_build(source, "-cl-std=CL3.0");
	cl_kernel k = p ? clCreateKernel(p, "scopes", NULL) : NULL;
	size_t n = 100;
	int counter = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(k);
	CL_OK(clSetKernelArgSVMPointer(k, 0, &counter));
	CL_OK(clEnqueueNDRangeKernel(queue, k, 1, NULL, &n, NULL, 0, NULL, NULL));
	CL_OK(clFinish(queue));
	CU_ASSERT_EQUAL(counter, 100);
	clReleaseKernel(k);
	clReleaseProgram(p);
}

static void fault_at(cl_kernel k, cl_ulong address)
{
	cl_int status = 0;
	cl_event e, marker;

	CL_OK(clSetKernelArg(k, 0, sizeof(address), &address));
	CL_OK(clEnqueueTask(queue, k, 0, NULL, &e));
	CL_OK(clEnqueueMarkerWithWaitList(queue, 1, &e, &marker));
	CU_ASSERT_EQUAL(clFinish(queue), CL_OUT_OF_RESOURCES);
	CL_OK(clGetEventInfo(e, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof(status), &status, NULL));
	CU_ASSERT_EQUAL(status, CL_OUT_OF_RESOURCES);
	CL_OK(clGetEventInfo(marker, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof(status), &status,
			     NULL));
	CU_ASSERT_EQUAL(status, CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST);
	CL_OK(clReleaseEvent(e));
	CL_OK(clReleaseEvent(marker));
}

/* Kernels made before the fault work on the engine after it, with nothing but launches between. */
static void test_fault_and_recovery(void)
{
	static const cl_ulong bad[] = { 0x100000000ul, 8, 0xffff800000000000ul };
	cl_kernel before = opencl_kernel(source, "add"), poke = opencl_kernel(source, "poke");
	int *p = calloc(N, sizeof(int));
	size_t n = N;
	int value = 5;

	CU_ASSERT_PTR_NOT_NULL_FATAL(before);
	CU_ASSERT_PTR_NOT_NULL_FATAL(poke);
	CL_OK(clSetKernelArgSVMPointer(before, 0, p));
	CL_OK(clSetKernelArg(before, 1, sizeof(value), &value));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fault_at(poke, bad[i]);
		CL_OK(clEnqueueNDRangeKernel(queue, before, 1, NULL, &n, NULL, 0, NULL, NULL));
		CL_OK(clFinish(queue));
		CU_ASSERT_EQUAL(p[N - 1], 5 * ((int)i + 1));
	}
	CL_OK(clReleaseKernel(before));
	CL_OK(clReleaseKernel(poke));
	free(p);
}

/* Who has heard of a failure by its event does not hear of it by the next call. */
static void test_fault_told_by_event(void)
{
	cl_kernel poke = opencl_kernel(source, "poke");
	cl_mem m = clCreateBuffer(context, 0, 64, NULL, NULL);
	cl_ulong address = 8;
	cl_int status = 0;
	char data[64];
	cl_event e;

	CL_OK(clSetKernelArg(poke, 0, sizeof(address), &address));
	CL_OK(clEnqueueTask(queue, poke, 0, NULL, &e));
	CU_ASSERT_EQUAL(clWaitForEvents(1, &e), CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST);
	CL_OK(clEnqueueReadBuffer(queue, m, CL_TRUE, 0, sizeof(data), data, 0, NULL, NULL));
	CL_OK(clFinish(queue));
	CL_OK(clReleaseEvent(e));
	/* Of two, one is still to be told. */
	CL_OK(clEnqueueTask(queue, poke, 0, NULL, NULL));
	CL_OK(clEnqueueTask(queue, poke, 0, NULL, &e));
	clWaitForEvents(1, &e);
	CL_OK(clGetEventInfo(e, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof(status), &status, NULL));
	CU_ASSERT_EQUAL(status, CL_OUT_OF_RESOURCES);
	CU_ASSERT_EQUAL(clFinish(queue), CL_OUT_OF_RESOURCES);
	CL_OK(clFinish(queue));
	CL_OK(clReleaseEvent(e));
	CL_OK(clReleaseMemObject(m));
	CL_OK(clReleaseKernel(poke));
}

/* The fault of one queue is told once, and not to another that had nothing under way. */
static void test_fault_of_another_queue(void)
{
	cl_program p = opencl_build(source, NULL);
	cl_kernel k = clCreateKernel(p, "add", NULL), poke = clCreateKernel(p, "poke", NULL);
	cl_command_queue other = clCreateCommandQueue(context, device, 0, NULL);
	int *at = calloc(N, sizeof(int)), value = 5;
	size_t n = N;

	CL_OK(clSetKernelArgSVMPointer(k, 0, at));
	CL_OK(clSetKernelArg(k, 1, sizeof(value), &value));
	for (int i = 0; i < 3; i++) {
		CL_OK(clEnqueueNDRangeKernel(other, k, 1, NULL, &n, NULL, 0, NULL, NULL));
		CL_OK(clFinish(other));
		if (!i)
			fault_at(poke, 8);
	}
	CU_ASSERT_EQUAL(at[N - 1], 15);
	CL_OK(clReleaseCommandQueue(other));
	CL_OK(clReleaseKernel(poke));
	CL_OK(clReleaseKernel(k));
	CL_OK(clReleaseProgram(p));
	free(at);
}

/* Not those of who started the test. */
static int count_sockets(void)
{
	char name[64], to[64];
	int n = 0;

	for (int fd = 0; fd < 1024; fd++) {
		ssize_t length;

		snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
		length = readlink(name, to, sizeof(to));
		n += length > 7 && !memcmp(to, "socket:", 7);
	}
	return n;
}

static int sockets_at_start;

static int in_child(void)
{
	cl_event e;
	cl_uint refs;

	if (clFinish(queue) != CL_INVALID_COMMAND_QUEUE)
		return 1;
	if (clEnqueueMarkerWithWaitList(queue, 0, NULL, &e) != CL_INVALID_COMMAND_QUEUE)
		return 2;
	if (clGetContextInfo(context, CL_CONTEXT_REFERENCE_COUNT, sizeof(refs), &refs, NULL) !=
	    CL_INVALID_CONTEXT)
		return 3;
	return count_sockets() == sockets_at_start ? 0 : 4;
}

/* The parent's objects are errors in the child, and never hang. */
static void test_fork(void)
{
	int status = -1;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid)
		_exit(in_child());
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT(WIFEXITED(status));
	CU_ASSERT_EQUAL(WEXITSTATUS(status), 0);
	run_add(memset(in_bss, 0, sizeof(in_bss)), 0);
}

int main(void)
{
	static const struct opencl_test tests[] = {
		{ "pointers of heap, data, bss, stack, SVM", test_pointers },
		{ "a linked list of malloc() nodes", test_list },
		{ "SVM commands", test_svm_commands },
		{ "memory_scope_all_svm_devices", test_scope },
		{ "device fault, then recovery", test_fault_and_recovery },
		{ "a device fault that its event told", test_fault_told_by_event },
		{ "a device fault of another queue", test_fault_of_another_queue },
		{ "a forked child gets errors", test_fork },
	};

	sockets_at_start = count_sockets();
	return opencl_run("svm", tests, sizeof(tests) / sizeof(tests[0]));
}

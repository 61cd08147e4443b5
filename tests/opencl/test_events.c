// SPDX-License-Identifier: MIT
/* Queues and events: order, wait lists, user events, callbacks, profiling. */
#include "opencl/common.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "patience.h"

static cl_int status_of(cl_event e)
{
	cl_int status = 99;

	CL_OK(clGetEventInfo(e, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof(status), &status, NULL));
	return status;
}

static void test_queues(void)
{
	const cl_queue_properties bad[] = { 0x7777, 1, 0 };
	cl_command_queue q;
	cl_uint refs;
	cl_int err;

	CU_ASSERT_PTR_NULL(clCreateCommandQueue(context, device,
						CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, &err));
	CU_ASSERT_EQUAL(err, CL_INVALID_QUEUE_PROPERTIES);
	CU_ASSERT_PTR_NULL(clCreateCommandQueue(context, device, 1u << 20, &err));
	CU_ASSERT_EQUAL(err, CL_INVALID_VALUE);
	CU_ASSERT_PTR_NULL(clCreateCommandQueueWithProperties(context, device, bad, &err));
	CU_ASSERT_EQUAL(err, CL_INVALID_VALUE);
	q = clCreateCommandQueue(context, device, 0, &err);
	CU_ASSERT_EQUAL(err, CL_SUCCESS);
	CL_OK(clRetainCommandQueue(q));
	CL_OK(clGetCommandQueueInfo(q, CL_QUEUE_REFERENCE_COUNT, sizeof(refs), &refs, NULL));
	CU_ASSERT_EQUAL(refs, 2);
	CL_OK(clReleaseCommandQueue(q));
	CL_OK(clFlush(q));
	CL_OK(clReleaseCommandQueue(q));
	/* Workers are used again. */
	for (int i = 0; i < 500; i++) {
		q = clCreateCommandQueue(context, device, 0, &err);
		CU_ASSERT_EQUAL_FATAL(err, CL_SUCCESS);
		clEnqueueBarrierWithWaitList(q, 0, NULL, NULL);
		clFinish(q);
		clReleaseCommandQueue(q);
	}
}

static void test_user_event(void)
{
	int from = 7, to = 0;
	cl_event u = clCreateUserEvent(context, NULL), copy, other;
	cl_command_queue q = clCreateCommandQueue(context, device, 0, NULL);

	CU_ASSERT_EQUAL(status_of(u), CL_SUBMITTED);
	CL_OK(clEnqueueSVMMemcpy(queue, CL_FALSE, &to, &from, sizeof(to), 1, &u, &copy));
	CL_OK(clEnqueueMarkerWithWaitList(q, 1, &copy, &other));
	usleep(20000);
	CU_ASSERT_EQUAL(to, 0);
	CU_ASSERT(status_of(copy) > CL_COMPLETE);
	CU_ASSERT(status_of(other) > CL_COMPLETE);
	CL_OK(clSetUserEventStatus(u, CL_COMPLETE));
	CU_ASSERT_EQUAL(clSetUserEventStatus(u, CL_COMPLETE), CL_INVALID_OPERATION);
	CU_ASSERT_EQUAL(clSetUserEventStatus(copy, CL_COMPLETE), CL_INVALID_EVENT);
	CL_OK(clWaitForEvents(1, &other));
	CU_ASSERT_EQUAL(to, 7);
	CL_OK(clReleaseEvent(u));
	CL_OK(clReleaseEvent(copy));
	CL_OK(clReleaseEvent(other));
	CL_OK(clReleaseCommandQueue(q));
}

static void *waits(void *event)
{
	cl_event e = event;

	clWaitForEvents(1, &e);
	return NULL;
}

static void *finishes(void *unused)
{
	clFinish(queue);
	return unused;
}

/* Threads that are cancelled while they wait leave nothing locked. */
static void test_cancelled(void)
{
	cl_event u = clCreateUserEvent(context, NULL);
	pthread_t t[2];

	CL_OK(clEnqueueMarkerWithWaitList(queue, 1, &u, NULL));
	pthread_create(&t[0], NULL, waits, u);
	pthread_create(&t[1], NULL, finishes, NULL);
	usleep(20000);
	alarm((unsigned int)patient(30));
	for (int i = 0; i < 2; i++)
		pthread_cancel(t[i]);
	usleep(20000);
	CL_OK(clSetUserEventStatus(u, CL_COMPLETE));
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	CL_OK(clFinish(queue));
	alarm(0);
	CL_OK(clReleaseEvent(u));
}

static void *builds(void *source)
{
	const char *text = source;
	cl_program p = clCreateProgramWithSource(context, 1, &text, NULL, NULL);

	pthread_testcancel();
	clBuildProgram(p, 0, NULL, "-DONCE", NULL, NULL);
	return NULL;
}

/* Also one that waits for the engine's compiler. */
static void test_cancelled_build(void)
{
	static char text[1 << 16];
	cl_uint units = 0;
	pthread_t t;
	size_t n = 0;

	for (int i = 0; i < 200; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n,
				      "kernel void k%d(global int *p) { p[%d] += %d; }\n", i, i, i);
	alarm(60);
	for (int i = 0; i < 5; i++) {
		pthread_create(&t, NULL, builds, text);
		usleep(20000);
		pthread_cancel(t);
		pthread_join(t, NULL);
		CL_OK(clGetDeviceInfo(device, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof(units), &units,
				      NULL));
	}
	alarm(0);
}

static void store(cl_kernel k, cl_int value, cl_event *event)
{
	size_t one = 1;

	CL_OK(clSetKernelArg(k, 1, sizeof(value), &value));
	CL_OK(clEnqueueNDRangeKernel(queue, k, 1, NULL, &one, NULL, 0, NULL, event));
}

static int reaches(volatile int *at, int value)
{
	for (int i = 0; i < patient(5000) && *at != value; i++)
		usleep(1000);
	return *at == value;
}

/* Who waits for each launch runs it himself; one that nobody waits for runs none the less. */
static void test_nobody_waits(void)
{
	cl_kernel k = opencl_kernel("kernel void store(global int *p, int v) { *p = v; }", "store");
	int *at = calloc(1, sizeof(*at));
	cl_event e;

	CL_OK(clSetKernelArgSVMPointer(k, 0, at));
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 50; i++) {
			store(k, i, round % 2 ? &e : NULL);
			if (round % 2) {
				CL_OK(clWaitForEvents(1, &e));
				CL_OK(clReleaseEvent(e));
			} else {
				CL_OK(clFinish(queue));
			}
			CU_ASSERT_EQUAL(*at, i);
		}
		store(k, 1000 + round, NULL);
		CU_ASSERT(reaches(at, 1000 + round));
	}
	for (int i = 0; i < 50; i++) {
		store(k, i, NULL);
		CL_OK(clFinish(queue));
	}
	store(k, 2000, NULL);
	CL_OK(clFlush(queue));
	CU_ASSERT(reaches(at, 2000));
	CL_OK(clReleaseKernel(k));
	free(at);
}

static void test_failed_wait(void)
{
	cl_event u = clCreateUserEvent(context, NULL), m;

	CL_OK(clEnqueueMarkerWithWaitList(queue, 1, &u, &m));
	CL_OK(clSetUserEventStatus(u, -5));
	CU_ASSERT_EQUAL(clWaitForEvents(1, &m), CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST);
	CU_ASSERT_EQUAL(status_of(m), CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST);
	CL_OK(clFinish(queue));
	CL_OK(clReleaseEvent(u));
	CL_OK(clReleaseEvent(m));
}

static volatile int seen[4];

static void CL_CALLBACK on_event(cl_event e, cl_int status, void *data)
{
	(void)e;
	*(volatile int *)data = status == CL_COMPLETE ? 1 : status;
}

static void test_callbacks(void)
{
	cl_event u = clCreateUserEvent(context, NULL), m;

	CL_OK(clEnqueueMarkerWithWaitList(queue, 1, &u, &m));
	CL_OK(clSetEventCallback(m, CL_COMPLETE, on_event, (void *)&seen[0]));
	CL_OK(clSetEventCallback(u, CL_COMPLETE, on_event, (void *)&seen[1]));
	CU_ASSERT_EQUAL(clSetEventCallback(m, 17, on_event, NULL), CL_INVALID_VALUE);
	CU_ASSERT_EQUAL(clSetEventCallback(m, CL_COMPLETE, NULL, NULL), CL_INVALID_VALUE);
	CU_ASSERT_EQUAL(seen[0], 0);
	CL_OK(clSetUserEventStatus(u, -3));
	CU_ASSERT(reaches(&seen[1], -3));
	CL_OK(clFinish(queue));
	CU_ASSERT(reaches(&seen[0], CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST));
	CL_OK(clSetEventCallback(m, CL_COMPLETE, on_event, (void *)&seen[2]));
	CU_ASSERT(reaches(&seen[2], CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST));
	CL_OK(clReleaseEvent(u));
	CL_OK(clReleaseEvent(m));
}

static pthread_mutex_t own_lock = PTHREAD_MUTEX_INITIALIZER;
static volatile int with_lock;

static void CL_CALLBACK takes_lock(cl_event e, cl_int status, void *unused)
{
	(void)e, (void)status, (void)unused;
	pthread_mutex_lock(&own_lock);
	with_lock++;
	pthread_mutex_unlock(&own_lock);
}

/* Who waits for an event, or for a queue, may hold a lock that a callback takes. */
static void test_lock_in_callback(void)
{
	cl_kernel k = opencl_kernel("kernel void store(global int *p, int v) { *p = v; }", "store");
	int *at = calloc(1, sizeof(*at));
	cl_event e;

	CL_OK(clSetKernelArgSVMPointer(k, 0, at));
	with_lock = 0;
	alarm(60);
	for (int i = 0; i < 200; i++) {
		pthread_mutex_lock(&own_lock);
		store(k, i, &e);
		CL_OK(clSetEventCallback(e, CL_COMPLETE, takes_lock, NULL));
		if (i % 2) {
			CL_OK(clFinish(queue));
		} else {
			CL_OK(clWaitForEvents(1, &e));
		}
		pthread_mutex_unlock(&own_lock);
		CL_OK(clReleaseEvent(e));
	}
	CU_ASSERT(reaches(&with_lock, 200));
	alarm(0);
	CL_OK(clReleaseKernel(k));
	free(at);
}

static void CL_CALLBACK lets_go(cl_event e, cl_int status, void *unused)
{
	(void)status, (void)unused;
	CL_OK(clReleaseEvent(e));
}

static void CL_CALLBACK asks(cl_event e, cl_int status, void *data)
{
	cl_int got = 99;

	clGetEventInfo(e, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof(got), &got, NULL);
	*(volatile int *)data = got == status ? 1 : -1;
}

/* The event is there until the last callback was called. */
static void test_release_in_callback(void)
{
	cl_event u = clCreateUserEvent(context, NULL);

	seen[0] = 0;
	CL_OK(clSetEventCallback(u, CL_COMPLETE, lets_go, NULL));
	CL_OK(clSetEventCallback(u, CL_COMPLETE, asks, (void *)&seen[0]));
	CL_OK(clSetUserEventStatus(u, CL_COMPLETE));
	CU_ASSERT(reaches(&seen[0], 1));
}

/* Whoever has an event can take back the queue that it let go. */
static void test_queue_taken_back(void)
{
	cl_kernel k = opencl_kernel("kernel void store(global int *p, int v) { *p = v; }", "store");
	int *at = calloc(1, sizeof(*at));
	size_t one = 1;

	CL_OK(clSetKernelArgSVMPointer(k, 0, at));
	for (int i = 1; i <= 100; i++) {
		cl_command_queue q = clCreateCommandQueue(context, device, 0, NULL), same;
		cl_event e;

		CL_OK(clSetKernelArg(k, 1, sizeof(i), &i));
		CL_OK(clEnqueueNDRangeKernel(q, k, 1, NULL, &one, NULL, 0, NULL, &e));
		CL_OK(clReleaseCommandQueue(q));
		CL_OK(clGetEventInfo(e, CL_EVENT_COMMAND_QUEUE, sizeof(same), &same, NULL));
		CL_OK(clRetainCommandQueue(same));
		for (int n = 0; n < 20; n++)
			CL_OK(clEnqueueNDRangeKernel(same, k, 1, NULL, &one, NULL, 0, NULL, NULL));
		CL_OK(clFinish(same));
		CU_ASSERT_EQUAL(*at, i);
		CL_OK(clReleaseEvent(e));
		CL_OK(clReleaseCommandQueue(same));
	}
	CL_OK(clReleaseKernel(k));
	free(at);
}

static void *protected;

static void on_segv(int sig)
{
	(void)sig;
	mprotect(protected, 4096, PROT_READ | PROT_WRITE);
}

/* As garbage collectors do: the store of a command, too, is the application's to handle. */
static void test_write_protected(void)
{
	struct sigaction sa = { .sa_handler = on_segv }, old;
	char data[64] = { 5 };
	cl_mem m = clCreateBuffer(context, CL_MEM_COPY_HOST_PTR, sizeof(data), data, NULL);

	protected = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	sigaction(SIGSEGV, &sa, &old);
	CL_OK(clEnqueueReadBuffer(queue, m, CL_TRUE, 0, sizeof(data), protected, 0, NULL, NULL));
	sigaction(SIGSEGV, &old, NULL);
	CU_ASSERT_EQUAL(*(char *)protected, 5);
	munmap(protected, 4096);
	CL_OK(clReleaseMemObject(m));
}

static void CL_CALLBACK tells_stack(cl_event e, cl_int status, void *data)
{
	pthread_attr_t attr;
	void *low = NULL;
	size_t bytes;

	(void)e, (void)status;
	if (!pthread_getattr_np(pthread_self(), &attr)) {
		pthread_attr_getstack(&attr, &low, &bytes);
		pthread_attr_destroy(&attr);
	}
	*(void *volatile *)data = low;
}

static int cannot_be_touched(const void *at)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long start, end;
	char line[512], mode[8];
	int found = 0;

	while (maps && !found && fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %7s", &start, &end, mode) == 3)
			found = start <= (unsigned long)at && (unsigned long)at < end &&
				!strncmp(mode, "---", 3);
	if (maps)
		fclose(maps);
	return found;
}

/* A callback that needs too much of it ends there, and not in somebody's memory. */
static void test_stack_guard(void)
{
	cl_event u = clCreateUserEvent(context, NULL), m;
	void *volatile low = NULL;

	CL_OK(clEnqueueMarkerWithWaitList(queue, 1, &u, &m));
	CL_OK(clSetEventCallback(m, CL_COMPLETE, tells_stack, (void *)&low));
	CL_OK(clSetUserEventStatus(u, CL_COMPLETE));
	for (int i = 0; i < 5000 && !low; i++)
		usleep(1000);
	CU_ASSERT(cannot_be_touched(low));
	CL_OK(clReleaseEvent(u));
	CL_OK(clReleaseEvent(m));
}

static void test_profiling(void)
{
	cl_command_queue q = clCreateCommandQueue(context, device, 0, NULL);
	cl_kernel k = opencl_kernel("kernel void f(global int *p) { p[get_global_id(0)] = 1; }",
				    "f");
	static int out[4096];
	size_t n = 4096;
	cl_ulong t[4];
	cl_event e;

	CL_OK(clSetKernelArgSVMPointer(k, 0, out));
	CL_OK(clEnqueueNDRangeKernel(queue, k, 1, NULL, &n, NULL, 0, NULL, &e));
	CL_OK(clWaitForEvents(1, &e));
	for (cl_uint i = 0; i < 4; i++)
		CL_OK(clGetEventProfilingInfo(e, CL_PROFILING_COMMAND_QUEUED + i, sizeof(t[i]),
					      &t[i], NULL));
	CU_ASSERT(t[0] && t[0] <= t[1] && t[1] <= t[2] && t[2] < t[3]);
	CL_OK(clReleaseEvent(e));
	CL_OK(clEnqueueMarkerWithWaitList(q, 0, NULL, &e));
	CL_OK(clWaitForEvents(1, &e));
	CU_ASSERT_EQUAL(clGetEventProfilingInfo(e, CL_PROFILING_COMMAND_END, sizeof(t[0]), t, NULL),
			CL_PROFILING_INFO_NOT_AVAILABLE);
	CL_OK(clReleaseEvent(e));
	CL_OK(clReleaseKernel(k));
	CL_OK(clReleaseCommandQueue(q));
}

static void test_bad_lists(void)
{
	cl_event none = NULL;
	cl_context c = clCreateContext(NULL, 1, &device, NULL, NULL, NULL);
	cl_event u = clCreateUserEvent(c, NULL);

	CU_ASSERT_EQUAL(clEnqueueMarkerWithWaitList(queue, 1, NULL, NULL),
			CL_INVALID_EVENT_WAIT_LIST);
	CU_ASSERT_EQUAL(clEnqueueMarkerWithWaitList(queue, 0, &u, NULL),
			CL_INVALID_EVENT_WAIT_LIST);
	CU_ASSERT_EQUAL(clEnqueueMarkerWithWaitList(queue, 1, &none, NULL),
			CL_INVALID_EVENT_WAIT_LIST);
	CU_ASSERT_EQUAL(clEnqueueMarkerWithWaitList(queue, 1, &u, NULL), CL_INVALID_CONTEXT);
	CU_ASSERT_EQUAL(clWaitForEvents(0, NULL), CL_INVALID_VALUE);
	CL_OK(clReleaseEvent(u));
	CL_OK(clReleaseContext(c));
}

int main(void)
{
	static const struct opencl_test tests[] = {
		{ "queues", test_queues },
		{ "user events and wait lists", test_user_event },
		{ "a failed event in a wait list", test_failed_wait },
		{ "threads that are cancelled", test_cancelled },
		{ "threads that are cancelled in a build", test_cancelled_build },
		{ "a launch that nobody waits for", test_nobody_waits },
		{ "callbacks", test_callbacks },
		{ "a callback that takes a lock", test_lock_in_callback },
		{ "a callback that releases the event", test_release_in_callback },
		{ "a queue that is taken back", test_queue_taken_back },
		{ "a store to a page that is write-protected", test_write_protected },
		{ "the stack of callbacks has an end", test_stack_guard },
		{ "profiling", test_profiling },
		{ "bad wait lists", test_bad_lists },
	};

	return opencl_run("events", tests, sizeof(tests) / sizeof(tests[0]));
}

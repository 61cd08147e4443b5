// SPDX-License-Identifier: MIT
/*
 * OpenCL on the platform HMM against PoCL's own, both through the loader in one program;
 * and what a device pays to touch what the system has.
 */
#define CL_TARGET_OPENCL_VERSION 200
#include "bench.h"
#include "pagers.h"

#include <CL/cl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ELEMENTS (8ul << 20)
#define BYTES (ELEMENTS * sizeof(float))
#define FAULTS 256

static const char source[] =
	"kernel void nothing(void) {}\n"
	"kernel void add(global const float *a, global const float *b, global float *c)\n"
	"{ size_t i = get_global_id(0); c[i] = a[i] + b[i]; }\n"
	"kernel void touch(global const ulong *at, ulong n)\n"
	"{ for (ulong i = 0; i < n; i++) *(volatile global uchar *)at[i]; }\n";

struct platform {
	cl_context context;
	cl_device_id device;
	cl_command_queue queue;
	cl_kernel nothing, add, touch;
};

static void check(cl_int err, const char *what)
{
	if (!err)
		return;
	fprintf(stderr, "%s: OpenCL error %d\n", what, err);
	exit(1);
}

static cl_platform_id find(const char *wanted)
{
	cl_platform_id p[16];
	char name[128];
	cl_uint n = 0;

	check(clGetPlatformIDs(16, p, &n), "clGetPlatformIDs");
	for (cl_uint i = 0; i < n && i < 16; i++)
		if (!clGetPlatformInfo(p[i], CL_PLATFORM_NAME, sizeof(name), name, NULL) &&
		    strstr(name, wanted))
			return p[i];
	fprintf(stderr, "no OpenCL platform %s; start me by tests/bench/run.sh\n", wanted);
	exit(1);
}

static cl_kernel kernel(cl_program program, const char *name)
{
	cl_int err;
	cl_kernel k = clCreateKernel(program, name, &err);

	check(err, name);
	return k;
}

static void open_platform(struct platform *p, const char *name)
{
	const char *text = source;
	cl_program program;
	cl_int err;

	check(clGetDeviceIDs(find(name), CL_DEVICE_TYPE_ALL, 1, &p->device, NULL), name);
	p->context = clCreateContext(NULL, 1, &p->device, NULL, NULL, &err);
	check(err, "clCreateContext");
	p->queue = clCreateCommandQueueWithProperties(p->context, p->device, NULL, &err);
	check(err, "clCreateCommandQueue");
	program = clCreateProgramWithSource(p->context, 1, &text, NULL, &err);
	check(err, "clCreateProgramWithSource");
	check(clBuildProgram(program, 1, &p->device, "", NULL, NULL), "clBuildProgram");
	p->nothing = kernel(program, "nothing");
	p->add = kernel(program, "add");
	p->touch = kernel(program, "touch");
}

static void run(struct platform *p, cl_kernel k, size_t items)
{
	size_t local = items < 64 ? 1 : 64;

	check(clEnqueueNDRangeKernel(p->queue, k, 1, NULL, &items, &local, 0, NULL, NULL),
	      "clEnqueueNDRangeKernel");
	check(clFinish(p->queue), "clFinish");
}

#define LAUNCHES 400

static double launch_time(struct platform *p)
{
	static double took[LAUNCHES];

	for (int i = 0; i < LAUNCHES; i++) {
		double t = bench_now();

		run(p, p->nothing, 1);
		took[i] = bench_now() - t;
	}
	return bench_quantile(took, LAUNCHES, 0.5);
}

/* One clFinish() at the end. */
static double batch_time(struct platform *p)
{
	size_t one = 1;
	double t = bench_now();

	for (int i = 0; i < LAUNCHES; i++)
		check(clEnqueueNDRangeKernel(p->queue, p->nothing, 1, NULL, &one, &one, 0, NULL,
					     NULL),
		      "clEnqueueNDRangeKernel");
	check(clFinish(p->queue), "clFinish");
	return (bench_now() - t) / LAUNCHES;
}

static void launches(struct platform *hmm, struct platform *pocl, int rounds)
{
	struct bench_pair one = { 0 }, batch = { 0 };

	for (int i = -1; i < rounds; i++) {
		double a = launch_time(hmm), b = launch_time(pocl);
		double c = batch_time(hmm), d = batch_time(pocl);

		if (i < 0)
			continue;
		bench_add(&one, a, b);
		bench_add(&batch, c, d);
	}
	bench_row(BENCH_TIME, 2, "launch of an empty kernel, and clFinish", "PoCL", &one);
	bench_row(BENCH_TIME, 0, "launch of an empty kernel, 400 to a clFinish", "PoCL", &batch);
}

static void set_pointers(struct platform *p, float *const v[3])
{
	for (cl_uint i = 0; i < 3; i++)
		check(clSetKernelArgSVMPointer(p->add, i, v[i]), "clSetKernelArgSVMPointer");
}

static double timed_add(struct platform *p)
{
	double t = bench_now();

	run(p, p->add, ELEMENTS);
	return bench_now() - t;
}

static void resident(struct platform *hmm, struct platform *pocl, int rounds)
{
	struct bench_pair p = { 0 };
	float *v[2][3];

	for (int side = 0; side < 2; side++) {
		for (int i = 0; i < 3; i++)
			v[side][i] = (float *)bench_pages(BYTES, false);
		set_pointers(side ? pocl : hmm, v[side]);
	}
	for (int i = -2; i < rounds; i++) {
		double a = timed_add(hmm), b = timed_add(pocl);

		if (i >= 0)
			bench_add(&p, a, b);
	}
	bench_row(BENCH_TIME, 0, "kernel on data that is there already, 3 x 32 MiB", "PoCL", &p);
	for (int i = 0; i < 6; i++)
		bench_pages_free((char *)v[i / 3][i % 3], BYTES);
}

static void look_at(const float *v)
{
	for (size_t i = 0; i < ELEMENTS; i += BENCH_PAGE / sizeof(*v))
		bench_need(v[i] == 2 * v[0] / 2, "a wrong sum");
}

/* Memory as malloc() gives it: two inputs, filled, and an output that nobody has touched. */
static void fresh(float *v[3])
{
	for (int i = 0; i < 3; i++)
		v[i] = (float *)bench_pages(BYTES, false);
	madvise(v[2], BYTES, MADV_DONTNEED);
}

static double once_shared(struct platform *p)
{
	float *v[3];
	double t;

	fresh(v);
	t = bench_now();
	set_pointers(p, v);
	run(p, p->add, ELEMENTS);
	look_at(v[2]);
	t = bench_now() - t;
	for (int i = 0; i < 3; i++)
		bench_pages_free((char *)v[i], BYTES);
	return t;
}

static double once_copied(struct platform *p)
{
	cl_mem m[3];
	float *v[3];
	cl_int err = 0;
	double t;

	fresh(v);
	t = bench_now();
	for (cl_uint i = 0; i < 3; i++) {
		m[i] = clCreateBuffer(p->context, CL_MEM_READ_WRITE, BYTES, NULL, &err);
		check(err, "clCreateBuffer");
		check(clSetKernelArg(p->add, i, sizeof(m[i]), &m[i]), "clSetKernelArg");
	}
	for (int i = 0; i < 2; i++)
		check(clEnqueueWriteBuffer(p->queue, m[i], CL_FALSE, 0, BYTES, v[i], 0, NULL, NULL),
		      "clEnqueueWriteBuffer");
	run(p, p->add, ELEMENTS);
	check(clEnqueueReadBuffer(p->queue, m[2], CL_TRUE, 0, BYTES, v[2], 0, NULL, NULL),
	      "clEnqueueReadBuffer");
	look_at(v[2]);
	t = bench_now() - t;
	for (int i = 0; i < 3; i++) {
		clReleaseMemObject(m[i]);
		bench_pages_free((char *)v[i], BYTES);
	}
	return t;
}

static void once(struct platform *hmm, struct platform *pocl, int rounds)
{
	struct bench_pair p = { 0 };

	for (int i = -1; i < rounds; i++) {
		double a = once_shared(hmm), b = once_copied(pocl);

		if (i >= 0)
			bench_add(&p, a, b);
	}
	bench_row(BENCH_TIME, 1, "program on shared pointers, data used once, 3 x 32 MiB",
		  "PoCL with Write/ReadBuffer", &p);
}

/* Islands of @pages: a fault's window ends with its mapping. */
static char *islands(unsigned int pages)
{
	size_t step = (pages + 1) * BENCH_PAGE;
	char *p = bench_pages((FAULTS * step + BENCH_HUGE - 1) & ~(BENCH_HUGE - 1), false);

	for (size_t i = 0; i < FAULTS; i++)
		bench_need(!mprotect(p + i * step + pages * BENCH_PAGE, BENCH_PAGE, PROT_NONE),
			   "mprotect");
	return p;
}

static double touch_on_device(struct platform *p, uint64_t *at)
{
	cl_ulong n = FAULTS;
	double t;

	check(clSetKernelArgSVMPointer(p->touch, 0, at), "clSetKernelArgSVMPointer");
	check(clSetKernelArg(p->touch, 1, sizeof(n), &n), "clSetKernelArg");
	t = bench_now();
	run(p, p->touch, 1);
	return bench_now() - t;
}

static double touch_by_cpu(struct fenced_pager *pager, const unsigned int *order)
{
	double t = bench_now();

	for (unsigned int i = 0; i < FAULTS; i++)
		(void)*(volatile char *)(fenced_pager_range(pager) + order[i] * BENCH_PAGE);
	return bench_now() - t;
}

static void device_faults(struct platform *hmm, struct fenced_pager *pager, unsigned int pages,
			  int rounds)
{
	struct bench_pair whole = { 0 }, page = { 0 };
	char *p = islands(pages), what[128];
	unsigned int order[FAULTS];
	uint64_t *at = (uint64_t *)bench_pages(BENCH_HUGE, false);

	bench_shuffle(order, FAULTS);
	for (unsigned int i = 0; i < FAULTS; i++)
		at[i] = (uintptr_t)p + order[i] * (pages + 1) * BENCH_PAGE;
	for (int i = -1; i < rounds; i++) {
		double ours, theirs;

		for (size_t k = 0; k < FAULTS; k++)
			for (unsigned int j = 0; j < pages; j++)
				(void)*(volatile char *)(p + (k * (pages + 1) + j) * BENCH_PAGE);
		fenced_pager_reset(pager);
		ours = touch_on_device(hmm, at); /* and one launch */
		theirs = touch_by_cpu(pager, order);
		if (i < 0)
			continue;
		bench_add(&whole, ours / FAULTS, theirs / FAULTS);
		bench_add(&page, ours / FAULTS / pages, theirs / FAULTS);
	}
	if (pages == 1)
		bench_row(BENCH_TIME, 0, "device fault of one page", "pager with a fence", &whole);
	snprintf(what, sizeof(what), "device fault, a page of a window of %u", pages);
	if (pages > 1)
		bench_row(BENCH_TIME, 0, what, "pager with a fence", &page);
	bench_pages_free(p,
			 (FAULTS * (pages + 1) * BENCH_PAGE + BENCH_HUGE - 1) & ~(BENCH_HUGE - 1));
	bench_pages_free((char *)at, BENCH_HUGE);
}

int main(int argc, char **argv)
{
	bool quick = argc > 1 && !strcmp(argv[1], "--quick");
	struct fenced_pager *pager = fenced_pager_start(FAULTS * BENCH_PAGE);
	struct platform hmm, pocl;

	open_platform(&pocl, "Portable");
	open_platform(&hmm, "HMM");
	launches(&hmm, &pocl, quick ? 7 : 21);
	resident(&hmm, &pocl, quick ? 7 : 21);
	once(&hmm, &pocl, quick ? 5 : 15);
	for (unsigned int pages = 1; pages <= 16; pages *= 4)
		device_faults(&hmm, pager, pages, quick ? 5 : 21);
	return 0;
}

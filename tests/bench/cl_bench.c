// SPDX-License-Identifier: MIT
/* OpenCL on the platform HMM against PoCL's own, both through the loader in one program. */
#include "bench.h"
#include "bench_cl.h"

#include <string.h>
#include <sys/mman.h>

#define ELEMENTS (8ul << 20)
#define BYTES (ELEMENTS * sizeof(float))

static const char source[] =
	"kernel void nothing(void) {}\n"
	"kernel void add(global const float *a, global const float *b, global float *c)\n"
	"{ size_t i = get_global_id(0); c[i] = a[i] + b[i]; }\n";

struct platform {
	struct bench_cl cl;
	cl_kernel nothing, add;
};

static void open_platform(struct platform *p, const char *name)
{
	bench_cl_open(&p->cl, name, source);
	p->nothing = bench_cl_kernel(&p->cl, "nothing");
	p->add = bench_cl_kernel(&p->cl, "add");
}

#define LAUNCHES 400

static double launch_time(struct platform *p)
{
	static double took[LAUNCHES];

	for (int i = 0; i < LAUNCHES; i++) {
		double t = bench_now();

		bench_cl_run(&p->cl, p->nothing, 1);
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
		bench_cl_check(clEnqueueNDRangeKernel(p->cl.queue, p->nothing, 1, NULL, &one, &one,
						      0, NULL, NULL),
			       "clEnqueueNDRangeKernel");
	bench_cl_check(clFinish(p->cl.queue), "clFinish");
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
		bench_cl_pointer(p->add, i, v[i]);
}

static double timed_add(struct platform *p)
{
	double t = bench_now();

	bench_cl_run(&p->cl, p->add, ELEMENTS);
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
	bench_cl_run(&p->cl, p->add, ELEMENTS);
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
		m[i] = clCreateBuffer(p->cl.context, CL_MEM_READ_WRITE, BYTES, NULL, &err);
		bench_cl_check(err, "clCreateBuffer");
		bench_cl_check(clSetKernelArg(p->add, i, sizeof(m[i]), &m[i]), "clSetKernelArg");
	}
	for (int i = 0; i < 2; i++)
		bench_cl_check(clEnqueueWriteBuffer(p->cl.queue, m[i], CL_FALSE, 0, BYTES, v[i], 0,
						    NULL, NULL),
			       "clEnqueueWriteBuffer");
	bench_cl_run(&p->cl, p->add, ELEMENTS);
	bench_cl_check(
		clEnqueueReadBuffer(p->cl.queue, m[2], CL_TRUE, 0, BYTES, v[2], 0, NULL, NULL),
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

int main(int argc, char **argv)
{
	bool quick = argc > 1 && !strcmp(argv[1], "--quick");
	struct platform hmm, pocl;

	open_platform(&pocl, BENCH_POCL);
	open_platform(&hmm, BENCH_HMM);
	launches(&hmm, &pocl, quick ? 7 : 21);
	resident(&hmm, &pocl, quick ? 7 : 21);
	once(&hmm, &pocl, quick ? 5 : 15);
	return 0;
}

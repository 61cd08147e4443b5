// SPDX-License-Identifier: MIT
/*
 * What a device pays to touch what the system has: each touch by the clock of the CPU that the
 * kernel runs on, by how many pages come along with it.
 */
#include "bench.h"
#include "bench_cl.h"
#include "pagers.h"

#include <hmm/hmm.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FAULTS 256

/* The clock that kernels and the CPU have in common; OpenCL C has none. */
static const char source[] =
	"ulong now(void)\n"
	"{\n"
	"#ifdef __x86_64__\n"
	"	uint low, high;\n"
	"	__asm__ volatile(\"rdtsc\" : \"=a\"(low), \"=d\"(high) : : \"memory\");\n"
	"	return (ulong)high << 32 | low;\n"
	"#else\n"
	"	ulong now;\n"
	"	__asm__ volatile(\"isb; mrs %0, cntvct_el0\" : \"=r\"(now) : : \"memory\");\n"
	"	return now;\n"
	"#endif\n"
	"}\n"
	"kernel void clock(global ulong *to) { *to = now(); }\n"
	"kernel void touch(global const ulong *at, ulong n, global ulong *took)\n"
	"{\n"
	"	for (ulong i = 0; i < n; i++) {\n"
	"		volatile global uchar *p = (volatile global uchar *)at[i];\n"
	"		ulong start = now();\n"
	"		*p;\n"
	"		took[i] = now() - start;\n"
	"	}\n"
	"}\n";

struct device {
	struct bench_cl cl;
	struct hmm *hmm;
	cl_kernel clock, touch;
	cl_ulong *at, *took;
	double ticks; /* a microsecond */
};

static double clock_of(struct device *d)
{
	bench_cl_pointer(d->clock, 0, d->took);
	bench_cl_run(&d->cl, d->clock, 1);
	return (double)*d->took;
}

static void find_ticks(struct device *d)
{
	double first, t;

	clock_of(d); /* the first launch takes longer */
	first = clock_of(d);
	t = bench_now();
	usleep(100000);
	d->ticks = (clock_of(d) - first) / (bench_now() - t);
}

static void open_device(struct device *d)
{
	bench_cl_open(&d->cl, BENCH_HMM, source);
	bench_need(!hmm_open(&d->hmm, NULL), "hmm_open");
	d->clock = bench_cl_kernel(&d->cl, "clock");
	d->touch = bench_cl_kernel(&d->cl, "touch");
	d->at = (cl_ulong *)bench_pages(BENCH_HUGE, false);
	d->took = (cl_ulong *)bench_pages(BENCH_HUGE, false);
	find_ticks(d);
	bench_cl_pointer(d->touch, 0, d->at);
	bench_cl_value(d->touch, 1, FAULTS);
	bench_cl_pointer(d->touch, 2, d->took);
}

/* Islands of @pages, as far apart, none across a border of 2 MiB: a window ends with its mapping. */
static char *islands(struct device *d, unsigned int pages, size_t bytes)
{
	char *p = bench_pages(bytes, false);

	for (char *at = p; at < p + bytes; at += 2 * pages * BENCH_PAGE) {
		bench_need(!mprotect(at + pages * BENCH_PAGE, BENCH_PAGE, PROT_NONE), "mprotect");
		/* No other window is as large at the first fault. */
		if (pages > 16)
			bench_need(!hmm_advise(d->hmm, at, pages * BENCH_PAGE,
					       HMM_ADVICE_SEQUENTIAL, 0),
				   "hmm_advise");
	}
	return p;
}

static void touch_on_device(struct device *d, double *took)
{
	bench_cl_run(&d->cl, d->touch, 1);
	for (unsigned int i = 0; i < FAULTS; i++)
		took[i] = (double)d->took[i] / d->ticks;
}

static void touch_by_cpu(struct fenced_pager *pager, const unsigned int *order, double *took)
{
	for (unsigned int i = 0; i < FAULTS; i++) {
		double t = bench_now();

		(void)*(volatile char *)(fenced_pager_range(pager) + order[i] * BENCH_PAGE);
		took[i] = bench_now() - t;
	}
}

static double sum(const double *v)
{
	double total = 0;

	for (unsigned int i = 0; i < FAULTS; i++)
		total += v[i];
	return total;
}

struct result {
	struct bench_pair p50, p99, page;
};

static void measure(struct device *d, struct fenced_pager *pager, const unsigned int *order,
		    unsigned int pages, struct result *r)
{
	static double ours[FAULTS], theirs[FAULTS];

	fenced_pager_reset(pager);
	touch_on_device(d, ours);
	touch_by_cpu(pager, order, theirs);
	bench_add(&r->page, sum(ours) / pages, sum(theirs));
	bench_add(&r->p50, bench_quantile(ours, FAULTS, 0.5), bench_quantile(theirs, FAULTS, 0.5));
	bench_add(&r->p99, bench_quantile(ours, FAULTS, 0.99),
		  bench_quantile(theirs, FAULTS, 0.99));
}

static void print(unsigned int pages, const struct result *r)
{
	static const char against[] = "pager with a fence, a page";
	char what[128], window[32];

	snprintf(window, sizeof(window), "window of %u page%s", pages, pages > 1 ? "s" : "");
	snprintf(what, sizeof(what), "device fault, %s, p50", window);
	bench_row(BENCH_TIME, 0, what, against, &r->p50);
	snprintf(what, sizeof(what), "device fault, %s, p99", window);
	bench_row(BENCH_TIME, 0, what, against, &r->p99);
	snprintf(what, sizeof(what), "device fault, %s, mean cost a page", window);
	bench_row(BENCH_TIME, 0, what, against, &r->page);
}

static void device_faults(struct device *d, struct fenced_pager *pager, unsigned int pages,
			  int rounds)
{
	size_t step = 2 * pages * BENCH_PAGE, bytes = FAULTS * step;
	char *p = islands(d, pages, bytes);
	unsigned int order[FAULTS];
	struct result r = { 0 };

	bench_shuffle(order, FAULTS);
	for (unsigned int i = 0; i < FAULTS; i++)
		d->at[i] = (uintptr_t)p + order[i] * step;
	for (int i = -1; i < rounds; i++) {
		if (!i)
			memset(&r, 0, sizeof(r));
		for (size_t k = 0; k < FAULTS; k++)
			bench_need(hmm_migrate(d->hmm, p + k * step, pages * BENCH_PAGE, HMM_SYSTEM,
					       0) == (long)pages,
				   "hmm_migrate");
		measure(d, pager, order, pages, &r);
	}
	print(pages, &r);
	bench_pages_free(p, bytes);
}

int main(int argc, char **argv)
{
	bool quick = argc > 1 && !strcmp(argv[1], "--quick");
	struct fenced_pager *pager = fenced_pager_start(FAULTS * BENCH_PAGE);
	struct device d;

	open_device(&d);
	for (unsigned int pages = 1; pages <= 64; pages *= 4)
		device_faults(&d, pager, pages, quick ? 5 : 21);
	hmm_close(d.hmm);
	return 0;
}

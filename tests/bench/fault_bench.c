// SPDX-License-Identifier: MIT
/* What the CPU pays to touch what a device has: one page, and a whole range. */
#include "bench.h"
#include "pagers.h"

#include <hmm/hmm.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAULTS 256 /* a thread and round */
#define STRIDE 64  /* pages from one to the next that is away */
#define THREADS 4
#define RANGE ((size_t)THREADS * FAULTS * STRIDE * BENCH_PAGE)
#define SCAN (64ul << 20)

struct toucher {
	pthread_t thread;
	char *first;
	int cpu;
	bool store;
	double took[FAULTS];
};

static unsigned int order[FAULTS];

static void *touch(void *arg)
{
	struct toucher *t = arg;

	bench_pin(t->cpu);
	for (unsigned int i = 0; i < FAULTS; i++) {
		volatile char *at = t->first + order[i] * STRIDE * BENCH_PAGE;
		double start = bench_now();

		if (t->store)
			*at = 3;
		else
			(void)*at;
		t->took[i] = bench_now() - start;
	}
	return NULL;
}

static void touch_all(char *range, unsigned int threads, int cpu, bool store, double *took)
{
	static struct toucher t[THREADS];

	for (unsigned int i = 0; i < threads; i++) {
		t[i].first = range + (size_t)i * FAULTS * STRIDE * BENCH_PAGE;
		t[i].store = store;
		t[i].cpu = threads > 1 ? (int)(i % bench_cpus()) : cpu;
		bench_need(!pthread_create(&t[i].thread, NULL, touch, &t[i]), "thread");
	}
	for (unsigned int i = 0; i < threads; i++) {
		pthread_join(t[i].thread, NULL);
		memcpy(took + i * FAULTS, t[i].took, sizeof(t[i].took));
	}
}

static void send_away(struct hmm *h, char *range, unsigned int threads)
{
	for (unsigned int i = 0; i < threads * FAULTS; i++)
		bench_need(hmm_migrate(h, range + (size_t)i * STRIDE * BENCH_PAGE, 1, 0, 0) == 1,
			   "hmm_migrate");
}

static void one_page(struct hmm *h, struct fenced_pager *pager, char *range, unsigned int threads,
		     int cpu, bool store, int rounds)
{
	const char *kind = store ? "store" : "load";
	static double ours[THREADS * FAULTS], theirs[THREADS * FAULTS];
	struct bench_pair p50 = { 0 }, p99 = { 0 };
	unsigned int n = threads * FAULTS;
	char what[128], who[64];

	for (int i = -1; i < rounds; i++) {
		send_away(h, range, threads);
		fenced_pager_reset(pager);
		touch_all(range, threads, cpu, store, ours);
		touch_all(fenced_pager_range(pager), threads, cpu, store, theirs);
		if (i < 0)
			continue;
		bench_add(&p50, bench_quantile(ours, n, 0.5), bench_quantile(theirs, n, 0.5));
		bench_add(&p99, bench_quantile(ours, n, 0.99), bench_quantile(theirs, n, 0.99));
	}
	if (threads > 1)
		snprintf(who, sizeof(who), "%u threads", threads);
	else
		snprintf(who, sizeof(who), "1 thread on CPU %d", cpu);
	snprintf(what, sizeof(what), "CPU fault of a device page, %s, p50, %s", kind, who);
	bench_row(BENCH_TIME, 1.5, what, "pager with a fence", &p50);
	snprintf(what, sizeof(what), "CPU fault of a device page, %s, p99, %s", kind, who);
	bench_row(BENCH_TIME, 0, what, "pager with a fence", &p99);
}

static volatile unsigned long sink; /* or the sums would be left out */

static double scan(const char *p)
{
	const unsigned long *w = (const unsigned long *)p;
	unsigned long sum = 0;
	double t = bench_now();

	for (size_t i = 0; i < SCAN / sizeof(*w); i++)
		sum += w[i];
	sink += sum;
	return bench_now() - t;
}

struct scans {
	struct bench_pair copy, plain, segv;
};

static double copy(const char *from)
{
	static char *to;
	double t;

	if (!to)
		to = bench_pages(SCAN, false);
	t = bench_now();
	memcpy(to, from, SCAN);
	return bench_now() - t;
}

static void scan_round(struct hmm *h, struct plain_pager *plain, char *p, char *here,
		       struct scans *s)
{
	double ours;

	bench_need(hmm_migrate(h, p, SCAN, 0, 0) == SCAN / BENCH_PAGE, "hmm_migrate");
	plain_pager_reset(plain);
	segv_pager_reset();
	ours = scan(p);
	bench_add(&s->copy, ours, copy(here));
	bench_add(&s->plain, ours, scan(plain_pager_range(plain)));
	bench_add(&s->segv, ours, scan(segv_pager_range()));
}

static void scans(struct hmm *h, struct plain_pager *plain, bool huge, int rounds)
{
	char *p = bench_pages(SCAN, huge), *here = bench_pages(SCAN, huge), what[128];
	struct scans s = { 0 };

	for (int i = -1; i < rounds; i++) {
		if (!i)
			memset(&s, 0, sizeof(s));
		scan_round(h, plain, p, here, &s);
	}
	snprintf(what, sizeof(what), "CPU reads 64 MiB that a device has, %s",
		 huge ? "huge pages" : "4 KiB pages");
	bench_row(BENCH_SPEED, 0.5, what, "memcpy", &s.copy);
	bench_row(BENCH_SPEED, 5, what, "plain userfaultfd pager", &s.plain);
	bench_row(BENCH_SPEED, 0, what, "SIGSEGV and mprotect", &s.segv);
	bench_pages_free(p, SCAN);
	bench_pages_free(here, SCAN);
}

int main(int argc, char **argv)
{
	bool quick = argc > 1 && !strcmp(argv[1], "--quick");
	struct hmm_open_opts o = { .sz = sizeof(o), .device_bytes = 512ull << 20 };
	struct fenced_pager *fenced = fenced_pager_start(RANGE);
	struct plain_pager *plain = plain_pager_start(SCAN);
	int rounds = quick ? 7 : 31;
	struct hmm *h;
	char *range;

	segv_pager_start(SCAN);
	bench_shuffle(order, FAULTS);
	bench_need(!hmm_open(&h, &o), "hmm_open");
	range = bench_pages(RANGE, false);
	for (unsigned int cpu = 0; cpu < bench_cpus() && cpu < THREADS; cpu++)
		one_page(h, fenced, range, 1, (int)cpu, false, rounds);
	for (unsigned int n = 2; n <= THREADS; n *= 2)
		one_page(h, fenced, range, n, -1, false, rounds);
	for (unsigned int n = 1; n <= THREADS; n *= 2)
		one_page(h, fenced, range, n, 0, true, rounds);
	scans(h, plain, true, quick ? 5 : 15);
	scans(h, plain, false, quick ? 5 : 15);
	hmm_close(h);
	return 0;
}

// SPDX-License-Identifier: MIT
/*
 * What the CPU pays to touch one page that a device has: by threads, by where they run, and
 * beside others that migrate.
 */
#include "bench.h"
#include "pagers.h"

#include <hmm/hmm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAULTS 256 /* a thread and round */
#define STRIDE 64  /* pages from one to the next that is away */
#define THREADS 4
#define MOVERS 2
#define RANGE ((size_t)THREADS * FAULTS * STRIDE * BENCH_PAGE)

struct toucher {
	pthread_t thread;
	char *first;
	int cpu;
	bool store;
	double took[FAULTS];
};

/* What is measured: who touches, and what goes on beside it. */
struct scene {
	unsigned int threads;
	int cpu; /* of one thread */
	bool store;
	unsigned int movers;
	double mark;
};

static struct hmm *h;
static struct fenced_pager *fenced;
static struct plain_pager *plain;
static char *range;
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

static void touch_all(char *first, const struct scene *s, double *took)
{
	static struct toucher t[THREADS];

	for (unsigned int i = 0; i < s->threads; i++) {
		t[i].first = first + (size_t)i * FAULTS * STRIDE * BENCH_PAGE;
		t[i].store = s->store;
		t[i].cpu = s->threads > 1 ? (int)(i % bench_cpus()) : s->cpu;
		bench_need(!pthread_create(&t[i].thread, NULL, touch, &t[i]), "thread");
	}
	for (unsigned int i = 0; i < s->threads; i++) {
		pthread_join(t[i].thread, NULL);
		memcpy(took + i * FAULTS, t[i].took, sizeof(t[i].took));
	}
}

static void send_away(unsigned int threads)
{
	for (unsigned int i = 0; i < threads * FAULTS; i++)
		bench_need(hmm_migrate(h, range + (size_t)i * STRIDE * BENCH_PAGE, 1, 0, 0) == 1,
			   "hmm_migrate");
}

static _Atomic bool stop;

/* Memory of its own, 2 MiB to the device and home, as fast as that goes. */
static void *move(void *arg)
{
	char *p = bench_pages(BENCH_HUGE, false);

	while (!atomic_load(&stop)) {
		hmm_migrate(h, p, BENCH_HUGE, 0, 0);
		hmm_migrate(h, p, BENCH_HUGE, HMM_SYSTEM, 0);
	}
	bench_pages_free(p, BENCH_HUGE);
	return arg;
}

struct result {
	struct bench_pair p50, p99, plain, segv;
};

static void touch_round(const struct scene *s, struct result *r)
{
	static double ours[THREADS * FAULTS], theirs[THREADS * FAULTS];
	unsigned int n = s->threads * FAULTS;
	double p50;

	send_away(s->threads);
	fenced_pager_reset(fenced);
	touch_all(range, s, ours);
	touch_all(fenced_pager_range(fenced), s, theirs);
	p50 = bench_quantile(ours, n, 0.5);
	bench_add(&r->p50, p50, bench_quantile(theirs, n, 0.5));
	bench_add(&r->p99, bench_quantile(ours, n, 0.99), bench_quantile(theirs, n, 0.99));
	if (s->movers)
		return;
	plain_pager_reset(plain);
	touch_all(plain_pager_range(plain), s, theirs);
	bench_add(&r->plain, p50, bench_quantile(theirs, n, 0.5));
	segv_pager_reset();
	touch_all(segv_pager_range(), s, theirs);
	bench_add(&r->segv, p50, bench_quantile(theirs, n, 0.5));
}

static void print(const struct scene *s, const struct result *r)
{
	char what[128], who[64];

	if (s->threads > 1)
		snprintf(who, sizeof(who), "%u threads", s->threads);
	else
		snprintf(who, sizeof(who), "1 thread on CPU %d", s->cpu);
	if (s->movers)
		snprintf(who + strlen(who), sizeof(who) - strlen(who), ", %u migrating", s->movers);
	snprintf(what, sizeof(what), "CPU %s of a device page, p50, %s",
		 s->store ? "store" : "load", who);
	bench_row(BENCH_TIME, s->mark, what, "pager with a fence", &r->p50);
	if (!s->movers) {
		bench_row(BENCH_TIME, 0, what, "plain userfaultfd pager", &r->plain);
		bench_row(BENCH_TIME, 0, what, "SIGSEGV and mprotect", &r->segv);
	}
	snprintf(what, sizeof(what), "CPU %s of a device page, p99, %s",
		 s->store ? "store" : "load", who);
	bench_row(BENCH_TIME, 0, what, "pager with a fence", &r->p99);
}

static void one_page(const struct scene *s, int rounds)
{
	pthread_t mover[MOVERS];
	struct result r = { 0 };

	atomic_store(&stop, false);
	for (unsigned int i = 0; i < s->movers; i++)
		bench_need(!pthread_create(&mover[i], NULL, move, NULL), "thread");
	for (int i = -1; i < rounds; i++) {
		if (!i)
			memset(&r, 0, sizeof(r));
		touch_round(s, &r);
	}
	atomic_store(&stop, true);
	for (unsigned int i = 0; i < s->movers; i++)
		pthread_join(mover[i], NULL);
	print(s, &r);
}

int main(int argc, char **argv)
{
	bool quick = argc > 1 && !strcmp(argv[1], "--quick");
	struct hmm_open_opts o = { .sz = sizeof(o), .device_bytes = 512ull << 20 };
	int rounds = quick ? 7 : 31;

	fenced = fenced_pager_start(RANGE);
	plain = plain_pager_start(RANGE);
	segv_pager_start(RANGE);
	bench_shuffle(order, FAULTS);
	bench_need(!hmm_open(&h, &o), "hmm_open");
	range = bench_pages(RANGE, false);
	for (int cpu = 0; cpu < (int)bench_cpus() && cpu < THREADS; cpu++)
		one_page(&(struct scene){ .threads = 1, .cpu = cpu, .mark = 1.5 }, rounds);
	for (unsigned int n = 2; n <= THREADS; n *= 2)
		one_page(&(struct scene){ .threads = n, .mark = 1.5 }, rounds);
	for (unsigned int n = 1; n <= THREADS; n *= 2)
		one_page(&(struct scene){ .threads = n, .store = true, .mark = 1.5 }, rounds);
	for (unsigned int n = 1; n <= MOVERS; n++)
		for (int cpu = 0; cpu < (int)bench_cpus() && cpu < THREADS; cpu++)
			one_page(&(struct scene){ .threads = 1, .cpu = cpu, .movers = n }, rounds);
	hmm_close(h);
	return 0;
}

// SPDX-License-Identifier: MIT
#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

double bench_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

double bench_scan(const char *p, size_t bytes)
{
	static volatile unsigned long sink; /* or the sums would be left out */
	const unsigned long *w = (const unsigned long *)p;
	unsigned long sum = 0;
	double t = bench_now();

	for (size_t i = 0; i < bytes / sizeof(*w); i++)
		sum += w[i];
	sink += sum;
	return bench_now() - t;
}

void bench_need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_quantile(double *v, unsigned int n, double share)
{
	qsort(v, n, sizeof(*v), by_value);
	return v[(unsigned int)(share * (n - 1) + 0.5)];
}

void bench_add(struct bench_pair *p, double ours, double reference)
{
	bench_need(p->n < BENCH_ROUNDS, "too many rounds");
	p->ours[p->n] = ours;
	p->reference[p->n++] = reference;
}

void bench_row(enum bench_kind kind, double mark, const char *what, const char *against,
	       const struct bench_pair *p)
{
	double ratio[BENCH_ROUNDS], ours[BENCH_ROUNDS], reference[BENCH_ROUNDS], best;

	for (unsigned int i = 0; i < p->n; i++) {
		ours[i] = p->ours[i];
		reference[i] = p->reference[i];
		ratio[i] = kind == BENCH_SPEED ? reference[i] / ours[i] : ours[i] / reference[i];
	}
	best = bench_quantile(ours, p->n, 0) / bench_quantile(reference, p->n, 0);
	printf("%s\t%s\t%s\t%g\t%.3f\t%.3f\t%.3f\t%.3f\t%.2f\t%.2f\n", what, against,
	       kind == BENCH_SPEED ? ">=" : "<=", mark, bench_quantile(ratio, p->n, 0.5),
	       bench_quantile(ratio, p->n, 0.25), bench_quantile(ratio, p->n, 0.75),
	       kind == BENCH_SPEED ? 1 / best : best, bench_quantile(ours, p->n, 0.5),
	       bench_quantile(reference, p->n, 0.5));
	fflush(stdout);
}

char *bench_pages(size_t bytes, bool huge)
{
	char *p = mmap(NULL, bytes + BENCH_HUGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *at;

	bench_need(p != MAP_FAILED, "mmap");
	at = (char *)(((uintptr_t)p + BENCH_HUGE - 1) & ~(BENCH_HUGE - 1));
	/* What is left of it is what bench_pages_free() gets. */
	if (at > p)
		munmap(p, (size_t)(at - p));
	munmap(at + bytes, BENCH_HUGE - (size_t)(at - p));
	madvise(at, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	memset(at, 1, bytes);
	return at;
}

void bench_pages_free(char *p, size_t bytes)
{
	munmap(p, bytes);
}

unsigned int bench_cpus(void)
{
	cpu_set_t all;

	return sched_getaffinity(0, sizeof(all), &all) ? 1 : (unsigned int)CPU_COUNT(&all);
}

/* As the main thread was allowed at the start: a thread inherits its maker's mask. */
static cpu_set_t allowed;

static void __attribute__((constructor)) note_allowed(void)
{
	sched_getaffinity(0, sizeof(allowed), &allowed);
}

void bench_pin(int nth)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	for (int cpu = 0; nth >= 0 && cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed) || nth--)
			continue;
		CPU_SET(cpu, &one);
		pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
		return;
	}
	pthread_setaffinity_np(pthread_self(), sizeof(allowed), &allowed);
}

void bench_shuffle(unsigned int *order, unsigned int n)
{
	uint32_t seed = 12345;

	for (unsigned int i = 0; i < n; i++)
		order[i] = i;
	for (unsigned int i = n; i > 1; i--) {
		unsigned int j, t;

		seed = seed * 1664525u + 1013904223u;
		j = (unsigned int)(((uint64_t)seed * i) >> 32);
		t = order[i - 1];
		order[i - 1] = order[j];
		order[j] = t;
	}
}

// SPDX-License-Identifier: MIT
/* hmm_migrate() against memcpy() of the same bytes in the same run; medians of the rounds. */
#include <hmm/hmm.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define ROUNDS 9
#define HUGE (2ul << 20)

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v)
{
	qsort(v, ROUNDS, sizeof(*v), by_value);
	return v[ROUNDS / 2];
}

static char *pages(size_t bytes, int advice)
{
	char *p = mmap(NULL, bytes + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);

	if (p == MAP_FAILED)
		exit(1);
	p = (char *)(((unsigned long)p + HUGE - 1) & ~(HUGE - 1));
	madvise(p, bytes, advice);
	memset(p, 1, bytes);
	return p;
}

static void measure(struct hmm *h, size_t bytes, int advice, const char *kind)
{
	double out[ROUNDS], home[ROUNDS], copy[ROUNDS], t;
	char *p = pages(bytes, advice), *q = pages(bytes, advice), *r = pages(bytes, advice);

	/* The first round makes the frames that the others recycle. */
	for (int i = -1; i < ROUNDS; i++) {
		double a, b, c;

		t = now();
		hmm_migrate(h, p, bytes, 0, 0);
		a = now() - t;
		t = now();
		hmm_migrate(h, p, bytes, HMM_SYSTEM, 0);
		b = now() - t;
		t = now();
		memcpy(q, r, bytes);
		c = now() - t;
		if (i >= 0) {
			out[i] = a;
			home[i] = b;
			copy[i] = c;
		}
	}
	t = median(copy);
	printf("%6zu MiB, %-10s memcpy %9.0f us; to the device %9.0f us (%.2f of memcpy's speed), "
	       "home %9.0f us (%.2f)\n",
	       bytes >> 20, kind, t, median(out), t / median(out), median(home),
	       t / median(home));
}

int main(void)
{
	struct hmm_open_opts o = { .sz = sizeof(o), .device_bytes = 1280ull << 20 };
	struct hmm *h;

	if (hmm_open(&h, &o))
		return 1;
	for (size_t mib = 2; mib <= 1024; mib = mib == 2 ? 64 : mib * 16) {
		measure(h, mib << 20, MADV_HUGEPAGE, "huge pages");
		measure(h, mib << 20, MADV_NOHUGEPAGE, "4K pages");
	}
	hmm_close(h);
	return 0;
}

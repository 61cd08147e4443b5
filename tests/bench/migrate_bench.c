// SPDX-License-Identifier: MIT
/* hmm_migrate() against memcpy() of the same bytes. */
#include "bench.h"

#include <hmm/hmm.h>
#include <stdio.h>
#include <string.h>

struct size {
	size_t mib;
	double huge_out, huge_home, small; /* marks; 0: none */
};

static const struct size sizes[] = {
	{ 2, 0.8, 0.4, 0 },
	{ 64, 1.3, 1.3, 0.8 },
	{ 1024, 1.3, 1.3, 0.6 },
};

static double timed(struct hmm *h, char *p, size_t bytes, int target)
{
	double t = bench_now();
	long n = hmm_migrate(h, p, bytes, target, 0);

	t = bench_now() - t;
	bench_need(n == (long)(bytes / BENCH_PAGE), "hmm_migrate");
	return t;
}

/* From device to device, against the way by the system. */
static void measure_across(struct hmm *h, const struct size *s, bool huge, int rounds)
{
	size_t bytes = s->mib << 20;
	char *p = bench_pages(bytes, huge), what[128];
	struct bench_pair across = { 0 };

	for (int i = -1; i < rounds; i++) {
		double a, b;

		timed(h, p, bytes, 0);
		a = timed(h, p, bytes, 1);
		b = timed(h, p, bytes, HMM_SYSTEM) + timed(h, p, bytes, 0);
		if (i >= 0)
			bench_add(&across, a, b);
	}
	snprintf(what, sizeof(what), "hmm_migrate %zu MiB of %s to another device", s->mib,
		 huge ? "huge pages" : "4 KiB pages");
	bench_row(BENCH_SPEED, 0, what, "home and out again", &across);
	bench_pages_free(p, bytes);
}

static void measure(struct hmm *h, const struct size *s, bool huge, int rounds)
{
	size_t bytes = s->mib << 20;
	char *p = bench_pages(bytes, huge), *q = bench_pages(bytes, huge);
	char *r = bench_pages(bytes, huge), what[128];
	struct bench_pair out = { 0 }, home = { 0 };

	/* The first round makes the frames that the others recycle. */
	for (int i = -1; i < rounds; i++) {
		double a, b, c = bench_now();

		memcpy(q, r, bytes);
		c = bench_now() - c;
		a = timed(h, p, bytes, 0);
		b = timed(h, p, bytes, HMM_SYSTEM);
		if (i < 0)
			continue;
		bench_add(&out, a, c);
		bench_add(&home, b, c);
	}
	snprintf(what, sizeof(what), "hmm_migrate %zu MiB of %s to the device", s->mib,
		 huge ? "huge pages" : "4 KiB pages");
	bench_row(BENCH_SPEED, huge ? s->huge_out : s->small, what, "memcpy", &out);
	snprintf(what, sizeof(what), "hmm_migrate %zu MiB of %s home", s->mib,
		 huge ? "huge pages" : "4 KiB pages");
	bench_row(BENCH_SPEED, huge ? s->huge_home : s->small, what, "memcpy", &home);
	bench_pages_free(p, bytes);
	bench_pages_free(q, bytes);
	bench_pages_free(r, bytes);
}

int main(int argc, char **argv)
{
	bool quick = argc > 1 && !strcmp(argv[1], "--quick");
	struct hmm_open_opts o = { .sz = sizeof(o), .devices = 2, .device_bytes = 1280ull << 20 };
	struct hmm *h;

	bench_need(!hmm_open(&h, &o), "hmm_open");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		int rounds = sizes[i].mib < 1024 ? (quick ? 15 : 41) : quick ? 3 : 11;

		measure(h, &sizes[i], true, rounds);
		measure(h, &sizes[i], false, rounds);
		if (sizes[i].mib < 1024) { /* both devices have frames of it */
			measure_across(h, &sizes[i], true, rounds);
			measure_across(h, &sizes[i], false, rounds);
		}
	}
	hmm_close(h);
	return 0;
}

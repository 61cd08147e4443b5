// SPDX-License-Identifier: MIT
/* What the CPU pays to read a range that a device has, from its beginning to its end. */
#include "bench.h"
#include "pagers.h"

#include <hmm/hmm.h>
#include <stdio.h>
#include <string.h>

#define SCAN (64ul << 20)

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
	ours = bench_scan(p, SCAN);
	bench_add(&s->copy, ours, copy(here));
	bench_add(&s->plain, ours, bench_scan(plain_pager_range(plain), SCAN));
	bench_add(&s->segv, ours, bench_scan(segv_pager_range(), SCAN));
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
	struct plain_pager *plain = plain_pager_start(SCAN);
	struct hmm *h;

	segv_pager_start(SCAN);
	bench_need(!hmm_open(&h, &o), "hmm_open");
	scans(h, plain, true, quick ? 5 : 15);
	scans(h, plain, false, quick ? 5 : 15);
	hmm_close(h);
	return 0;
}

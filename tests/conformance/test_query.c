// SPDX-License-Identifier: MIT
/* What hmm_query() and the counters say agrees with what hmm_migrate() returned. */
#include "conformance/conf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void every_state(void)
{
	char *p = map_pages(8 * PAGE, 0);
	struct hmm_page_status s[8];
	static const int want[] = { HMM_NOT_POPULATED, HMM_SYSTEM, 0, 1,
				    HMM_NOT_POPULATED, HMM_SYSTEM, 1, 0 };

	for (int i = 0; i < 8; i++) {
		if (want[i] != HMM_NOT_POPULATED)
			p[i * PAGE] = 1;
		if (want[i] >= 0)
			CU_ASSERT_EQUAL(hmm_migrate(h, p + i * PAGE, 1, want[i], 0), 1);
	}
	memset(s, 0x55, sizeof(s));
	CU_ASSERT_EQUAL(hmm_query(h, p, 8 * PAGE, s), 8);
	for (int i = 0; i < 8; i++) {
		CU_ASSERT_EQUAL(s[i].location, want[i]);
		CU_ASSERT_EQUAL(s[i].node >= 0, want[i] == HMM_SYSTEM);
		CU_ASSERT_EQUAL(s[i].reserved, 0);
		CU_ASSERT_EQUAL(s[i].flags & ~(HMM_PAGE_DIRTY), 0);
	}
	/* Two bytes across a boundary are two pages, and no entry more is written. */
	memset(s, 0x55, sizeof(s));
	CU_ASSERT_EQUAL(hmm_query(h, p + 2 * PAGE - 1, 2, s), 2);
	CU_ASSERT(s[0].location == HMM_SYSTEM && s[1].location == 0);
	CU_ASSERT_EQUAL(s[2].location, 0x55555555);
	/* To look is not to touch. */
	CU_ASSERT_EQUAL(where(p), HMM_NOT_POPULATED);
	CU_ASSERT_EQUAL(where(p + 3 * PAGE), 1);
	munmap(p, 8 * PAGE);
}

static void bad_ranges(void)
{
	char *p = map_pages(PAGE, 1);
	struct hmm_page_status s;

	CU_ASSERT_EQUAL(hmm_query(h, p, SIZE_MAX, &s), -EINVAL);
	CU_ASSERT_EQUAL(hmm_query(h, p, SIZE_MAX - (size_t)p + 1, &s), -EINVAL);
	CU_ASSERT_EQUAL(hmm_query(h, p, 0, &s), -EINVAL);
	CU_ASSERT_EQUAL(hmm_query(NULL, p, 1, &s), -EINVAL);
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p, p, SIZE_MAX), -EINVAL);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p, p, SIZE_MAX), -EINVAL);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p, p, 0), -EINVAL);
	CU_ASSERT_EQUAL(hmm_device_write(h, 2, p, p, 1), -EINVAL);
	CU_ASSERT_EQUAL(hmm_device_write(h, HMM_SYSTEM, p, p, 1), -EINVAL);
	munmap(p, PAGE);
}

/* More than the device holds: the count is of what is there when it returns. */
static void too_large(void)
{
	size_t n = 3 * options.device_bytes, pages = n / PAGE;
	struct hmm_page_status *s = malloc(pages * sizeof(*s));
	struct hmm_device_info info;
	char *p = map_pages(n, 1);
	long on = 0, moved = hmm_migrate(h, p, n, 0, 0);

	CU_ASSERT_EQUAL(hmm_query(h, p, n, s), (int)pages);
	for (size_t i = 0; i < pages; i++)
		on += s[i].location == 0;
	if (moved != on)
		printf("(returned %ld, has %ld) ", moved, on);
	CU_ASSERT_EQUAL(moved, on);
	CU_ASSERT(on > 0 && on <= PAGES(options.device_bytes));
	CU_ASSERT_EQUAL(hmm_device_info(h, 0, &info), 0);
	CU_ASSERT_EQUAL(info.resident, (uint64_t)on * PAGE);
	CU_ASSERT(all_bytes(p, n, 1));
	munmap(p, n);
	free(s);
}

static void already_there(void)
{
	struct hmm_stats a = { .sz = sizeof(a) }, b = { .sz = sizeof(b) };
	char *p = map_pages(MIB, 1);

	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), PAGES(MIB));
	hmm_stats(h, -1, &a);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), PAGES(MIB));
	hmm_stats(h, -1, &b);
	CU_ASSERT_EQUAL(b.pages_to_device, a.pages_to_device);
	CU_ASSERT_EQUAL(b.pages_to_system, a.pages_to_system);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, HMM_SYSTEM, 0), PAGES(MIB));
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, HMM_SYSTEM, 0), PAGES(MIB));
	munmap(p, MIB);
}

static void counters(void)
{
	struct hmm_stats a = { .sz = sizeof(a) }, b = a, sum = a;
	struct {
		uint64_t sz, first;
		uint64_t guard;
	} small = { .sz = 16, .guard = 42 };
	struct hmm_device_info info;
	char *p = map_pages(MIB, 1), c;

	hmm_migrate(h, p, MIB / 2, 0, 0);
	hmm_migrate(h, p + MIB / 2, MIB / 2, 1, 0);
	CU_ASSERT_EQUAL(hmm_stats(h, 0, &a), 0);
	CU_ASSERT_EQUAL(hmm_stats(h, 1, &b), 0);
	CU_ASSERT_EQUAL(hmm_stats(h, -1, &sum), 0);
	CU_ASSERT_EQUAL(sum.pages_to_device, a.pages_to_device + b.pages_to_device);
	CU_ASSERT_EQUAL(sum.resident_pages, a.resident_pages + b.resident_pages);
	CU_ASSERT_EQUAL(sum.resident_pages, (uint64_t)PAGES(MIB));
	CU_ASSERT_EQUAL(hmm_device_info(h, 1, &info), 0);
	CU_ASSERT_EQUAL(info.resident, b.resident_pages * PAGE);
	CU_ASSERT_STRING_EQUAL(info.backend, options.backend ? options.backend : "emulated");
	/* A caller of an older library gets the fields that it has room for. */
	CU_ASSERT_EQUAL(hmm_stats(h, -1, (struct hmm_stats *)(void *)&small), 0);
	CU_ASSERT_EQUAL(small.first, sum.pages_to_device);
	CU_ASSERT_EQUAL(small.guard, 42);
	/* A device's own fault is counted as one. */
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p + MIB / 2, &c, 1), 1);
	CU_ASSERT_EQUAL(hmm_stats(h, 0, &b), 0);
	CU_ASSERT(b.device_faults > a.device_faults);
	munmap(p, MIB);
	for (int i = 0; i < patient(1000) && !hmm_stats(h, -1, &sum) && sum.resident_pages; i++)
		usleep(1000); /* the device hears of it a moment later */
	CU_ASSERT_EQUAL(sum.resident_pages, 0);
}

/* Holes that nobody touched, between pages that somebody did. */
static void sparse(void)
{
	char *p = map_pages(MIB, 0);

	for (size_t i = 0; i < MIB; i += 4 * PAGE)
		p[i] = 7;
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, HMM_SYSTEM, 0), PAGES(MIB) / 4);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), PAGES(MIB));
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 1, 0), PAGES(MIB));
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, HMM_SYSTEM, 0), PAGES(MIB));
	for (size_t i = 0; i < MIB; i++)
		if (p[i] != (i % (4 * PAGE) ? 0 : 7))
			CU_FAIL_FATAL("not the bytes that were written");
	munmap(p, MIB);
}

void add_query_suite(void)
{
	CU_pSuite s = CU_add_suite("queries and counts", conf_open, conf_close);

	CU_add_test(s, "every state", every_state);
	CU_add_test(s, "bad ranges", bad_ranges);
	CU_add_test(s, "a range larger than the device", too_large);
	CU_add_test(s, "pages that are there already", already_there);
	CU_add_test(s, "counters of one and of all", counters);
	CU_add_test(s, "sparse memory", sparse);
}

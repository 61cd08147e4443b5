// SPDX-License-Identifier: MIT
/* Out, across and home: counts, bytes and places. */
#include "api/api.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void round_trip(void)
{
	size_t n = 4 * MIB;
	char *p = map_pages(n, 1);

	CU_ASSERT_EQUAL(hmm_migrate(h, p, n, 0, 0), (long)(n / PAGE));
	CU_ASSERT_EQUAL(where(p), 0);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, n, 1, 0), (long)(n / PAGE));
	CU_ASSERT_EQUAL(where(p + n - 1), 1);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, n, HMM_SYSTEM, 0), (long)(n / PAGE));
	CU_ASSERT_EQUAL(where(p), HMM_SYSTEM);
	CU_ASSERT(all_bytes(p, n, 1));
	munmap(p, n);
}

static void touch_brings_home(void)
{
	char *p = map_pages(MIB, 2);

	hmm_migrate(h, p, MIB, 0, 0);
	p[MIB / 2]++;
	CU_ASSERT_EQUAL(where(p + MIB / 2), HMM_SYSTEM);
	CU_ASSERT_EQUAL(where(p), 0);
	CU_ASSERT_EQUAL(p[MIB / 2], 3);
	CU_ASSERT(all_bytes(p, MIB / 2, 2));
	munmap(p, MIB);
}

static void sub_page_ends(void)
{
	char *p = map_pages(4 * PAGE, 5);

	CU_ASSERT_EQUAL(hmm_migrate(h, p + PAGE - 1, 2, 0, 0), 2);
	CU_ASSERT_EQUAL(where(p), 0);
	CU_ASSERT_EQUAL(where(p + PAGE), 0);
	CU_ASSERT_EQUAL(where(p + 2 * PAGE), HMM_SYSTEM);
	CU_ASSERT(all_bytes(p, 4 * PAGE, 5));
	munmap(p, 4 * PAGE);
}

static void never_touched(void)
{
	char *p = map_pages(MIB, 0);

	CU_ASSERT_EQUAL(where(p), HMM_NOT_POPULATED);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, HMM_SYSTEM, 0), 0);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), (long)(MIB / PAGE));
	CU_ASSERT_EQUAL(where(p), 0);
	CU_ASSERT(all_bytes(p, MIB, 0));
	munmap(p, MIB);
}

static void eviction(void)
{
	size_t n = 4 * options.device_bytes;
	char *p = map_pages(n, 0);
	struct hmm_stats s = { .sz = sizeof(s) };
	struct hmm_device_info info;

	for (size_t i = 0; i < n; i += sizeof(size_t))
		*(size_t *)(void *)(p + i) = i;
	for (size_t i = 0; i < n; i += MIB)
		CU_ASSERT_EQUAL(hmm_migrate(h, p + i, MIB, 0, 0), (long)(MIB / PAGE));
	CU_ASSERT_EQUAL(hmm_device_info(h, 0, &info), 0);
	CU_ASSERT(info.resident <= info.bytes);
	CU_ASSERT_EQUAL(where(p + n - 1), 0);
	CU_ASSERT_EQUAL(where(p), HMM_SYSTEM); /* the oldest went first */
	CU_ASSERT_EQUAL(hmm_stats(h, 0, &s), 0);
	CU_ASSERT(s.pages_evicted >= (n - options.device_bytes) / PAGE);
	for (size_t i = 0; i < n; i += sizeof(size_t))
		if (*(size_t *)(void *)(p + i) != i)
			CU_FAIL_FATAL("a word was lost");
	munmap(p, n);
}

static void asynchronous(void)
{
	char *p = map_pages(MIB, 7);
	struct pollfd f = { .events = POLLIN };

	CU_ASSERT_EQUAL_FATAL(hmm_migrate_async(h, p, MIB, 1, 0, &f.fd), 0);
	CU_ASSERT_EQUAL(poll(&f, 1, patient(10000)), 1);
	CU_ASSERT_EQUAL(where(p), 1);
	close(f.fd);
	/* Closed before it is over: the migration happens all the same. */
	CU_ASSERT_EQUAL_FATAL(hmm_migrate_async(h, p, MIB, HMM_SYSTEM, 0, &f.fd), 0);
	close(f.fd);
	for (int i = 0; i < patient(1000) && where(p) != HMM_SYSTEM; i++)
		usleep(1000);
	CU_ASSERT_EQUAL(where(p), HMM_SYSTEM);
	CU_ASSERT(all_bytes(p, MIB, 7));
	munmap(p, MIB);
}

static void device_access(void)
{
	char *p = map_pages(MIB, 3), *buffer = malloc(MIB);

	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p + 100, buffer, 5000), 5000);
	CU_ASSERT(all_bytes(buffer, 5000, 3));
	CU_ASSERT_EQUAL(where(p + 100), 0);
	memset(buffer, 4, MIB);
	CU_ASSERT_EQUAL(hmm_device_write(h, 1, p, buffer, MIB), (long)MIB);
	CU_ASSERT_EQUAL(where(p), 1);
	CU_ASSERT(all_bytes(p, MIB, 4));
	free(buffer);
	munmap(p, MIB);
}

static void numa_node(void)
{
	char *p = map_pages(MIB, 6);
	struct hmm_page_status s;

	hmm_migrate(h, p, MIB, 0, 0);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, HMM_NUMA_NODE(0), 0), (long)(MIB / PAGE));
	CU_ASSERT_EQUAL(hmm_query(h, p, 1, &s), 1);
	CU_ASSERT_EQUAL(s.location, HMM_SYSTEM);
	CU_ASSERT_EQUAL(s.node, 0);
	CU_ASSERT(all_bytes(p, MIB, 6));
	munmap(p, MIB);
}

static void counters(void)
{
	struct hmm_stats a = { .sz = sizeof(a) }, b = { .sz = sizeof(b) };
	char *p = map_pages(16 * PAGE, 1);

	CU_ASSERT_EQUAL(hmm_stats(h, -1, &a), 0);
	hmm_migrate(h, p, 16 * PAGE, 0, 0);
	p[0] = 2;
	/* The page is home a moment before it is counted. */
	for (int i = 0; i < patient(1000) && b.pages_to_system <= a.pages_to_system; i++) {
		usleep(1000);
		CU_ASSERT_EQUAL(hmm_stats(h, -1, &b), 0);
	}
	CU_ASSERT_EQUAL(b.pages_to_device, a.pages_to_device + 16);
	CU_ASSERT(b.pages_to_system > a.pages_to_system);
	CU_ASSERT_EQUAL(b.cpu_faults, a.cpu_faults + 1);
	munmap(p, 16 * PAGE);
}

void add_migrate_suite(void)
{
	CU_pSuite s = CU_add_suite("migrate", suite_open, suite_close);

	CU_add_test(s, "round trip over two devices", round_trip);
	CU_add_test(s, "a CPU touch brings a page home", touch_brings_home);
	CU_add_test(s, "sub-page ends widen", sub_page_ends);
	CU_add_test(s, "never-touched pages", never_touched);
	CU_add_test(s, "working set of 4x the device", eviction);
	CU_add_test(s, "asynchronous, with a fence", asynchronous);
	CU_add_test(s, "device reads and writes", device_access);
	CU_add_test(s, "a NUMA node as target", numa_node);
	CU_add_test(s, "counters", counters);
}

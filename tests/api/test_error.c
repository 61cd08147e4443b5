// SPDX-License-Identifier: MIT
/* Bad input: the documented errno, and nothing lost. */
#include "api/api.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void bad_ranges(void)
{
	char *p = map_pages(4 * PAGE, 1), c;
	struct hmm_page_status s[4];
	int fd;

	CU_ASSERT_EQUAL(hmm_migrate(h, p, 0, 0, 0), -EINVAL);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, SIZE_MAX, 0, 0), -EINVAL);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, PAGE, 2, 0), -EINVAL);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, PAGE, -2, 0), -EINVAL);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, PAGE, HMM_NUMA_NODE(1000), 0), -EINVAL);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, PAGE, 0, 1), -EINVAL);
	CU_ASSERT_EQUAL(hmm_migrate(h, NULL, PAGE, 0, 0), -EFAULT);
	CU_ASSERT_EQUAL(hmm_migrate(h, (void *)(UINTPTR_MAX - 8192), 100, 0, 0), -EFAULT);
	CU_ASSERT_EQUAL(hmm_query(h, p, 0, s), -EINVAL);
	CU_ASSERT_EQUAL(hmm_query(h, p, PAGE, NULL), -EINVAL);
	CU_ASSERT_EQUAL(hmm_query(h, NULL, PAGE, s), -EFAULT);
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p, &c, 0), -EINVAL);
	CU_ASSERT_EQUAL(hmm_device_read(h, 2, p, &c, 1), -EINVAL);
	CU_ASSERT_EQUAL(hmm_device_read(h, -1, p, &c, 1), -EINVAL);
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p, NULL, 1), -EINVAL);
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, NULL, &c, 1), -EFAULT);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, (void *)0x300000, &c, 1), -EFAULT);
	CU_ASSERT_EQUAL(hmm_migrate_async(h, p, 0, 0, 0, &fd), -EINVAL);
	CU_ASSERT_EQUAL(hmm_migrate_async(h, p, PAGE, 0, 0, NULL), -EINVAL);
	CU_ASSERT_EQUAL(hmm_migrate_async(h, p, PAGE, 9, 0, &fd), -EINVAL);
	CU_ASSERT(all_bytes(p, 4 * PAGE, 1));
	munmap(p, 4 * PAGE);
}

static void holes(void)
{
	char *p = map_pages(4 * PAGE, 1), buffer[64];
	struct hmm_page_status s[4];

	munmap(p + 2 * PAGE, PAGE);
	memset(s, 0x55, sizeof(s));
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 4 * PAGE, 0, 0), -EFAULT);
	CU_ASSERT_EQUAL(hmm_query(h, p, 4 * PAGE, s), -EFAULT);
	CU_ASSERT_EQUAL(s[0].location, 0x55555555); /* outputs are set on success only */
	/* Short before the invalid page, -EFAULT at it. */
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p + 2 * PAGE - 10, buffer, 64), 10);
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p + 2 * PAGE, buffer, 64), -EFAULT);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + 2 * PAGE - 10, buffer, 64), 10);
	mprotect(p + 3 * PAGE, PAGE, PROT_NONE);
	CU_ASSERT_EQUAL(hmm_migrate(h, p + 3 * PAGE, PAGE, 0, 0), -EFAULT);
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p + 3 * PAGE, buffer, 1), -EFAULT);
	munmap(p, 4 * PAGE);
}

static void bad_handles(void)
{
	struct hmm_device_info info;
	struct hmm_stats s = { .sz = 0 };

	CU_ASSERT_EQUAL(hmm_device_count(h), 2);
	CU_ASSERT_EQUAL(hmm_device_count(NULL), -EINVAL);
	CU_ASSERT_EQUAL(hmm_device_info(h, 0, NULL), -EINVAL);
	CU_ASSERT_EQUAL(hmm_device_info(h, 2, &info), -EINVAL);
	CU_ASSERT_EQUAL(hmm_device_info(h, -1, &info), -EINVAL);
	CU_ASSERT_EQUAL(hmm_stats(h, 0, NULL), -EINVAL);
	CU_ASSERT_EQUAL(hmm_stats(h, 0, &s), -EINVAL);
	s.sz = sizeof(s);
	CU_ASSERT_EQUAL(hmm_stats(h, 2, &s), -EINVAL);
	hmm_close(NULL);
}

static void bad_options(void)
{
	struct {
		struct hmm_open_opts o;
		uint64_t later;
	} big = { .o = { .sz = sizeof(big) } };
	struct hmm_open_opts o = { .sz = sizeof(o) };
	struct hmm *other = NULL;

	CU_ASSERT_EQUAL(hmm_open(NULL, NULL), -EINVAL);
	o.sz = 4;
	CU_ASSERT_EQUAL(hmm_open(&other, &o), -EINVAL);
	o = (struct hmm_open_opts){ .sz = sizeof(o), .devices = 9 };
	CU_ASSERT_EQUAL(hmm_open(&other, &o), -EINVAL);
	o = (struct hmm_open_opts){ .sz = sizeof(o), .device_bytes = 4096 };
	CU_ASSERT_EQUAL(hmm_open(&other, &o), -EINVAL);
	o = (struct hmm_open_opts){ .sz = sizeof(o), .flags = 0x80 };
	CU_ASSERT_EQUAL(hmm_open(&other, &o), -EINVAL);
	big.later = 1;
	CU_ASSERT_EQUAL(hmm_open(&other, &big.o), -E2BIG);
	CU_ASSERT_PTR_NULL(other);
	big.later = 0;
	CU_ASSERT_EQUAL(hmm_open(&other, &big.o), 0); /* shares the devices that are there */
	CU_ASSERT_EQUAL(hmm_device_count(other), 2);
	hmm_close(other);
	CU_ASSERT_EQUAL(hmm_device_count(h), 2);
}

void add_error_suite(void)
{
	CU_pSuite s = CU_add_suite("errors", suite_open, suite_close);

	CU_add_test(s, "bad ranges, targets and flags", bad_ranges);
	CU_add_test(s, "ranges with holes", holes);
	CU_add_test(s, "bad handles and devices", bad_handles);
	CU_add_test(s, "bad options", bad_options);
}

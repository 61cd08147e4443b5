// SPDX-License-Identifier: MIT
/* hmm_advise(): each advice by what it does, and that its opposite takes it back. */
#include "conformance/conf.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCK (2 * MIB)

/* What the kernel driver does not take from us is a hint there. */
/* Blocks at a block's border, each byte 1. */
static char *map_blocks(size_t blocks)
{
	char *p = mmap(NULL, (blocks + 1) * BLOCK, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *start = (char *)(((uintptr_t)p + BLOCK - 1) & ~(BLOCK - 1));

	CU_ASSERT_FATAL(p != MAP_FAILED);
	if (start > p)
		munmap(p, (size_t)(start - p));
	munmap(start + blocks * BLOCK, (size_t)(p + BLOCK - start));
	memset(start, 1, blocks * BLOCK);
	return start;
}

static int child_advises(void *p)
{
	return hmm_advise(h, p, 1, HMM_ADVICE_RANDOM, 0) == -EPERM ? 0 : 1;
}

static void arguments(void)
{
	char *p = map_pages(3 * PAGE, 1);

	CU_ASSERT_EQUAL(hmm_advise(NULL, p, 1, HMM_ADVICE_RANDOM, 0), -EINVAL);
	CU_ASSERT_EQUAL(hmm_advise(h, p, 0, HMM_ADVICE_RANDOM, 0), -EINVAL);
	CU_ASSERT_EQUAL(hmm_advise(h, p, SIZE_MAX, HMM_ADVICE_RANDOM, 0), -EINVAL);
	CU_ASSERT_EQUAL(hmm_advise(h, p, 1, 0, 0), -EINVAL);
	CU_ASSERT_EQUAL(hmm_advise(h, p, 1, HMM_ADVICE_MAY_MIGRATE + 1, 0), -EINVAL);
	CU_ASSERT_EQUAL(hmm_advise(h, p, 1, HMM_ADVICE_PREFERRED, 2), -EINVAL);
	CU_ASSERT_EQUAL(hmm_advise(h, p, 1, HMM_ADVICE_PREFERRED, -2), -EINVAL);
	CU_ASSERT_EQUAL(hmm_advise(h, p, 1, HMM_ADVICE_ACCESSED_BY, HMM_SYSTEM), -EINVAL);
	CU_ASSERT_EQUAL(hmm_advise(h, p, 1, HMM_ADVICE_NOT_ACCESSED_BY, 2), -EINVAL);
	CU_ASSERT_EQUAL(in_child(child_advises, p), 0);
	munmap(p + PAGE, PAGE);
	CU_ASSERT_EQUAL(hmm_advise(h, p, 3 * PAGE, HMM_ADVICE_NO_MIGRATE, 0), -EFAULT);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, PAGE, 0, 0), 1); /* so it was not taken */
	munmap(p, 3 * PAGE);
}

static uint64_t faults(void)
{
	struct hmm_stats s = { .sz = sizeof(s) };

	CU_ASSERT_EQUAL(hmm_stats(h, -1, &s), 0);
	return s.cpu_faults + s.device_faults;
}

static int device_reads(int device, const char *p)
{
	char c = 0;

	CU_ASSERT_EQUAL(hmm_device_read(h, device, p, &c, 1), 1);
	return c;
}

/* Do devices have copies of the first page? Only the emulated ones make any. */
static bool has_copies(const char *p)
{
	return !is_emulated() || (where(p) == HMM_SYSTEM && (page_flags(p) & HMM_PAGE_COPIED));
}

static bool has_none(const char *p)
{
	return !(page_flags(p) & HMM_PAGE_COPIED);
}

static void read_mostly(void)
{
	char *p = map_pages(16 * PAGE, 1);
	uint64_t before;

	advise(p, 16 * PAGE, HMM_ADVICE_READ_MOSTLY, 0);
	CU_ASSERT(device_reads(0, p) == 1 && has_copies(p));
	CU_ASSERT(device_reads(1, p) == 1 && has_copies(p));
	before = faults();
	CU_ASSERT(device_reads(0, p) == 1 && device_reads(1, p) == 1 && all_bytes(p, PAGE, 1));
	if (is_emulated())
		CU_ASSERT_EQUAL(faults(), before);
	/* Who writes has it alone. */
	p[0] = 2;
	CU_ASSERT(where(p) == HMM_SYSTEM && has_none(p));
	CU_ASSERT(device_reads(0, p) == 2 && device_reads(1, p) == 2 && has_copies(p));
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p, "\3", 1), 1);
	CU_ASSERT(where(p) == 0 && has_none(p));
	CU_ASSERT_EQUAL(device_reads(1, p + 15 * PAGE), 1);
	CU_ASSERT(p[0] == 3 && has_copies(p));
	CU_ASSERT(device_reads(1, p) == 3 && p[0] == 3 && has_copies(p));
	/* hmm_migrate() leaves it on the target alone, and home means at home, too. */
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 16 * PAGE, 1, 0), 16);
	CU_ASSERT(where(p) == 1 && has_none(p));
	CU_ASSERT(p[0] == 3 && has_copies(p));
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 16 * PAGE, HMM_SYSTEM, 0), 16);
	CU_ASSERT_EQUAL(where(p), HMM_SYSTEM);
	munmap(p, 16 * PAGE);
}

static void no_longer_read_mostly(void)
{
	char *p = map_pages(16 * PAGE, 1);

	advise(p, 16 * PAGE, HMM_ADVICE_READ_MOSTLY, 0);
	CU_ASSERT(device_reads(0, p) == 1 && has_copies(p));
	advise(p, 8 * PAGE, HMM_ADVICE_NOT_READ_MOSTLY, 0);
	CU_ASSERT(has_none(p) && has_copies(p + 8 * PAGE));
	CU_ASSERT(device_reads(0, p) == 1 && where(p) == 0);
	/* What the program discards, devices do not remember. */
	CU_ASSERT_EQUAL(madvise(p + 8 * PAGE, PAGE, MADV_DONTNEED), 0);
	CU_ASSERT(has_none(p + 8 * PAGE) && device_reads(0, p + 8 * PAGE) == 0);
	CU_ASSERT(has_copies(p + 8 * PAGE) && p[8 * PAGE] == 0);
	munmap(p, 16 * PAGE);
}

static void no_migrate(void)
{
	char *p = map_pages(8 * PAGE, 1), buf[8 * PAGE];

	CU_ASSERT_EQUAL(hmm_migrate(h, p, 8 * PAGE, 0, 0), 8);
	advise(p + 2 * PAGE, 3 * PAGE, HMM_ADVICE_NO_MIGRATE, 0);
	CU_ASSERT_EQUAL(count_at(p, 8 * PAGE, 0), 5);
	CU_ASSERT_EQUAL(count_at(p + 2 * PAGE, 3 * PAGE, HMM_SYSTEM), 3);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 8 * PAGE, 1, 0), 5);
	CU_ASSERT_EQUAL(count_at(p + 2 * PAGE, 3 * PAGE, HMM_SYSTEM), 3);
	if (is_emulated()) {
		CU_ASSERT_EQUAL(hmm_device_read(h, 0, p, buf, 8 * PAGE), 2 * (long)PAGE);
		CU_ASSERT_EQUAL(hmm_device_read(h, 0, p + 2 * PAGE, buf, 1), -EFAULT);
		CU_ASSERT_EQUAL(count_at(p + 2 * PAGE, 3 * PAGE, HMM_SYSTEM), 3);
	}
	advise(p + 3 * PAGE, PAGE, HMM_ADVICE_MAY_MIGRATE, 0);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 8 * PAGE, 1, 0), 6);
	advise(p, 8 * PAGE, HMM_ADVICE_MAY_MIGRATE, 0);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 8 * PAGE, 1, 0), 8);
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p, buf, 8 * PAGE), 8 * (long)PAGE);
	CU_ASSERT(all_bytes(buf, 8 * PAGE, 1) && all_bytes(p, 8 * PAGE, 1));
	munmap(p, 8 * PAGE);
}

static void windows(void)
{
	char *p = map_blocks(2), c;

	advise(p, BLOCK, HMM_ADVICE_SEQUENTIAL, 0);
	advise(p + BLOCK / 2, BLOCK / 4, HMM_ADVICE_RANDOM, 0);
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p, &c, 1), 1);
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p + BLOCK / 2, &c, 1), 1);
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p + BLOCK, &c, 1), 1);
	if (is_emulated()) {
		CU_ASSERT_EQUAL(count_at(p, BLOCK / 2, 0), PAGES(BLOCK / 2));
		CU_ASSERT_EQUAL(count_at(p + BLOCK / 2, BLOCK / 2, 0), 1);
		CU_ASSERT_EQUAL(count_at(p + BLOCK, BLOCK, 0), 16);
		p[0]++;
		CU_ASSERT_EQUAL(count_at(p, BLOCK / 2, 0), 0);
		advise(p, BLOCK, HMM_ADVICE_NORMAL, 0);
		CU_ASSERT_EQUAL(hmm_device_read(h, 1, p, &c, 1), 1);
		CU_ASSERT_EQUAL(count_at(p, BLOCK, 1), 16);
	}
	munmap(p, 2 * BLOCK);
}

/* Three blocks of four in use, the second one advised; then two more are wanted. */
static void fill(char *p, char *more)
{
	for (int i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(hmm_migrate(h, p + i * BLOCK, BLOCK, 0, 0), PAGES(BLOCK));
	CU_ASSERT_EQUAL(hmm_migrate(h, more, 2 * BLOCK, 0, 0), PAGES(2 * BLOCK));
}

static void empty(char *p, char *more)
{
	hmm_migrate(h, p, 3 * BLOCK, HMM_SYSTEM, 0);
	hmm_migrate(h, more, 2 * BLOCK, HMM_SYSTEM, 0);
}

static void evict_first(void)
{
	char *p = map_blocks(3), *more = map_blocks(2);

	advise(p + BLOCK, BLOCK, HMM_ADVICE_EVICT_FIRST, 0);
	fill(p, more);
	if (is_emulated()) {
		CU_ASSERT_EQUAL(count_at(p, BLOCK, 0), PAGES(BLOCK));
		CU_ASSERT_EQUAL(count_at(p + BLOCK, BLOCK, 0), 0);
	}
	empty(p, more);
	advise(p, 3 * BLOCK, HMM_ADVICE_NOT_EVICT_FIRST, 0);
	fill(p, more);
	if (is_emulated()) {
		CU_ASSERT_EQUAL(count_at(p, BLOCK, 0), 0);
		CU_ASSERT_EQUAL(count_at(p + BLOCK, BLOCK, 0), PAGES(BLOCK));
	}
	CU_ASSERT(all_bytes(p, 3 * BLOCK, 1));
	munmap(p, 3 * BLOCK);
	munmap(more, 2 * BLOCK);
}

static void preferred_device(void)
{
	char *p = map_blocks(3), *more = map_blocks(2), c;

	advise(p, BLOCK, HMM_ADVICE_PREFERRED, 0);
	fill(p, more);
	if (is_emulated()) {
		CU_ASSERT_EQUAL(count_at(p, BLOCK, 0), PAGES(BLOCK));
		CU_ASSERT_EQUAL(count_at(p + BLOCK, BLOCK, 0), 0);
		/* Who else faults takes what it touched. */
		CU_ASSERT_EQUAL(hmm_device_read(h, 1, p, &c, 1), 1);
		CU_ASSERT_EQUAL(count_at(p, BLOCK, 1), 1);
		p[PAGE]++;
		CU_ASSERT_EQUAL(count_at(p, BLOCK, HMM_SYSTEM), 1);
	}
	empty(p, more);
	advise(p, BLOCK, HMM_ADVICE_NOT_PREFERRED, 0);
	fill(p, more);
	if (is_emulated())
		CU_ASSERT_EQUAL(count_at(p, BLOCK, 0), 0);
	munmap(p, 3 * BLOCK);
	munmap(more, 2 * BLOCK);
}

static void preferred_system(void)
{
	char *p = map_blocks(1), c;
	struct hmm_page_status s;

	advise(p, BLOCK, HMM_ADVICE_PREFERRED, HMM_NUMA_NODE(0));
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p, &c, 1), 1);
	if (is_emulated())
		CU_ASSERT_EQUAL(count_at(p, BLOCK, 0), 1);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, BLOCK, HMM_SYSTEM, 0), PAGES(BLOCK));
	CU_ASSERT_EQUAL(hmm_query(h, p, 1, &s), 1);
	CU_ASSERT(s.location == HMM_SYSTEM && s.node == 0);
	advise(p, BLOCK, HMM_ADVICE_PREFERRED, HMM_SYSTEM);
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p, &c, 1), 1);
	if (is_emulated())
		CU_ASSERT_EQUAL(count_at(p, BLOCK, 0), 1);
	munmap(p, BLOCK);
}

static void accessed_by(void)
{
	int fd = memfd_create("advice", MFD_CLOEXEC);
	struct hmm_stats a = { .sz = sizeof(a) }, b = a;
	char *p, c = 0;

	CU_ASSERT_EQUAL_FATAL(ftruncate(fd, 4 * PAGE), 0);
	p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	p[0] = 5;
	hmm_stats(h, 1, &a);
	advise(p, 4 * PAGE, HMM_ADVICE_ACCESSED_BY, 1);
	hmm_stats(h, 1, &b);
	if (is_emulated()) {
		CU_ASSERT(page_flags(p) & HMM_PAGE_REMOTE);
		CU_ASSERT_EQUAL(b.pages_remote, a.pages_remote + 4);
		CU_ASSERT_EQUAL(hmm_device_read(h, 1, p, &c, 1), 1);
		hmm_stats(h, 1, &b);
		CU_ASSERT_EQUAL(c, 5);
		CU_ASSERT_EQUAL(b.pages_remote, a.pages_remote + 4);
	}
	advise(p, 4 * PAGE, HMM_ADVICE_NOT_ACCESSED_BY, 1);
	munmap(p, 4 * PAGE);
	close(fd);
}

void add_advice_suite(void)
{
	CU_pSuite s = CU_add_suite_with_setup_and_teardown("advice", NULL, NULL, conf_set_up,
							   conf_tear_down);

	CU_add_test(s, "arguments", arguments);
	CU_add_test(s, "read-mostly", read_mostly);
	CU_add_test(s, "no longer read-mostly", no_longer_read_mostly);
	CU_add_test(s, "no-migrate", no_migrate);
	CU_add_test(s, "sequential, random and normal windows", windows);
	CU_add_test(s, "evict first", evict_first);
	CU_add_test(s, "a preferred device", preferred_device);
	CU_add_test(s, "a preferred node, and the system", preferred_system);
	CU_add_test(s, "accessed by a device", accessed_by);
}

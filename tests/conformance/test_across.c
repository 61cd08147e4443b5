// SPDX-License-Identifier: MIT
/*
 * From one device to the other. The emulated ones copy straight, and count that; with the driver a
 * page that hmm_migrate() moves does not come home either, but what the other device touches does.
 */
#include "conformance/conf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCK (2 * MIB)

static struct hmm_stats counts(int device)
{
	struct hmm_stats s = { .sz = sizeof(s) };

	CU_ASSERT_EQUAL(hmm_stats(h, device, &s), 0);
	return s;
}

/* Since @before, over all devices: so many went across, and no page of them came home. */
static void expect_across(const struct hmm_stats *before, long pages)
{
	struct hmm_stats now = counts(-1);

	CU_ASSERT_EQUAL(now.pages_to_system, before->pages_to_system);
	CU_ASSERT_EQUAL(now.cpu_faults, before->cpu_faults);
	CU_ASSERT_EQUAL(now.pages_to_device, before->pages_to_device + (uint64_t)pages);
	if (is_emulated())
		CU_ASSERT_EQUAL(now.pages_across, before->pages_across + (uint64_t)pages);
}

/* As the device sees it, which has it. */
static bool device_has_numbered(int device, const char *p, size_t bytes)
{
	char *copy = malloc(bytes);
	bool same = hmm_device_read(h, device, p, copy, bytes) == (long)bytes &&
		    is_numbered(copy, bytes);

	free(copy);
	return same;
}

/* At the border of a block. */
static char *map_block(size_t bytes)
{
	char *p = mmap(NULL, bytes + BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);
	char *start = (char *)(((uintptr_t)p + BLOCK - 1) & ~(BLOCK - 1));

	CU_ASSERT_FATAL(p != MAP_FAILED);
	if (start > p)
		munmap(p, (size_t)(start - p));
	munmap(start + bytes, (size_t)(p + BLOCK - start));
	return start;
}

/* A few pages and many take different ways; a whole block is mapped in another manner. */
static void sizes(void)
{
	static const size_t pages[] = { 1, 16, 17, 512, 700, 1024 };
	char *p = map_block(4 * MIB);

	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		size_t n = pages[i] * PAGE;
		struct hmm_stats before;

		number(p, n);
		CU_ASSERT_EQUAL(hmm_migrate(h, p, n, 0, 0), PAGES(n));
		for (int target = 1; target >= 0; target--) {
			before = counts(-1);
			CU_ASSERT_EQUAL(hmm_migrate(h, p, n, target, 0), PAGES(n));
			CU_ASSERT(where(p) == target && where(p + n - 1) == target);
			expect_across(&before, PAGES(n));
			CU_ASSERT(device_has_numbered(target, p, n));
			expect_across(&before, PAGES(n));
		}
		CU_ASSERT(is_numbered(p, n));
		CU_ASSERT_EQUAL(hmm_migrate(h, p, n, HMM_SYSTEM, 0), PAGES(n));
	}
	munmap(p, 4 * MIB);
}

/* What a device has stored last is what the next one has, and the CPU. */
static void last_stores(void)
{
	char *p = map_pages(64 * PAGE, 1), c = 0;
	struct hmm_stats before;

	CU_ASSERT_EQUAL(hmm_migrate(h, p, 64 * PAGE, 0, 0), 64);
	before = counts(-1);
	for (int round = 0; round < 20; round++) {
		char now = (char)(round + 2);
		size_t at = (size_t)(round * 3) * PAGE + 5;

		CU_ASSERT_EQUAL(hmm_device_write(h, round % 2, p + at, &now, 1), 1);
		CU_ASSERT_EQUAL(hmm_migrate(h, p, 64 * PAGE, 1 - round % 2, 0), 64);
		CU_ASSERT_EQUAL(hmm_device_read(h, 1 - round % 2, p + at, &c, 1), 1);
		CU_ASSERT_EQUAL(c, now);
	}
	expect_across(&before, 20 * 64);
	for (int round = 0; round < 20; round++)
		CU_ASSERT_EQUAL(p[(size_t)(round * 3) * PAGE + 5], (char)(round + 2));
	munmap(p, 64 * PAGE);
}

/* A device takes what it touches straight from the other one. */
static void by_fault(void)
{
	char *p = map_block(BLOCK), *copy = malloc(BLOCK);
	struct hmm_stats before, now;

	memset(p, 3, BLOCK);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, BLOCK, 0, 0), PAGES(BLOCK));
	before = counts(-1);
	CU_ASSERT_EQUAL(hmm_device_read(h, 1, p, copy, BLOCK), (long)BLOCK);
	CU_ASSERT(all_bytes(copy, BLOCK, 3));
	CU_ASSERT(where(p) == 1 && where(p + BLOCK - 1) == 1);
	if (is_emulated()) {
		expect_across(&before, PAGES(BLOCK));
		before = counts(-1);
		memset(copy, 4, BLOCK);
		CU_ASSERT_EQUAL(hmm_device_write(h, 0, p, copy, BLOCK), (long)BLOCK);
		expect_across(&before, PAGES(BLOCK));
		now = counts(0);
		CU_ASSERT(now.device_faults > 0 && now.pages_across >= (uint64_t)PAGES(BLOCK));
	}
	free(copy);
	munmap(p, BLOCK);
}

/* Pages of several owners in one range: each comes from where it is. */
static void mixed(void)
{
	char *p = map_pages(96 * PAGE, 7);
	struct hmm_stats before, now;

	CU_ASSERT_EQUAL(hmm_migrate(h, p + 8 * PAGE, 40 * PAGE, 0, 0), 40);
	CU_ASSERT_EQUAL(hmm_migrate(h, p + 40 * PAGE, 16 * PAGE, 1, 0), 16);
	before = counts(-1);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 96 * PAGE, 1, 0), 96);
	now = counts(-1);
	CU_ASSERT_EQUAL(now.pages_to_system, before.pages_to_system);
	CU_ASSERT_EQUAL(now.pages_to_device, before.pages_to_device + 80);
	if (is_emulated())
		CU_ASSERT_EQUAL(now.pages_across, before.pages_across + 32);
	CU_ASSERT(all_bytes(p, 96 * PAGE, 7));
	munmap(p, 96 * PAGE);
}

/* Read-mostly pages that a device has alone go across; copies are made of copies. */
static void read_mostly(void)
{
	char *p = map_pages(16 * PAGE, 1), c = 0;
	struct hmm_stats before, now;

	CU_ASSERT_EQUAL(hmm_advise(h, p, 16 * PAGE, HMM_ADVICE_READ_MOSTLY, 0), 0);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 16 * PAGE, 0, 0), 16);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p, "\2", 1), 1);
	before = counts(-1);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 16 * PAGE, 1, 0), 16);
	CU_ASSERT_EQUAL(where(p), 1);
	expect_across(&before, 16);
	CU_ASSERT(p[0] == 2 && p[PAGE] == 1);
	if (is_emulated()) {
		/* The CPU has read it, so the system owns it and device 1 has a copy. */
		CU_ASSERT(where(p) == HMM_SYSTEM && (page_flags(p) & HMM_PAGE_COPIED));
		before = counts(-1);
		CU_ASSERT_EQUAL(hmm_device_read(h, 0, p, &c, 1), 1);
		now = counts(-1);
		CU_ASSERT_EQUAL(c, 2);
		CU_ASSERT(where(p) == HMM_SYSTEM && (page_flags(p) & HMM_PAGE_COPIED));
		CU_ASSERT_EQUAL(now.pages_to_system, before.pages_to_system);
		CU_ASSERT_EQUAL(now.pages_to_device, before.pages_to_device);
	}
	munmap(p, 16 * PAGE);
}

/* A file's pages take their dirty bit along. */
static void files(void)
{
	int fd = memfd_create("across", MFD_CLOEXEC);
	struct hmm_stats before;
	void *at = NULL;
	char *p, c = 0;

	if (!is_emulated()) {
		printf("(skipped: memfds stay with the system) ");
		close(fd);
		return;
	}
	CU_ASSERT_EQUAL(ftruncate(fd, (off_t)BLOCK), 0);
	CU_ASSERT_EQUAL_FATAL(hmm_map_file(h, fd, 0, BLOCK, PROT_READ | PROT_WRITE, 0, &at), 0);
	p = at;
	CU_ASSERT_EQUAL(hmm_migrate(h, p, BLOCK, 0, 0), PAGES(BLOCK));
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + 3 * PAGE, "A", 1), 1);
	before = counts(-1);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, BLOCK, 1, 0), PAGES(BLOCK));
	expect_across(&before, PAGES(BLOCK));
	CU_ASSERT(where(p + 3 * PAGE) == 1 && (page_flags(p + 3 * PAGE) & HMM_PAGE_DIRTY));
	CU_ASSERT(!(page_flags(p + 4 * PAGE) & HMM_PAGE_DIRTY));
	/* A clean page's first store there is seen, a dirty one's needs not be. */
	CU_ASSERT_EQUAL(hmm_device_write(h, 1, p + 3 * PAGE + 1, "B", 1), 1);
	CU_ASSERT_EQUAL(hmm_device_write(h, 1, p + 4 * PAGE, "C", 1), 1);
	CU_ASSERT(page_flags(p + 4 * PAGE) & HMM_PAGE_DIRTY);
	CU_ASSERT_EQUAL(hmm_sync(h, p, BLOCK, 0), 0);
	/* By a touch: written, and to be dirty again. */
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + 4 * PAGE + 1, "D", 1), 1);
	CU_ASSERT(where(p + 4 * PAGE) == 0 && (page_flags(p + 4 * PAGE) & HMM_PAGE_DIRTY));
	CU_ASSERT(counts(-1).pages_to_system == before.pages_to_system);
	CU_ASSERT(pread(fd, &c, 1, 3 * PAGE) == 1 && c == 'A');
	CU_ASSERT(pread(fd, &c, 1, 3 * PAGE + 1) == 1 && c == 'B');
	CU_ASSERT(pread(fd, &c, 1, 4 * PAGE) == 1 && c == 'C');
	CU_ASSERT_EQUAL(hmm_sync(h, p, BLOCK, 0), 0);
	CU_ASSERT(pread(fd, &c, 1, 4 * PAGE + 1) == 1 && c == 'D');
	CU_ASSERT_EQUAL(hmm_unmap(h, p, BLOCK), 0);
	close(fd);
}

/* The target is full of others' pages: those go home, and none of ours. */
static void full_target(void)
{
	size_t n = options.device_bytes;
	char *p = map_block(n), *q = map_block(n);
	struct hmm_stats from, to;

	number(p, n);
	memset(q, 6, n);
	CU_ASSERT_EQUAL(hmm_migrate(h, q, n, 1, 0), PAGES(n));
	CU_ASSERT_EQUAL(hmm_migrate(h, p, n / 2, 0, 0), PAGES(n / 2));
	from = counts(0);
	to = counts(1);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, n / 2, 1, 0), PAGES(n / 2));
	CU_ASSERT_EQUAL(counts(0).pages_to_system, from.pages_to_system);
	CU_ASSERT(counts(1).pages_evicted >= to.pages_evicted + (uint64_t)PAGES(n / 2));
	CU_ASSERT(device_has_numbered(1, p, n / 2));
	CU_ASSERT(all_bytes(q, n, 6) && is_numbered(p, n));
	munmap(p, n);
	munmap(q, n);
}

/* Two full devices change what they have. */
static void exchange(void)
{
	size_t n = options.device_bytes;
	char *p = map_block(n), *q = map_block(n);

	number(p, n);
	memset(q, 6, n);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, n, 0, 0), PAGES(n));
	CU_ASSERT_EQUAL(hmm_migrate(h, q, n, 1, 0), PAGES(n));
	for (size_t at = 0; at < n; at += MIB) {
		CU_ASSERT_EQUAL(hmm_migrate(h, p + at, MIB, 1, 0), PAGES(MIB));
		CU_ASSERT_EQUAL(hmm_migrate(h, q + at, MIB, 0, 0), PAGES(MIB));
	}
	CU_ASSERT(where(p + n - 1) == 1 && where(q + n - 1) == 0);
	CU_ASSERT(counts(0).resident_pages <= (uint64_t)PAGES(n));
	CU_ASSERT(is_numbered(p, n) && all_bytes(q, n, 6));
	munmap(p, n);
	munmap(q, n);
}

void add_across_suite(void)
{
	CU_pSuite s = CU_add_suite_with_setup_and_teardown("between devices", NULL, NULL,
							   conf_set_up, conf_tear_down);

	CU_add_test(s, "a page, some pages, blocks", sizes);
	CU_add_test(s, "the last stores", last_stores);
	CU_add_test(s, "by a touch", by_fault);
	CU_add_test(s, "a range of several owners", mixed);
	CU_add_test(s, "read-mostly pages", read_mostly);
	CU_add_test(s, "files", files);
	CU_add_test(s, "a full target", full_target);
	CU_add_test(s, "two full devices", exchange);
}

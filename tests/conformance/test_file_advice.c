// SPDX-License-Identifier: MIT
/*
 * hmm_advise() for what hmm_map_file() maps, on the emulated devices: the driver's files need
 * hmmfs, and it is told nothing but no-migrate.
 */
#include "conformance/conf.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCK (2 * MIB)

static bool is_skipped(void)
{
	struct hmm_device_info info = { 0 };

	CU_ASSERT_EQUAL(hmm_device_info(h, 0, &info), 0);
	if (!strcmp(info.backend, "emulated"))
		return false;
	printf("(skipped: the driver takes no advice about files) ");
	return true;
}

/* A file with each byte 1, mapped twice if there is @again; the mappings keep it. */
static char *map_file(size_t bytes, char **again)
{
	int fd = memfd_create("advice", MFD_CLOEXEC);
	char page[PAGE];
	void *p = NULL;

	memset(page, 1, sizeof(page));
	for (size_t at = 0; at < bytes; at += PAGE)
		CU_ASSERT_EQUAL(pwrite(fd, page, PAGE, (off_t)at), (ssize_t)PAGE);
	CU_ASSERT_EQUAL_FATAL(hmm_map_file(h, fd, 0, bytes, PROT_READ | PROT_WRITE, 0, &p), 0);
	if (again) {
		void *q = NULL;

		CU_ASSERT_EQUAL_FATAL(hmm_map_file(h, fd, 0, bytes, PROT_READ, 0, &q), 0);
		*again = q;
	}
	close(fd);
	return p;
}

static int device_reads(int device, const char *p)
{
	char c = 0;
	long got = hmm_device_read(h, device, p, &c, 1);

	return got == 1 ? c : (int)got;
}

static void no_migrate(void)
{
	char *p, *q, buf[8 * PAGE];

	if (is_skipped())
		return;
	p = map_file(8 * PAGE, &q);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 8 * PAGE, 0, 0), 8);
	advise(p + 2 * PAGE, 3 * PAGE, HMM_ADVICE_NO_MIGRATE, 0);
	CU_ASSERT_EQUAL(count_at(p, 8 * PAGE, 0), 5);
	CU_ASSERT_EQUAL(count_at(p + 2 * PAGE, 3 * PAGE, HMM_SYSTEM), 3);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 8 * PAGE, 1, 0), 5);
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p, buf, 8 * PAGE), 2 * (long)PAGE);
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p + 2 * PAGE, buf, 1), -EFAULT);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + 4 * PAGE, buf, 1), -EFAULT);
	CU_ASSERT_EQUAL(device_reads(0, p + 5 * PAGE), 1);
	CU_ASSERT_EQUAL(count_at(p + 2 * PAGE, 3 * PAGE, HMM_SYSTEM), 3);
	/* The advice is of addresses: through others the same pages may go. */
	CU_ASSERT_EQUAL(device_reads(0, q + 2 * PAGE), 1);
	CU_ASSERT_EQUAL(where(p + 2 * PAGE), 0);
	CU_ASSERT_EQUAL(hmm_migrate(h, q, 8 * PAGE, 1, 0), 8);
	advise(p + 2 * PAGE, 3 * PAGE, HMM_ADVICE_NO_MIGRATE, 0);
	CU_ASSERT_EQUAL(count_at(q + 2 * PAGE, 3 * PAGE, HMM_SYSTEM), 3);
	advise(p, 8 * PAGE, HMM_ADVICE_MAY_MIGRATE, 0);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 8 * PAGE, 1, 0), 8);
	CU_ASSERT(all_bytes(p, 8 * PAGE, 1));
	hmm_unmap(h, p, 8 * PAGE);
	hmm_unmap(h, q, 8 * PAGE);
}

/* Of a long range, and of what was never read. */
static void no_migrate_among_many(void)
{
	char *p;

	if (is_skipped())
		return;
	p = map_file(2 * BLOCK, NULL);
	advise(p + BLOCK / 2, BLOCK, HMM_ADVICE_NO_MIGRATE, 0);
	CU_ASSERT_EQUAL(count_at(p, 2 * BLOCK, HMM_NOT_POPULATED), PAGES(2 * BLOCK));
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 2 * BLOCK, 0, 0), PAGES(BLOCK));
	CU_ASSERT_EQUAL(count_at(p + BLOCK / 2, BLOCK, HMM_NOT_POPULATED), PAGES(BLOCK));
	CU_ASSERT_EQUAL(device_reads(0, p + BLOCK / 2 - PAGE), 1);
	CU_ASSERT_EQUAL(device_reads(1, p + BLOCK / 2 - PAGE), 1);
	CU_ASSERT_EQUAL(count_at(p + BLOCK / 2, BLOCK, HMM_NOT_POPULATED), PAGES(BLOCK));
	CU_ASSERT(all_bytes(p, 2 * BLOCK, 1));
	advise(p + BLOCK / 2, BLOCK, HMM_ADVICE_MAY_MIGRATE, 0);
	hmm_unmap(h, p, 2 * BLOCK);
}

#define RACED 16

static _Atomic bool over;

static void *migrates(void *p)
{
	while (!atomic_load(&over))
		if (hmm_migrate(h, p, RACED * PAGE, 0, 0) < 0)
			return p;
	return NULL;
}

/* Once hmm_advise() has returned nothing is there, whoever had begun a migration before. */
static void no_migrate_at_once(void)
{
	pthread_t thread;
	void *failed;
	char *p;

	if (is_skipped())
		return;
	p = map_file(RACED * PAGE, NULL);
	atomic_store(&over, false);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, migrates, p), 0);
	for (int i = 0; i < scaled(300); i++) {
		advise(p, RACED * PAGE, HMM_ADVICE_NO_MIGRATE, 0);
		CU_ASSERT_EQUAL(count_at(p, RACED * PAGE, 0), 0);
		usleep(200);
		CU_ASSERT_EQUAL(count_at(p, RACED * PAGE, 0), 0);
		advise(p, RACED * PAGE, HMM_ADVICE_MAY_MIGRATE, 0);
		usleep(200);
	}
	atomic_store(&over, true);
	CU_ASSERT_EQUAL(pthread_join(thread, &failed), 0);
	CU_ASSERT_PTR_NULL(failed);
	hmm_unmap(h, p, RACED * PAGE);
}

static void windows(void)
{
	char *p;

	if (is_skipped())
		return;
	p = map_file(2 * BLOCK, NULL);
	advise(p, BLOCK, HMM_ADVICE_SEQUENTIAL, 0);
	advise(p + BLOCK / 2, BLOCK / 4, HMM_ADVICE_RANDOM, 0);
	CU_ASSERT_EQUAL(device_reads(0, p), 1);
	CU_ASSERT_EQUAL(device_reads(0, p + BLOCK / 2), 1);
	CU_ASSERT_EQUAL(device_reads(0, p + BLOCK), 1);
	CU_ASSERT_EQUAL(count_at(p, BLOCK / 2, 0), PAGES(BLOCK / 2));
	CU_ASSERT_EQUAL(count_at(p + BLOCK / 2, BLOCK / 2, 0), 1);
	CU_ASSERT_EQUAL(count_at(p + BLOCK, BLOCK, 0), 16);
	p[0]++;
	CU_ASSERT_EQUAL(count_at(p, BLOCK / 2, 0), 0);
	/* What the CPU touches first is read from the file the same way. */
	CU_ASSERT_EQUAL(p[BLOCK * 5 / 8], 1);
	CU_ASSERT_EQUAL(count_at(p + BLOCK / 2, BLOCK / 4, HMM_SYSTEM), 1);
	CU_ASSERT_EQUAL(p[BLOCK * 3 / 4], 1);
	CU_ASSERT_EQUAL(count_at(p + BLOCK * 3 / 4, BLOCK / 4, HMM_SYSTEM), PAGES(BLOCK / 4));
	CU_ASSERT_EQUAL(hmm_migrate(h, p, BLOCK, 0, 0), PAGES(BLOCK));
	p[BLOCK / 2]++;
	CU_ASSERT_EQUAL(count_at(p, BLOCK, HMM_SYSTEM), 1);
	advise(p, BLOCK, HMM_ADVICE_NORMAL, 0);
	p[0]++;
	CU_ASSERT_EQUAL(count_at(p, BLOCK / 2, HMM_SYSTEM), 4);
	hmm_unmap(h, p, 2 * BLOCK);
}

/* A CPU that reads on and on: what is fetched ahead of it ends where the advice does. */
static void fetched_ahead(void)
{
	char *p;

	if (is_skipped())
		return;
	p = map_file(2 * BLOCK, NULL);
	advise(p + BLOCK, BLOCK, HMM_ADVICE_RANDOM, 0);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 2 * BLOCK, 0, 0), PAGES(2 * BLOCK));
	usleep(10000); /* what has come only now is not fetched */
	CU_ASSERT(all_bytes(p, BLOCK, 1));
	usleep(100000);
	CU_ASSERT_EQUAL(count_at(p, BLOCK, HMM_SYSTEM), PAGES(BLOCK));
	CU_ASSERT_EQUAL(count_at(p + BLOCK, BLOCK, 0), PAGES(BLOCK));
	advise(p + BLOCK, BLOCK, HMM_ADVICE_NORMAL, 0);
	hmm_unmap(h, p, 2 * BLOCK);
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

/* It counts at whichever of its addresses it was advised. */
static void evict_first(void)
{
	char *p, *q, *more;

	if (is_skipped())
		return;
	p = map_file(3 * BLOCK, &q);
	more = map_file(2 * BLOCK, NULL);
	advise(q + BLOCK, BLOCK, HMM_ADVICE_EVICT_FIRST, 0);
	memset(p + BLOCK, 2, BLOCK / 2); /* one half has to be kept, the other is in the file */
	fill(p, more);
	CU_ASSERT_EQUAL(count_at(p, BLOCK, 0), PAGES(BLOCK));
	CU_ASSERT_EQUAL(count_at(p + BLOCK, BLOCK, 0), 0);
	CU_ASSERT_EQUAL(count_at(p + 2 * BLOCK, BLOCK, 0), PAGES(BLOCK));
	CU_ASSERT(all_bytes(p + BLOCK, BLOCK / 2, 2) && all_bytes(p + BLOCK * 3 / 2, BLOCK / 2, 1));
	empty(p, more);
	advise(q, 3 * BLOCK, HMM_ADVICE_NOT_EVICT_FIRST, 0);
	fill(p, more);
	CU_ASSERT_EQUAL(count_at(p, BLOCK, 0), 0);
	CU_ASSERT_EQUAL(count_at(p + BLOCK, BLOCK, 0), PAGES(BLOCK));
	hmm_unmap(h, p, 3 * BLOCK);
	hmm_unmap(h, q, 3 * BLOCK);
	hmm_unmap(h, more, 2 * BLOCK);
}

/* A part of a block goes without the rest, clean or not. */
static void evict_part(void)
{
	char *p, *more;

	if (is_skipped())
		return;
	p = map_file(2 * BLOCK, NULL);
	more = map_file(2 * BLOCK + BLOCK / 4, NULL);
	advise(p + BLOCK / 2, BLOCK / 4, HMM_ADVICE_EVICT_FIRST, 0);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 2 * BLOCK, 0, 0), PAGES(2 * BLOCK));
	CU_ASSERT_EQUAL(hmm_migrate(h, more, 2 * BLOCK + BLOCK / 4, 0, 0),
			PAGES(2 * BLOCK + BLOCK / 4));
	CU_ASSERT_EQUAL(count_at(p, BLOCK, 0), PAGES(BLOCK * 3 / 4));
	CU_ASSERT_EQUAL(count_at(p + BLOCK / 2, BLOCK / 4, 0), 0);
	advise(p, BLOCK, HMM_ADVICE_NOT_EVICT_FIRST, 0);
	hmm_unmap(h, p, 2 * BLOCK);
	hmm_unmap(h, more, 2 * BLOCK + BLOCK / 4);
}

static void preferred(void)
{
	char *p, *q, *more;

	if (is_skipped())
		return;
	p = map_file(3 * BLOCK, &q);
	more = map_file(2 * BLOCK, NULL);
	advise(q, BLOCK, HMM_ADVICE_PREFERRED, 0);
	fill(p, more);
	CU_ASSERT_EQUAL(count_at(p, BLOCK, 0), PAGES(BLOCK));
	CU_ASSERT_EQUAL(count_at(p + BLOCK, BLOCK, 0), 0);
	/* A fault elsewhere takes what was touched, through the addresses with the advice. */
	CU_ASSERT_EQUAL(device_reads(1, q), 1);
	CU_ASSERT_EQUAL(count_at(p, BLOCK, 1), 1);
	CU_ASSERT_EQUAL(q[PAGE], 1);
	CU_ASSERT_EQUAL(count_at(p, BLOCK, HMM_SYSTEM), 1);
	p[2 * PAGE] = 2;
	CU_ASSERT_EQUAL(count_at(p, BLOCK, HMM_SYSTEM), 5);
	empty(p, more);
	advise(q, BLOCK, HMM_ADVICE_NOT_PREFERRED, 0);
	advise(p, BLOCK, HMM_ADVICE_PREFERRED, HMM_SYSTEM);
	fill(p, more);
	CU_ASSERT_EQUAL(count_at(p, BLOCK, 0), 0);
	empty(p, more);
	CU_ASSERT_EQUAL(device_reads(0, p), 1);
	CU_ASSERT_EQUAL(count_at(p, BLOCK, 0), 1);
	advise(p, BLOCK, HMM_ADVICE_NOT_PREFERRED, 0);
	hmm_unmap(h, p, 3 * BLOCK);
	hmm_unmap(h, q, 3 * BLOCK);
	hmm_unmap(h, more, 2 * BLOCK);
}

/* Nothing is mapped: the device would see neither what was not read yet, nor be seen to store. */
static void accessed_by(void)
{
	char *p;

	if (is_skipped())
		return;
	p = map_file(4 * PAGE, NULL);
	advise(p, 4 * PAGE, HMM_ADVICE_ACCESSED_BY, 1);
	CU_ASSERT_EQUAL(device_reads(1, p), 1);
	CU_ASSERT_EQUAL(where(p), 1);
	CU_ASSERT_EQUAL(hmm_device_write(h, 1, p, "\2", 1), 1);
	CU_ASSERT(page_flags(p) & HMM_PAGE_DIRTY);
	CU_ASSERT_EQUAL(p[0], 2);
	advise(p, 4 * PAGE, HMM_ADVICE_NOT_ACCESSED_BY, 1);
	hmm_unmap(h, p, 4 * PAGE);
}

void add_file_advice_suite(void)
{
	CU_pSuite s = CU_add_suite_with_setup_and_teardown("advice about files", NULL, NULL,
							   conf_set_up, conf_tear_down);

	CU_add_test(s, "no-migrate", no_migrate);
	CU_add_test(s, "no-migrate in a long range", no_migrate_among_many);
	CU_add_test(s, "no-migrate beside migrations", no_migrate_at_once);
	CU_add_test(s, "sequential, random and normal windows", windows);
	CU_add_test(s, "a window's end is the advice's", fetched_ahead);
	CU_add_test(s, "evict first", evict_first);
	CU_add_test(s, "evict a part first", evict_part);
	CU_add_test(s, "preferred", preferred);
	CU_add_test(s, "accessed by a device", accessed_by);
}

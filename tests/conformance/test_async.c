// SPDX-License-Identifier: MIT
/* Fences: signalled when it is over, however it ends, and owned by the caller. */
#include "conformance/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MANY 64

static bool is_over(int fence, int ms)
{
	struct pollfd f = { .fd = fence, .events = POLLIN };

	return poll(&f, 1, patient(ms)) == 1 && (f.revents & POLLIN);
}

static void many_at_once(void)
{
	char *p = map_pages(MANY * PAGE, 3);
	int fence[MANY];

	for (int i = 0; i < MANY; i++)
		CU_ASSERT_EQUAL_FATAL(
			hmm_migrate_async(h, p + (size_t)i * PAGE, PAGE, i % 2, 0, &fence[i]), 0);
	for (int i = MANY - 1; i >= 0; i--) {
		CU_ASSERT(is_over(fence[i], 10000));
		CU_ASSERT(is_over(fence[i], 0)); /* it stays readable */
		close(fence[i]);
	}
	for (int i = 0; i < MANY; i++)
		CU_ASSERT_EQUAL(where(p + (size_t)i * PAGE), i % 2);
	CU_ASSERT(all_bytes(p, MANY * PAGE, 3));
	munmap(p, MANY * PAGE);
}

/* What only the migration can find is in the query, and the fence is signalled. */
static void ends_badly(void)
{
	char *p = map_pages(4 * PAGE, 3);
	int fence = -1;

	munmap(p + 2 * PAGE, 2 * PAGE);
	if (!hmm_migrate_async(h, p, 4 * PAGE, 0, 0, &fence)) {
		CU_ASSERT(is_over(fence, 10000));
		close(fence);
	}
	CU_ASSERT(all_bytes(p, 2 * PAGE, 3));
	munmap(p, 2 * PAGE);
}

static void bad_arguments(void)
{
	char *p = map_pages(PAGE, 1);
	int fence = 12345;

	CU_ASSERT_EQUAL(hmm_migrate_async(h, p, SIZE_MAX, 0, 0, &fence), -EINVAL);
	CU_ASSERT_EQUAL(hmm_migrate_async(h, p, PAGE, 0, 7, &fence), -EINVAL);
	CU_ASSERT_EQUAL(hmm_migrate_async(h, p, PAGE, -7, 0, &fence), -EINVAL);
	CU_ASSERT_EQUAL(hmm_migrate_async(NULL, p, PAGE, 0, 0, &fence), -EINVAL);
	CU_ASSERT_EQUAL(fence, 12345); /* untouched on failure */
	munmap(p, PAGE);
}

static void closed_on_exec(void)
{
	char *p = map_pages(PAGE, 1);
	int fence;

	CU_ASSERT_EQUAL_FATAL(hmm_migrate_async(h, p, PAGE, 0, 0, &fence), 0);
	CU_ASSERT(fcntl(fence, F_GETFD) & FD_CLOEXEC);
	CU_ASSERT(is_over(fence, 10000));
	close(fence);
	munmap(p, PAGE);
}

/* hmm_close() with migrations under way: they are over then, and everything is home. */
static int close_in_the_middle(void *unused)
{
	struct hmm *mine;
	char *p = map_pages(4 * MIB, 9);
	time_t until = time(NULL) + 20; /* where a migration takes long */
	int fence[16];

	(void)unused;
	for (int round = 0; round < 20 && time(NULL) < until; round++) {
		if (hmm_open(&mine, &options))
			return 1;
		for (int i = 0; i < 16; i++)
			if (hmm_migrate_async(mine, p, 4 * MIB, i % 2, 0, &fence[i]))
				return 2;
		hmm_close(mine);
		for (int i = 0; i < 16; i++) {
			if (!is_over(fence[i], 0))
				return 3;
			close(fence[i]);
		}
		if (!all_bytes(p, 4 * MIB, 9))
			return 4;
	}
	return 0;
}

static void closing(void)
{
	int ended = in_child(close_in_the_middle, NULL);

	if (ended)
		printf("(%d) ", ended);
	CU_ASSERT_EQUAL(ended, 0);
}

static int out_of_descriptors(void *unused)
{
	struct hmm *mine;
	char *p = map_pages(PAGE, 9);
	struct rlimit l = { 0, 4096 };
	int fence = -1, err;

	(void)unused;
	if (hmm_open(&mine, &options))
		return 1;
	l.rlim_cur = (rlim_t)dup(0);
	close((int)l.rlim_cur);
	if (setrlimit(RLIMIT_NOFILE, &l))
		return 2;
	err = hmm_migrate_async(mine, p, PAGE, 0, 0, &fence);
	if (err != -EMFILE || fence != -1)
		return 3;
	/* What needs no descriptor goes on. */
	if (hmm_migrate(mine, p, PAGE, 0, 0) != 1 || p[0] != 9)
		return 4;
	l.rlim_cur = 4096;
	setrlimit(RLIMIT_NOFILE, &l);
	err = hmm_migrate_async(mine, p, PAGE, 0, 0, &fence);
	if (err || !is_over(fence, 10000))
		return 5;
	hmm_close(mine);
	return 0;
}

static void no_descriptors(void)
{
	int ended = in_child(out_of_descriptors, NULL);

	if (ended)
		printf("(%d) ", ended);
	CU_ASSERT_EQUAL(ended, 0);
}

void add_async_suite(void)
{
	CU_pSuite s = CU_add_suite("fences", conf_open, conf_close);

	CU_add_test(s, "many at once", many_at_once);
	CU_add_test(s, "a migration that fails", ends_badly);
	CU_add_test(s, "bad arguments", bad_arguments);
	CU_add_test(s, "a fence is closed on exec", closed_on_exec);
	CU_add_test(s, "hmm_close() in the middle", closing);
	CU_add_test(s, "no descriptor left", no_descriptors);
}

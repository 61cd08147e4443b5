// SPDX-License-Identifier: MIT
/* <hmm/hmm_engine.h>, what language front ends stand on. */
#include "conformance/conf.h"

#include <errno.h>
#include <hmm/hmm_engine.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void memory(void)
{
	char *small = hmm_engine_alloc(24), *large = hmm_engine_alloc(64 * PAGE);

	CU_ASSERT_FATAL(small && large);
	CU_ASSERT_EQUAL((uintptr_t)large % PAGE, 0);
	memset(small, 1, 24);
	memset(large, 2, 64 * PAGE);
	CU_ASSERT_EQUAL(hmm_migrate(h, small, 24, 0, 0), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(hmm_migrate(h, large, 64 * PAGE, 0, 0), -EOPNOTSUPP);
	CU_ASSERT(all_bytes(small, 24, 1) && all_bytes(large, 64 * PAGE, 2));
	hmm_engine_free(small, 24);
	hmm_engine_free(large, 64 * PAGE);
}

/* The size comes from an application's argument in the end. */
static int absurd_sizes(void *unused)
{
	(void)unused;
	alarm((unsigned int)patient(5));
	for (size_t bytes = SIZE_MAX; bytes > 1ul << 40; bytes /= 2)
		if (hmm_engine_alloc(bytes))
			return 1;
	return hmm_engine_alloc(0) ? 2 : 0;
}

static void no_memory(void)
{
	CU_ASSERT_EQUAL(in_child(absurd_sizes, NULL), 0);
}

static void connections(void)
{
	unsigned int generation = 0, again = 99;
	int fd = -1, other = -1;

	CU_ASSERT_EQUAL(hmm_engine_connect(NULL, 0, &fd, &generation), -EINVAL);
	CU_ASSERT_EQUAL(hmm_engine_connect(h, 2, &fd, &generation), -EINVAL);
	CU_ASSERT_EQUAL(hmm_engine_connect(h, -1, &fd, &generation), -EINVAL);
	CU_ASSERT_EQUAL(hmm_engine_connect(h, 0, NULL, &generation), -EINVAL);
	CU_ASSERT_EQUAL(hmm_engine_connect(h, 0, &fd, NULL), -EINVAL);
	CU_ASSERT_EQUAL(fd, -1);
	CU_ASSERT_EQUAL_FATAL(hmm_engine_connect(h, 0, &fd, &generation), 0);
	CU_ASSERT_EQUAL_FATAL(hmm_engine_connect(h, 0, &other, &again), 0);
	CU_ASSERT_EQUAL(generation, again); /* the same engine */
	close(fd);
	close(other);
	for (int i = 0; i < 200; i++) {
		CU_ASSERT_EQUAL_FATAL(hmm_engine_connect(h, i % 2, &fd, &generation), 0);
		close(fd);
	}
}

static void launches(void)
{
	struct hmm_stats a = { .sz = sizeof(a) }, b = a;
	struct hmm_device_fault fault;
	unsigned int generation;
	int fd;

	CU_ASSERT_EQUAL(hmm_engine_launch_begin(h, 2, 1), -EINVAL);
	CU_ASSERT_EQUAL(hmm_engine_launch_begin(h, -1, 1), -EINVAL);
	CU_ASSERT_EQUAL(hmm_engine_launch_begin(NULL, 0, 1), -EINVAL);
	CU_ASSERT_EQUAL_FATAL(hmm_engine_connect(h, 0, &fd, &generation), 0);
	CU_ASSERT_EQUAL(hmm_engine_launch_end(h, 0, generation, NULL), -EINVAL);
	CU_ASSERT_EQUAL(hmm_engine_launch_end(h, 2, generation, &fault), -EINVAL);
	hmm_stats(h, 0, &a);
	CU_ASSERT_EQUAL(hmm_engine_launch_begin(h, 0, 1), 0);
	CU_ASSERT_EQUAL(hmm_engine_launch_end(h, 0, generation, &fault), 0);
	hmm_stats(h, 0, &b);
	CU_ASSERT_EQUAL(b.launches, a.launches + 1);
	close(fd);
}

/* Bytes that are no protocol: the engine drops the connection, and nothing else. */
static void noise(void)
{
	unsigned int generation, again;
	char *p = map_pages(PAGE, 1), junk[4096];
	int fd;

	for (int i = 0; i < 32; i++) {
		memset(junk, i % 2 ? 0xff : i, sizeof(junk));
		CU_ASSERT_EQUAL_FATAL(hmm_engine_connect(h, 0, &fd, &generation), 0);
		/* It may have hung up in the middle. */
		CU_ASSERT(write(fd, junk, (size_t)(1 + i * 127)) != 0);
		close(fd);
	}
	CU_ASSERT_EQUAL(hmm_engine_connect(h, 0, &fd, &again), 0);
	CU_ASSERT_EQUAL(generation, again);
	close(fd);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, PAGE, 0, 0), 1);
	CU_ASSERT(all_bytes(p, PAGE, 1));
	munmap(p, PAGE);
}

static int in_fork(void *unused)
{
	struct hmm_device_fault fault;
	unsigned int generation;
	int fd;

	(void)unused;
	if (hmm_engine_connect(h, 0, &fd, &generation) != -EPERM)
		return 1;
	if (hmm_engine_launch_begin(h, 0, 1) != -EPERM)
		return 2;
	return hmm_engine_launch_end(h, 0, 1, &fault) == -EPERM ? 0 : 3;
}

static void forked(void)
{
	CU_ASSERT_EQUAL(in_child(in_fork, NULL), 0);
}

void add_engine_suite(void)
{
	CU_pSuite s = CU_add_suite("for front ends", conf_open, conf_close);

	CU_add_test(s, "memory that stays", memory);
	CU_add_test(s, "sizes that no memory has", no_memory);
	CU_add_test(s, "connections", connections);
	CU_add_test(s, "launches", launches);
	CU_add_test(s, "bytes that are no protocol", noise);
	CU_add_test(s, "in a forked child", forked);
}

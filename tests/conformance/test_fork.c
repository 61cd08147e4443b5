// SPDX-License-Identifier: MIT
/* Children: what their parent's handle answers, and what their bytes are. */
#include "conformance/conf.h"

#include <errno.h>
#include <stdio.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static int every_call(void *arg)
{
	char *p = arg, c;
	struct hmm_device_info info;
	struct hmm_stats stats = { .sz = sizeof(stats) };
	struct hmm_page_status s;
	int fence;

	if (hmm_device_count(h) != -EPERM)
		return 1;
	if (hmm_device_info(h, 0, &info) != -EPERM)
		return 2;
	if (hmm_stats(h, -1, &stats) != -EPERM)
		return 3;
	if (hmm_migrate(h, p, PAGE, 0, 0) != -EPERM)
		return 4;
	if (hmm_migrate_async(h, p, PAGE, 0, 0, &fence) != -EPERM)
		return 5;
	if (hmm_query(h, p, PAGE, &s) != -EPERM)
		return 6;
	if (hmm_device_read(h, 0, p, &c, 1) != -EPERM)
		return 7;
	if (hmm_device_write(h, 0, p, &c, 1) != -EPERM)
		return 8;
	hmm_close(h);
	return all_bytes(p, MIB, 4) ? 0 : 9;
}

static void answers(void)
{
	char *p = map_pages(MIB, 4);

	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), PAGES(MIB));
	CU_ASSERT_EQUAL(in_child(every_call, p), 0);
	/* The child's hmm_close() was not the parent's. */
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), PAGES(MIB));
	CU_ASSERT(all_bytes(p, MIB, 4));
	munmap(p, MIB);
}

/* With a handle of its own, the parent's answers -EPERM all the same. */
static int with_own_handle(void *arg)
{
	struct hmm *mine;
	char *p = arg;

	if (hmm_open(&mine, &options))
		return 10;
	if (hmm_device_count(h) != -EPERM || hmm_migrate(h, p, PAGE, 0, 0) != -EPERM)
		return 11;
	if (hmm_migrate(mine, p, MIB, 1, 0) != PAGES(MIB))
		return 12;
	p[0] = 5;
	hmm_close(mine);
	return p[0] == 5 && all_bytes(p + 1, MIB - 1, 4) ? 0 : 13;
}

/* A child of the child, whose parent has devices of its own. */
static int generations(void *arg)
{
	struct hmm *mine, *parents = h;
	char *p = arg;
	int err;

	if (hmm_open(&mine, &options))
		return 1;
	if (hmm_migrate(mine, p, MIB, 1, 0) != PAGES(MIB))
		return 2;
	h = mine;
	err = in_child(with_own_handle, p);
	h = parents;
	if (err)
		return err;
	if (!all_bytes(p, MIB, 4))
		return 3;
	hmm_close(mine);
	return 0;
}

static void grandchildren(void)
{
	char *p = map_pages(MIB, 4);
	int ended;

	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), PAGES(MIB));
	ended = in_child(generations, p);
	if (ended)
		printf("(%d) ", ended);
	CU_ASSERT_EQUAL(ended, 0);
	CU_ASSERT(all_bytes(p, MIB, 4));
	munmap(p, MIB);
}

/* Copy on write in both directions, on the CPU's side and on the device's. */
static void copies(void)
{
	char *p = map_pages(MIB, 4), c = 9;
	int pipes[2];
	pid_t pid;
	int status = -1;

	CU_ASSERT_EQUAL_FATAL(pipe(pipes), 0);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), PAGES(MIB));
	pid = fork();
	if (!pid) {
		alarm((unsigned int)patient(60));
		if (read(pipes[0], &c, 1) != 1)
			_exit(1);
		_exit(all_bytes(p, MIB, 4) ? 0 : 2);
	}
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), PAGES(MIB));
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p, &c, 1), 1);
	p[PAGE] = 8;
	CU_ASSERT_EQUAL(write(pipes[1], "x", 1), 1);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT(p[0] == 9 && p[PAGE] == 8);
	CU_ASSERT(all_bytes(p + 2 * PAGE, MIB - 2 * PAGE, 4));
	close(pipes[0]);
	close(pipes[1]);
	munmap(p, MIB);
}

struct mover {
	char *p;
	_Atomic int stop;
	_Atomic long odd, moved;
};

static void *moves(void *arg)
{
	struct mover *m = arg;

	for (int i = 0; !atomic_load(&m->stop); i++) {
		long n = hmm_migrate(h, m->p, MIB, i % 3 - 1, 0);

		if (n < 0)
			atomic_store(&m->odd, n);
		else
			atomic_fetch_add(&m->moved, n);
	}
	return NULL;
}

static int sees_its_bytes(void *p)
{
	return all_bytes(p, MIB, 4) ? 0 : 1;
}

/* A fork at any moment of a migration: the child reads what was written, never zeros. */
static void in_the_middle(void)
{
	struct mover m = { .p = map_pages(MIB, 4) };
	pthread_t t;
	int bad = 0;

	CU_ASSERT_EQUAL_FATAL(pthread_create(&t, NULL, moves, &m), 0);
	for (int i = 0; i < scaled(100); i++)
		bad += in_child(sees_its_bytes, m.p) != 0;
	atomic_store(&m.stop, 1);
	pthread_join(t, NULL);
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_EQUAL(m.odd, 0);
	CU_ASSERT(m.moved > 0);
	CU_ASSERT(all_bytes(m.p, MIB, 4));
	munmap(m.p, MIB);
}

/*
 * When hmm_open() has returned, no thread of ours is still in the C library: with a sanitizer's
 * allocator, which is not made for fork(), the child would find that locked.
 */
static void right_after_open(void)
{
	char *p = map_pages(MIB, 4);
	int ended = 0;

	for (int i = 0; i < scaled(20) && !ended; i++) {
		CU_ASSERT_EQUAL_FATAL(conf_open(), 0);
		ended = in_child(with_own_handle, p);
		conf_close();
	}
	if (ended)
		printf("(%d) ", ended);
	CU_ASSERT_EQUAL(ended, 0);
	munmap(p, MIB);
}

void add_fork_suite(void)
{
	CU_pSuite s = CU_add_suite("children", conf_open, conf_close);

	CU_add_test(s, "every call on the parent's handle", answers);
	CU_add_test(s, "children of children", grandchildren);
	CU_add_test(s, "copy on write", copies);
	CU_add_test(s, "fork in the middle of migrations", in_the_middle);
	s = CU_add_suite("children at once", NULL, NULL);
	CU_add_test(s, "fork right after hmm_open()", right_after_open);
}

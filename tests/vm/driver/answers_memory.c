// SPDX-License-Identifier: MIT
/* When memory is short. */
#include "answers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 64
#define GROUP "/sys/fs/cgroup/answers"
#define LIMIT "12582912" /* less than the device's 16 MiB, and than what is used */
#define USED (32 * MIB / PAGE)

bool put(const char *name, const char *what)
{
	int fd = open(name, O_WRONLY);
	bool ok = fd >= 0 && write(fd, what, strlen(what)) == (ssize_t)strlen(what);

	if (fd >= 0)
		close(fd);
	return ok;
}

long look_up(const char *name, const char *key)
{
	FILE *f = fopen(name, "r");
	char line[256];
	long value = -1;

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)))
			value = strtol(line + strlen(key), NULL, 10);
	if (f)
		fclose(f);
	return value;
}

static bool have_swap(void)
{
	return look_up("/proc/meminfo", "SwapTotal:") > 0;
}

/* Not at once: a page that was just made is in a batch of some CPU's. */
static bool swap_out(char *p)
{
	for (int i = 0; i < patient(200); i++) {
		if (madvise(p, PAGES * PAGE, MADV_PAGEOUT))
			return false;
		if (count_pagemap(p, PAGES, PAGEMAP_SWAPPED) > 0)
			return true;
		usleep(5000);
	}
	return false;
}

/* What is being written to swap is busy, on a slow machine for longer than a call waits. */
static long migrate_in_time(char *p)
{
	long n = 0;

	for (int i = 0; i < patient(100) && n != PAGES; i++)
		n = migrate(p, PAGES * PAGE, 0);
	return n;
}

static void swapping(void)
{
	uint64_t value = 0;
	struct engine e;
	char *p = map(PAGES);

	CU_ASSERT_EQUAL_FATAL(engine_start(&e, 0, p, PAGES * PAGE), 0);
	fill(p, PAGES);
	/* What is on the device stays there. */
	CU_ASSERT_EQUAL(madvise(p, PAGES * PAGE, MADV_PAGEOUT), 0);
	CU_ASSERT_EQUAL(madvise(p, PAGES * PAGE, MADV_COLD), 0);
	CU_ASSERT(all_at(p, PAGES, 0));
	CU_ASSERT(intact(p, PAGES));
	/* What is swapped out is found there by a migration, and by the device. */
	if (!hmmfs_folder && have_swap())
		CU_ASSERT(swap_out(p));
	if (!hmmfs_folder && !have_swap())
		skipped("swapped pages", "no swap is on");
	CU_ASSERT_EQUAL(migrate_in_time(p), PAGES);
	CU_ASSERT(intact(p, PAGES));
	madvise(p, PAGES * PAGE, MADV_PAGEOUT);
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_LOAD, p + 5 * PAGE, 1, &value), 0);
	CU_ASSERT_EQUAL(value, (unsigned char)(5 * 31 + 5 * PAGE / 64 + 1));
	CU_ASSERT_EQUAL(where(p + 5 * PAGE), 0);
	CU_ASSERT(intact(p, PAGES));
	engine_end(&e);
	unmap(p, PAGES);
}

static bool is_out(const char *p)
{
	return count_pagemap(p, PAGES, PAGEMAP_PRESENT) < PAGES;
}

/* The kernel sees no store of an engine, and must not take such a page for a clean one. */
static void shared_swapping(void)
{
	char *p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		       0);
	size_t wrong = 0;
	struct engine e;

	CU_ASSERT_EQUAL_FATAL(engine_start(&e, 0, p, PAGES * PAGE), 0);
	for (size_t i = 0; i < PAGES; i++) {
		uint64_t value = i + 1;

		CU_ASSERT_EQUAL(engine_do(&e, ENGINE_LOAD, p + i * PAGE, 1, NULL), 0);
		CU_ASSERT_EQUAL(engine_do(&e, ENGINE_STORE, p + i * PAGE, 1, &value), 0);
	}
	for (int i = 0; i < 20 || (i < patient(1000) && !is_out(p)); i++) {
		CU_ASSERT_EQUAL(madvise(p, PAGES * PAGE, MADV_PAGEOUT), 0);
		usleep(5000);
	}
	CU_ASSERT(is_out(p));
	for (size_t i = 0; i < PAGES; i++)
		wrong += p[i * PAGE] != (char)(i + 1);
	CU_ASSERT_EQUAL(wrong, 0);
	engine_end(&e);
	munmap(p, PAGES * PAGE);
}

/* More than the group may have, on the device and off it. Returns what went wrong. */
static int under_pressure(void)
{
	char *p = map(USED);
	uint64_t value;
	struct engine e;

	if (client_open() || engine_start(&e, 0, p, USED * PAGE))
		return 1;
	for (size_t i = 0; i < USED; i++)
		memset(p + i * PAGE, (int)(i % 251), PAGE);
	if (migrate(p, 16 * MIB, 0) < 0 || migrate(p + 16 * MIB, 16 * MIB, 0) < 0)
		return 2;
	for (size_t i = 0; i < USED; i += 61) {
		if (engine_do(&e, ENGINE_LOAD, p + i * PAGE, 1, &value))
			return 3;
		if (value != i % 251)
			return 4;
	}
	for (size_t i = 0; i < USED * PAGE; i++)
		if (p[i] != (char)(i / PAGE % 251))
			return 5;
	engine_end(&e);
	return 0;
}

static void group_limit(void)
{
	int status = -1;
	pid_t pid;

	if (!put("/sys/fs/cgroup/cgroup.subtree_control", "+memory") ||
	    (mkdir(GROUP, 0755) && errno != EEXIST)) {
		skipped("memory cgroup", "no memory controller is mounted");
		return;
	}
	if (!hmmfs_folder && !have_swap()) {
		skipped("memory cgroup", "no swap is on for what is too much");
		return;
	}
	CU_ASSERT(put(GROUP "/memory.max", LIMIT));
	pid = fork();
	if (!pid) {
		char me[16];

		snprintf(me, sizeof(me), "%d", getpid());
		_exit(put(GROUP "/cgroup.procs", me) ? under_pressure() : 9);
	}
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT_EQUAL(look_up(GROUP "/memory.events", "oom_kill "), 0);
	for (int i = 0; i < patient(100) && rmdir(GROUP); i++)
		usleep(20000);
	CU_ASSERT_EQUAL(resident(0), 0);
}

void add_memory_tests(CU_pSuite s)
{
	CU_add_test(s, "swap", swapping);
	if (!hmmfs_folder)
		CU_add_test(s, "shared memory, and swap", shared_swapping);
	CU_add_test(s, "a memory cgroup's limit", group_limit);
}

// SPDX-License-Identifier: MIT
/* Arguments that lie on a device themselves, and system calls that meet such memory. */
#include "conformance/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void outputs(void)
{
	char *p = map_pages(4 * PAGE, 1);
	struct hmm_device_info *info = (void *)p;
	struct hmm_stats *stats = (void *)(p + PAGE);
	int *fence = (void *)(p + 2 * PAGE);
	struct hmm_page_status *s = (void *)(p + 3 * PAGE);

	stats->sz = sizeof(*stats);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 4 * PAGE, 0, 0), 4);
	CU_ASSERT_EQUAL(hmm_device_info(h, 0, info), 0);
	CU_ASSERT_EQUAL(info->resident, 4 * PAGE);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 4 * PAGE, 0, 0), 4);
	CU_ASSERT_EQUAL(hmm_stats(h, -1, stats), 0);
	CU_ASSERT_EQUAL(stats->sz, sizeof(*stats));
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 4 * PAGE, 0, 0), 4);
	CU_ASSERT_EQUAL(hmm_migrate_async(h, p + PAGE, PAGE, 1, 0, fence), 0);
	CU_ASSERT_EQUAL(close(*fence), 0);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 4 * PAGE, 0, 0), 4);
	/* The answer is of before it was written. */
	CU_ASSERT_EQUAL(hmm_query(h, p, 4 * PAGE, s), 4);
	CU_ASSERT_EQUAL(s[0].location, 0);
	munmap(p, 4 * PAGE);
}

static void options_on_a_device(void)
{
	char *p = map_pages(PAGE, 0);
	struct hmm_open_opts *o = (void *)p;
	struct hmm *other;

	*o = options;
	CU_ASSERT_EQUAL(hmm_migrate(h, p, PAGE, 0, 0), 1);
	CU_ASSERT_EQUAL_FATAL(hmm_open(&other, o), 0);
	hmm_close(other);
	munmap(p, PAGE);
}

/* Both sides of a copy are migratable, or one and the same. */
static void buffers(void)
{
	char *p = map_pages(MIB, 1), *q = map_pages(MIB, 2);

	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), PAGES(MIB));
	CU_ASSERT_EQUAL(hmm_migrate(h, q, MIB, 1, 0), PAGES(MIB));
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p, q, MIB), (long)MIB);
	CU_ASSERT(all_bytes(q, MIB, 1));
	memset(q, 3, MIB);
	CU_ASSERT_EQUAL(hmm_migrate(h, q, MIB, 0, 0), PAGES(MIB));
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p, q, MIB), (long)MIB);
	CU_ASSERT(all_bytes(p, MIB, 3));
	CU_ASSERT_EQUAL(hmm_device_write(h, 1, p, p, MIB), (long)MIB);
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p, p, MIB), (long)MIB);
	CU_ASSERT(all_bytes(p, MIB, 3));
	munmap(p, MIB);
	munmap(q, MIB);
}

/* More than all devices hold, in one call, at odd addresses. */
static void large_access(void)
{
	size_t n = 3 * options.device_bytes;
	char *p = map_pages(n, 4), *buffer = malloc(n);

	memset(buffer, 5, n);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + 13, buffer, n - 100), (long)(n - 100));
	CU_ASSERT(all_bytes(p, 13, 4));
	CU_ASSERT(all_bytes(p + n - 87, 87, 4));
	CU_ASSERT(all_bytes(p + 13, n - 100, 5));
	memset(buffer, 0, n);
	CU_ASSERT_EQUAL(hmm_device_read(h, 1, p + 13, buffer, n - 100), (long)(n - 100));
	CU_ASSERT(all_bytes(buffer, n - 100, 5));
	CU_ASSERT_EQUAL(buffer[n - 100], 0);
	free(buffer);
	munmap(p, n);
}

static void reads_and_writes(void)
{
	char *p = map_pages(MIB, 6), *path, c = 0;
	int fd = memfd_create("file", MFD_CLOEXEC), pipes[2];
	struct stat *st = (void *)p;

	if (!serves_system_calls()) {
		printf("(skipped: user-mode faults only) ");
		close(fd);
		munmap(p, MIB);
		return;
	}
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), PAGES(MIB));
	CU_ASSERT_EQUAL(pwrite(fd, p, MIB, 0), (long)MIB);
	memset(p, 0, MIB);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 1, 0), PAGES(MIB));
	CU_ASSERT_EQUAL(pread(fd, p + 100, MIB - 100, 0), (long)(MIB - 100));
	CU_ASSERT(all_bytes(p, 100, 0) && all_bytes(p + 100, MIB - 100, 6));
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), PAGES(MIB));
	CU_ASSERT_EQUAL(fstat(fd, st), 0);
	CU_ASSERT_EQUAL(st->st_size, (long)MIB);
	CU_ASSERT_EQUAL(pipe(pipes), 0);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), PAGES(MIB));
	CU_ASSERT_EQUAL(write(pipes[1], p + MIB - 1, 1), 1);
	CU_ASSERT_EQUAL(read(pipes[0], &c, 1), 1);
	CU_ASSERT_EQUAL(c, 6);
	path = strcpy(p, "/dev/null");
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), PAGES(MIB));
	CU_ASSERT_EQUAL(access(path, R_OK), 0);
	close(pipes[0]);
	close(pipes[1]);
	close(fd);
	munmap(p, MIB);
}

static void futexes(void)
{
	char *p = map_pages(PAGE, 0);
	int *word = (int *)(void *)p;
	struct timespec soon = { 0, 1000000 };

	if (!serves_system_calls()) {
		printf("(skipped: user-mode faults only) ");
		munmap(p, PAGE);
		return;
	}
	*word = 5;
	CU_ASSERT_EQUAL(hmm_migrate(h, p, PAGE, 0, 0), 1);
	CU_ASSERT(syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 4, &soon) == -1 && errno == EAGAIN);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, PAGE, 0, 0), 1);
	CU_ASSERT(syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 5, &soon) == -1 &&
		  errno == ETIMEDOUT);
	munmap(p, PAGE);
}

/* vfork() inside shares memory with the parent while it migrates. */
static void spawns(void)
{
	char *p = map_pages(MIB, 7);
	char *argv[] = { "true", NULL };

	for (int i = 0; i < 20; i++) {
		int status = -1;
		pid_t pid;

		CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, i % 2, 0), PAGES(MIB));
		CU_ASSERT_EQUAL_FATAL(posix_spawnp(&pid, "true", NULL, NULL, argv, environ), 0);
		CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
		CU_ASSERT_EQUAL(status, 0);
		CU_ASSERT_EQUAL(where(p), i % 2); /* it brought nothing home */
	}
	CU_ASSERT(all_bytes(p, MIB, 7));
	munmap(p, MIB);
}

void add_output_suite(void)
{
	CU_pSuite s = CU_add_suite("arguments on a device", conf_open, conf_close);

	CU_add_test(s, "outputs", outputs);
	CU_add_test(s, "options", options_on_a_device);
	CU_add_test(s, "buffers", buffers);
	CU_add_test(s, "accesses larger than the device", large_access);
	CU_add_test(s, "read, write, stat and access", reads_and_writes);
	CU_add_test(s, "futexes", futexes);
	CU_add_test(s, "posix_spawn", spawns);
}

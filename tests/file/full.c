// SPDX-License-Identifier: MIT
/*
 * full FOLDER: a filesystem that has no room. hmm_sync() says -ENOSPC, the pages stay dirty and
 * where they are, and when there is room a sync that returns 0 has written all of them.
 * Status 77 where no tmpfs can be mounted.
 */
#include "check.h"

#include <hmm/hmm.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096ul
#define PAGES 256ul

static char folder[300], path[400], other[400];

static void clean_up(void)
{
	umount2(folder, MNT_DETACH);
	rmdir(folder);
}

/* In a mount namespace of our own, half as large as the file will be. */
static bool mount_small(const char *where)
{
	char opts[32];

	snprintf(folder, sizeof(folder), "%s/full-%d", where, (int)getpid());
	snprintf(path, sizeof(path), "%s/file", folder);
	snprintf(other, sizeof(other), "%s/other", folder);
	snprintf(opts, sizeof(opts), "size=%lu", PAGES * PAGE);
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mkdir(folder, 0700))
		return false;
	if (mount("none", folder, "tmpfs", 0, opts)) {
		rmdir(folder);
		return false;
	}
	atexit(clean_up);
	return true;
}

static void fill_half(void)
{
	int fd = open(other, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	CHECK(fd >= 0 && !posix_fallocate(fd, 0, (off_t)(PAGES * PAGE / 2)));
	close(fd);
}

static long count(struct hmm *h, char *p, bool dirty)
{
	static struct hmm_page_status s[PAGES];
	long n = 0;

	CHECK(hmm_query(h, p, PAGES * PAGE, s) == (int)PAGES);
	for (unsigned long i = 0; i < PAGES; i++)
		n += dirty ? !!(s[i].flags & HMM_PAGE_DIRTY) : s[i].location == 0;
	return n;
}

static void expect(int fd, int from, int to, char value)
{
	static char bytes[PAGES * PAGE];

	CHECK(pread(fd, bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes));
	for (int i = from; i < to; i++)
		CHECK(bytes[(unsigned long)i * PAGE] == value);
}

int main(int argc, char **argv)
{
	struct hmm_open_opts o = { .sz = sizeof(o), .backend = "emulated" };
	struct hmm *h;
	void *p;
	int fd;

	if (!mount_small(argc > 1 ? argv[1] : "/tmp")) {
		printf("skipped: no tmpfs can be mounted\n");
		return 77;
	}
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && !ftruncate(fd, (off_t)(PAGES * PAGE)));
	fill_half();
	CHECK(!hmm_open(&h, &o));
	CHECK(!hmm_map_file(h, fd, 0, PAGES * PAGE, PROT_READ | PROT_WRITE, 0, &p));
	CHECK(hmm_migrate(h, p, PAGES * PAGE, 0, 0) == (long)PAGES);
	for (unsigned long i = 0; i < PAGES; i++)
		CHECK(hmm_device_write(h, 0, (char *)p + i * PAGE, "D", 1) == 1);
	/* To each who waits, and the flusher has had a try in between. */
	CHECK(hmm_sync(h, p, PAGES * PAGE, 0) == -ENOSPC);
	CHECK(count(h, p, true) >= (long)PAGES / 2 - 1 && count(h, p, false) == (long)PAGES);
	usleep(1500000);
	CHECK(hmm_sync(h, p, PAGES * PAGE, 0) == -ENOSPC);
	CHECK(count(h, p, false) == (long)PAGES);
	CHECK(!unlink(other));
	CHECK(!hmm_sync(h, p, PAGES * PAGE, 0));
	CHECK(!count(h, p, true) && count(h, p, false) == (long)PAGES);
	expect(fd, 0, (int)PAGES, 'D');
	CHECK(((char *)p)[5 * PAGE] == 'D');
	CHECK(!hmm_unmap(h, p, PAGES * PAGE));
	hmm_close(h);
	close(fd);
	printf("-ENOSPC twice, then all of %lu pages written from the device\n", PAGES);
	return 0;
}

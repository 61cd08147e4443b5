// SPDX-License-Identifier: MIT
/*
 * Shared mappings of files that have no name any more, where their pages cannot be had from the
 * kernel by the mapping: a descriptor of the process must be of that file, and of no other.
 */
#include "conformance/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define SKIPPED 77

static bool write_to(const char *path, const char *what)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, what, strlen(what)) == (ssize_t)strlen(what);

	close(fd);
	return done;
}

/* Here not even root may open what is mapped, and everybody may mount. */
static bool enter_namespace(void)
{
	char uid[32], gid[32];

	snprintf(uid, sizeof(uid), "0 %d 1", (int)getuid());
	snprintf(gid, sizeof(gid), "0 %d 1", (int)getgid());
	return !unshare(CLONE_NEWUSER | CLONE_NEWNS) && write_to("/proc/self/setgroups", "deny") &&
	       write_to("/proc/self/uid_map", uid) && write_to("/proc/self/gid_map", gid);
}

/* A file without a name, in a filesystem of its own. */
static int lonely_file(const char *dir)
{
	char path[80];
	int fd;

	if (mount("none", dir, "tmpfs", 0, NULL))
		return -1;
	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	unlink(path);
	return fd < 0 || ftruncate(fd, PAGE) ? -1 : fd;
}

struct numbers {
	char dir[40];
	bool keep; /* a descriptor of the file that is mapped */
};

/* Two files with one number: what is stored to one does not come to the other. */
static int same_numbers(void *arg)
{
	struct numbers *n = arg;
	struct stat a, b;
	int fd, victim;
	char *p, c = 1;
	long done;

	fd = enter_namespace() ? lonely_file(n->dir) : -1;
	if (fd < 0)
		return SKIPPED;
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fcntl(fd, F_DUPFD_CLOEXEC, 300) != 300 || close(fd))
		return 1;
	victim = lonely_file(n->dir); /* whose descriptor is found first */
	if (victim < 0 || victim >= 300 || fstat(300, &a) || fstat(victim, &b))
		return 2;
	if (a.st_ino != b.st_ino || a.st_dev == b.st_dev)
		return SKIPPED;
	if (!n->keep)
		close(300);
	if (hmm_open(&h, &options))
		return 3;
	done = hmm_device_write(h, 0, p, "D", 1);
	if (done != (n->keep ? 1 : -EFAULT) || p[0] != (n->keep ? 'D' : 0))
		return 4;
	if (pread(victim, &c, 1, 0) != 1 || c)
		return 5;
	hmm_close(h);
	return 0;
}

static void other_file(void)
{
	struct numbers n = { "/tmp/hmm-conformance-XXXXXX", true };
	struct hmm_device_info info;

	CU_ASSERT_EQUAL_FATAL(hmm_device_info(h, 0, &info), 0);
	if (strcmp(info.backend, "emulated") != 0) {
		printf("(skipped: the driver needs no descriptor) ");
		return;
	}
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(n.dir));
	for (int i = 0; i < 2; i++, n.keep = false) {
		int ended = in_child(same_numbers, &n);

		if (ended)
			printf("(%s %d) ", ended == SKIPPED ? "skipped" : "ended", ended);
		CU_ASSERT(!ended || ended == SKIPPED);
	}
	rmdir(n.dir);
}

void add_shared_suite(void)
{
	CU_pSuite s = CU_add_suite("files without a name", conf_open, conf_close);

	CU_add_test(s, "another file of the same number", other_file);
}

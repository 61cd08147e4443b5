// SPDX-License-Identifier: MIT
/*
 * hmm_map_file(), hmm_sync(), hmm_unmap(). Where the driver is, HMM_TEST_HMMFS names a folder
 * on hmmfs, and HMM_TEST_LOWER the one below it. The emulated backend maps every file, but what
 * others read(2) and write(2) is not at any time what the device has.
 */
#include "conformance/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BOTH (PROT_READ | PROT_WRITE)

static const char *folder(const char *name)
{
	const char *path = getenv(name);

	return path ? path : "/dev/shm";
}

static bool on_device(void)
{
	return is_emulated() || getenv("HMM_TEST_HMMFS") != NULL;
}

/* A file of @bytes, each @value. */
static int make_file(const char *name, size_t bytes, int value, char *path, size_t room)
{
	char *data = malloc(bytes);
	int fd;

	snprintf(path, room, "%s/%s-%d", folder("HMM_TEST_HMMFS"), name, (int)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	memset(data, value, bytes);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(pwrite(fd, data, bytes, 0), (ssize_t)bytes);
	free(data);
	return fd;
}

static void wrong_arguments(void)
{
	char path[200];
	int fd = make_file("arguments", MIB, 1, path, sizeof(path));
	int ro = open(path, O_RDONLY), pipes[2], closed;
	void *p = path;

	CU_ASSERT_EQUAL(hmm_map_file(h, fd, 0, 0, BOTH, 0, &p), -EINVAL);
	CU_ASSERT_EQUAL(hmm_map_file(h, fd, 0, SIZE_MAX, BOTH, 0, &p), -EINVAL);
	CU_ASSERT_EQUAL(hmm_map_file(h, fd, 5, MIB, BOTH, 0, &p), -EINVAL);
	CU_ASSERT_EQUAL(hmm_map_file(h, fd, -4096, MIB, BOTH, 0, &p), -EINVAL);
	CU_ASSERT_EQUAL(hmm_map_file(h, fd, 0, MIB, PROT_WRITE, 0, &p), -EINVAL);
	CU_ASSERT_EQUAL(hmm_map_file(h, fd, 0, MIB, PROT_EXEC | PROT_READ, 0, &p), -EINVAL);
	CU_ASSERT_EQUAL(hmm_map_file(h, fd, 0, MIB, BOTH, 2, &p), -EINVAL);
	CU_ASSERT_EQUAL(hmm_map_file(h, fd, 0, MIB, BOTH, 0, NULL), -EINVAL);
	CU_ASSERT_EQUAL(hmm_map_file(h, fd, INT64_MAX - (off_t)PAGE + 1, MIB, BOTH, 0, &p),
			-EOVERFLOW);
	CU_ASSERT_EQUAL(hmm_map_file(h, ro, 0, MIB, BOTH, 0, &p), -EACCES);
	CU_ASSERT_EQUAL(pipe(pipes), 0);
	CU_ASSERT_EQUAL(hmm_map_file(h, pipes[0], 0, MIB, PROT_READ, 0, &p), -EOPNOTSUPP);
	closed = dup(fd);
	close(closed);
	CU_ASSERT_EQUAL(hmm_map_file(h, closed, 0, MIB, BOTH, 0, &p), -EBADF);
	CU_ASSERT_PTR_EQUAL(p, path);
	CU_ASSERT_EQUAL(hmm_unmap(h, path, PAGE), -EINVAL);
	CU_ASSERT_EQUAL(hmm_sync(h, path, PAGE, 0), -EINVAL);
	CU_ASSERT_EQUAL(hmm_sync(h, path, 0, 0), -EINVAL);
	close(pipes[0]);
	close(pipes[1]);
	close(ro);
	close(fd);
	unlink(path);
}

/* A backend that has no way for this file says so. */
static void elsewhere(void)
{
	int fd = memfd_create("elsewhere", MFD_CLOEXEC);
	void *p = NULL;
	char c = 0;

	CU_ASSERT_EQUAL(ftruncate(fd, (off_t)MIB), 0);
	if (!is_emulated()) {
		CU_ASSERT_EQUAL(hmm_map_file(h, fd, 0, MIB, BOTH, 0, &p), -EOPNOTSUPP);
		CU_ASSERT_PTR_NULL(p);
		close(fd);
		return;
	}
	CU_ASSERT_EQUAL(hmm_map_file(h, fd, 0, MIB, BOTH, HMM_MAP_COHERENT, &p), -EXDEV);
	CU_ASSERT_PTR_NULL(p);
	CU_ASSERT_EQUAL_FATAL(hmm_map_file(h, fd, 0, MIB, BOTH, 0, &p), 0);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p, "M", 1), 1);
	CU_ASSERT_EQUAL(hmm_sync(h, p, 1, 0), 0);
	CU_ASSERT(pread(fd, &c, 1, 0) == 1 && c == 'M');
	CU_ASSERT_EQUAL(hmm_unmap(h, p, MIB), 0);
	close(fd);
}

/* What the filesystem below has: not through the page cache that the device shares. */
static bool below_has(const char *path, off_t at, int value)
{
	char lower[300], c = 0;
	int fd;

	snprintf(lower, sizeof(lower), "%s/%s", folder("HMM_TEST_LOWER"), strrchr(path, '/') + 1);
	fd = open(lower, O_RDONLY);
	if (fd < 0 || pread(fd, &c, 1, at) != 1)
		c = (char)(value + 1);
	close(fd);
	return c == (char)value;
}

static void written_while_resident(void)
{
	char path[200], *p, c = 0;
	void *at = NULL;
	int fd;

	if (!on_device()) {
		printf("(skipped: no hmmfs) ");
		return;
	}
	fd = make_file("resident", MIB, 1, path, sizeof(path));
	CU_ASSERT_EQUAL_FATAL(
		hmm_map_file(h, fd, 0, MIB, BOTH, is_emulated() ? 0 : HMM_MAP_COHERENT, &at), 0);
	p = at;
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), PAGES(MIB));
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + 5 * PAGE, "D", 1), 1);
	CU_ASSERT_EQUAL(where(p + 5 * PAGE), 0);
	CU_ASSERT(page_flags(p + 5 * PAGE) & HMM_PAGE_SHARED);
	CU_ASSERT(page_flags(p + 5 * PAGE) & HMM_PAGE_DIRTY);
	CU_ASSERT_EQUAL(hmm_sync(h, p, MIB, 0), 0);
	CU_ASSERT(below_has(path, 5 * PAGE, 'D'));
	CU_ASSERT_EQUAL(where(p + 5 * PAGE), 0);
	CU_ASSERT(!(page_flags(p + 5 * PAGE) & HMM_PAGE_DIRTY));
	if (!is_emulated()) {
		/* read(2) and write(2) are coherent with the device. */
		CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + 6 * PAGE, "E", 1), 1);
		CU_ASSERT(pread(fd, &c, 1, 6 * PAGE) == 1 && c == 'E');
		CU_ASSERT_EQUAL(pwrite(fd, "F", 1, 7 * PAGE), 1);
		CU_ASSERT(hmm_device_read(h, 0, p + 7 * PAGE, &c, 1) == 1 && c == 'F');
	}
	CU_ASSERT_EQUAL(hmm_unmap(h, p, MIB), 0);
	CU_ASSERT_EQUAL(hmm_sync(h, p, PAGE, 0), -EINVAL);
	close(fd);
	unlink(path);
}

static int touches(void *p)
{
	signal(SIGBUS, SIG_DFL); /* a sanitizer has its own */
	return *(volatile char *)p;
}

static void parts(void)
{
	char path[200], *p, *q;
	void *at = NULL;
	int fd;

	if (!on_device()) {
		printf("(skipped: no hmmfs) ");
		return;
	}
	fd = make_file("parts", 4 * PAGE, 7, path, sizeof(path));
	CU_ASSERT_EQUAL_FATAL(hmm_map_file(h, fd, 0, 8 * PAGE, BOTH, 0, &at), 0);
	p = at;
	CU_ASSERT_EQUAL_FATAL(hmm_map_file(h, fd, PAGE, PAGE, PROT_READ, 0, &at), 0);
	q = at;
	close(fd);
	CU_ASSERT_EQUAL(in_child(touches, p + 5 * PAGE), ENDED_BY(SIGBUS));
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + PAGE, "X", 1), 1);
	CU_ASSERT_EQUAL(q[0], 'X'); /* one copy */
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, q, "Y", 1), -EFAULT);
	CU_ASSERT_EQUAL(hmm_unmap(h, p + 2 * PAGE, PAGE), 0);
	CU_ASSERT_EQUAL(hmm_unmap(h, p, 8 * PAGE), -EINVAL); /* not all of it is mapped */
	CU_ASSERT_EQUAL(p[3 * PAGE], 7);
	CU_ASSERT_EQUAL(hmm_sync(h, p, 2 * PAGE, 0), 0);
	CU_ASSERT_EQUAL(hmm_unmap(h, p, 2 * PAGE), 0);
	CU_ASSERT_EQUAL(hmm_unmap(h, p + 3 * PAGE, 5 * PAGE), 0);
	CU_ASSERT_EQUAL(hmm_unmap(h, q, PAGE), 0);
	CU_ASSERT(below_has(path, PAGE, 'X'));
	unlink(path);
}

void add_file_suite(void)
{
	CU_pSuite s = CU_add_suite("files", conf_open, conf_close);

	CU_add_test(s, "wrong arguments", wrong_arguments);
	CU_add_test(s, "a file that cannot go to a device", elsewhere);
	CU_add_test(s, "written back while resident", written_while_resident);
	CU_add_test(s, "parts, ends and two mappings", parts);
}

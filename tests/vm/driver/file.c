// SPDX-License-Identifier: MIT
/* Pages of files on a device: file MOUNT LOWER, where hmmfs at MOUNT stands on LOWER. */
#include "file.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

const char *upper, *lower;

const char *path(const char *folder, const char *name)
{
	static char room[4][256];
	static unsigned int n;
	char *p = room[n++ % 4];

	snprintf(p, sizeof(room[0]), "%s/%s", folder, name);
	return p;
}

int make_file(const char *name, size_t pages)
{
	int fd = open(path(upper, name), O_RDWR | O_CREAT | O_TRUNC, 0644);
	char page[PAGE];

	for (size_t i = 0; i < pages; i++) {
		memset(page, (int)i + 1, sizeof(page));
		if (pwrite(fd, page, sizeof(page), (off_t)(i * PAGE)) != (ssize_t)PAGE)
			return -1;
	}
	return fd;
}

char *map_file(int fd, size_t pages)
{
	return mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

int lower_byte(const char *name, off_t at)
{
	int fd = open(path(lower, name), O_RDONLY);
	unsigned char c;
	ssize_t n = pread(fd, &c, 1, at);

	close(fd);
	return n == 1 ? c : -1;
}

void drop_caches(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);

	CU_ASSERT_EQUAL(write(fd, "3", 1), 1);
	close(fd);
}

static void life(void)
{
	int fd = make_file("life", 4);
	char *p = map_file(fd, 4), c;
	uint64_t value = 0;
	struct engine e;

	CU_ASSERT_EQUAL_FATAL(engine_start(&e, 0, p, 4 * PAGE), 0);
	CU_ASSERT_EQUAL(p[PAGE], 2);
	CU_ASSERT_EQUAL(migrate(p, 4 * PAGE, 0), 4);
	CU_ASSERT(where(p) == 0 && where(p + 3 * PAGE) == 0);
	CU_ASSERT_EQUAL(resident(0), 4 * PAGE);
	/* The engine loads and stores; nothing moves. */
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_LOAD, p + PAGE + 5, 1, &value), 0);
	CU_ASSERT_EQUAL(value, 2);
	value = 77;
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_STORE, p + PAGE + 5, 1, &value), 0);
	CU_ASSERT_EQUAL(where(p + PAGE), 0);
	/* Written back, and still there. */
	CU_ASSERT_EQUAL(fsync(fd), 0);
	CU_ASSERT(where(p) == 0 && where(p + PAGE) == 0);
	CU_ASSERT_EQUAL(lower_byte("life", PAGE + 5), 77);
	CU_ASSERT_EQUAL(lower_byte("life", PAGE + 6), 2);
	/* A store after that makes it dirty anew. */
	value = 78;
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_STORE, p + PAGE + 5, 1, &value), 0);
	CU_ASSERT_EQUAL(lower_byte("life", PAGE + 5), 77);
	CU_ASSERT_EQUAL(fsync(fd), 0);
	CU_ASSERT_EQUAL(lower_byte("life", PAGE + 5), 78);
	/* read() and the CPU's loads bring it home. */
	CU_ASSERT(pread(fd, &c, 1, PAGE + 5) == 1 && c == 78);
	CU_ASSERT_EQUAL(where(p + PAGE), DRM_HMM_SYSTEM);
	CU_ASSERT_EQUAL(where(p), 0);
	CU_ASSERT_EQUAL(p[5], 1);
	CU_ASSERT_EQUAL(where(p), DRM_HMM_SYSTEM);
	/* A write by system call to a page on the device. */
	CU_ASSERT_EQUAL(migrate(p, 4 * PAGE, 1), 4);
	CU_ASSERT_EQUAL(pwrite(fd, "x", 1, 2 * PAGE + 9), 1);
	CU_ASSERT(p[2 * PAGE + 9] == 'x' && p[2 * PAGE + 8] == 3);
	/* The device faults for a page that is nowhere. */
	drop_caches();
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_LOAD, p + 3 * PAGE, 1, &value), 0);
	CU_ASSERT_EQUAL(value, 4);
	CU_ASSERT_EQUAL(where(p + 3 * PAGE), 0);
	engine_end(&e);
	munmap(p, 4 * PAGE);
	close(fd);
	CU_ASSERT_EQUAL(unlink(path(upper, "life")), 0);
	CU_ASSERT_EQUAL(resident(0), 0);
	CU_ASSERT_EQUAL(resident(1), 0);
}

/* Who may only read the file has it on the device, too. */
static void read_only(void)
{
	uint64_t value = 0;
	struct engine e;
	char *p;
	int fd;

	close(make_file("constant", 2));
	fd = open(path(upper, "constant"), O_RDONLY);
	p = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	CU_ASSERT_EQUAL_FATAL(engine_start(&e, 0, p, 2 * PAGE), 0);
	CU_ASSERT_EQUAL(migrate(p, PAGE, 0), 1);
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_LOAD, p + PAGE, 1, &value), 0);
	CU_ASSERT(value == 2 && where(p) == 0 && where(p + PAGE) == 0);
	CU_ASSERT(p[0] == 1 && p[PAGE] == 2);
	CU_ASSERT_EQUAL(where(p), DRM_HMM_SYSTEM);
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_STORE, p, 1, &value), -SIGSEGV);
	munmap(e.shared, PAGE);
	munmap(p, 2 * PAGE);
	close(fd);
	unlink(path(upper, "constant"));
	CU_ASSERT_EQUAL(resident(0), 0);
}

static void truncation(void)
{
	int fd = make_file("cut", 8);
	char *p = map_file(fd, 8);
	struct stat st;

	CU_ASSERT_EQUAL(migrate(p, 8 * PAGE, 0), 8);
	CU_ASSERT_EQUAL(ftruncate(fd, 3 * PAGE + 100), 0);
	CU_ASSERT_EQUAL(resident(0), 3 * PAGE);
	CU_ASSERT(p[3 * PAGE + 99] == 4 && p[3 * PAGE + 100] == 0);
	CU_ASSERT_EQUAL(ftruncate(fd, 6 * PAGE), 0);
	CU_ASSERT(p[3 * PAGE + 99] == 4 && p[3 * PAGE + 100] == 0 && p[5 * PAGE] == 0);
	CU_ASSERT_EQUAL(migrate(p, 6 * PAGE, 0), 6);
	CU_ASSERT_EQUAL(fsync(fd), 0);
	CU_ASSERT(stat(path(lower, "cut"), &st) == 0 && st.st_size == 6 * (off_t)PAGE);
	CU_ASSERT_EQUAL(lower_byte("cut", 3 * PAGE + 99), 4);
	CU_ASSERT_EQUAL(lower_byte("cut", 3 * PAGE + 100), 0);
	munmap(p, 8 * PAGE);
	close(fd);
	unlink(path(upper, "cut"));
	CU_ASSERT_EQUAL(resident(0), 0);
}

static void unmapped(void)
{
	int fd = make_file("left", 2);
	char *p = map_file(fd, 2), c = 0;
	uint64_t value = 99;
	struct engine e;

	CU_ASSERT_EQUAL_FATAL(engine_start(&e, 0, p, 2 * PAGE), 0);
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_STORE, p, 1, &value), 0);
	munmap(p, 2 * PAGE);
	engine_end(&e);
	/* Dirty on the device, mapped by nobody. */
	drop_caches();
	CU_ASSERT(pread(fd, &c, 1, 0) == 1 && c == 99);
	CU_ASSERT_EQUAL(fsync(fd), 0);
	CU_ASSERT_EQUAL(lower_byte("left", 0), 99);
	close(fd);
	unlink(path(upper, "left"));
	CU_ASSERT_EQUAL(resident(0), 0);
}

/* Another process, a client of its own, maps the same file: its engine finds the same frame. */
static int second_client(const char *name)
{
	struct engine e;
	uint64_t value = 0;
	int fd = open(path(upper, name), O_RDWR);
	char *p = map_file(fd, 1);

	if (client_open() || engine_start(&e, 0, p, PAGE))
		return 1;
	if (engine_do(&e, ENGINE_LOAD, p + 1, 1, &value) || value != 55 || resident(0) != PAGE)
		return 2;
	value = 56;
	if (engine_do(&e, ENGINE_STORE, p + 2, 1, &value) || resident(0) != PAGE)
		return 3;
	engine_end(&e);
	return 0;
}

static void shared(void)
{
	int fd = make_file("shared", 1), status, pid;
	char *p = map_file(fd, 1);
	uint64_t value = 55;
	struct engine e;

	CU_ASSERT_EQUAL_FATAL(engine_start(&e, 0, p, PAGE), 0);
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_STORE, p + 1, 1, &value), 0);
	pid = fork();
	if (!pid)
		_exit(second_client("shared"));
	waitpid(pid, &status, 0);
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_LOAD, p + 2, 1, &value), 0);
	CU_ASSERT_EQUAL(value, 56);
	CU_ASSERT(p[1] == 55 && p[2] == 56);
	engine_end(&e);
	munmap(p, PAGE);
	close(fd);
	unlink(path(upper, "shared"));
}

static void eviction(void)
{
	const size_t pages = 6000; /* of 4096 */
	int fd = make_file("large", pages);
	char *p = map_file(fd, pages);
	size_t wrong = 0;
	long n;

	n = migrate(p, pages * PAGE, 0);
	if (n <= 0)
		printf("(%ld) ", n);
	CU_ASSERT(n > 0);
	CU_ASSERT(resident(0) <= 16 * MIB);
	for (size_t i = 0; i < pages; i++)
		wrong += p[i * PAGE + 7] != (char)(i + 1);
	CU_ASSERT_EQUAL(wrong, 0);
	munmap(p, pages * PAGE);
	close(fd);
	unlink(path(upper, "large"));
	CU_ASSERT_EQUAL(resident(0), 0);
}

/* Frames that were an anonymous page's before, dirty ones, are a file's as any other. */
static void second_hand(void)
{
	int fd = make_file("second", 4);
	char *p = map_file(fd, 4), *anonymous = map_anonymous(64 * PAGE);
	uint64_t value = 77;
	struct engine e;

	CU_ASSERT_EQUAL_FATAL(engine_start(&e, 0, p, 4 * PAGE), 0);
	memset(anonymous, 1, 64 * PAGE);
	CU_ASSERT_EQUAL(migrate(anonymous, 64 * PAGE, 0), 64);
	munmap(anonymous, 64 * PAGE);
	CU_ASSERT_EQUAL(fsync(fd), 0);
	CU_ASSERT_EQUAL(migrate(p, 4 * PAGE, 0), 4);
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_STORE, p + PAGE, 1, &value), 0);
	CU_ASSERT_EQUAL(fsync(fd), 0);
	CU_ASSERT_EQUAL(lower_byte("second", PAGE), 77);
	/* At home again: the kernel counts what is mapped by what it is. */
	CU_ASSERT(p[PAGE] == 77 && p[2 * PAGE] == 3);
	engine_end(&e);
	munmap(p, 4 * PAGE);
	close(fd);
	unlink(path(upper, "second"));
	CU_ASSERT_EQUAL(resident(0), 0);
}

int main(int argc, char **argv)
{
	unsigned int failures;
	CU_pSuite s;

	if (argc < 3)
		return 2;
	upper = argv[1];
	lower = argv[2];
	if (client_open() || CU_initialize_registry())
		return 1;
	s = CU_add_suite("pages of files", NULL, NULL);
	CU_add_test(s, "one page's life", life);
	CU_add_test(s, "read only", read_only);
	CU_add_test(s, "truncate", truncation);
	CU_add_test(s, "dirty, and mapped by nobody", unmapped);
	CU_add_test(s, "two clients, one frame", shared);
	CU_add_test(s, "frames at second hand", second_hand);
	CU_add_test(s, "larger than the device", eviction);
	file_names();
	file_holes();
	file_owners();
	file_held();
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failures ? 1 : 0;
}

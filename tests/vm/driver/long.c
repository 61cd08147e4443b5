// SPDX-License-Identifier: MIT
/*
 * A device's stores to many pages that follow each other, and to a bit of one more: they are
 * written to the lower file in few pieces, and are there, whatever comes between.
 *
 *   long FILE LOWER FAIL MEND FREEZE THAW	commands: the disk fails, and not any more; likewise
 */
#include "engine.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 301ul
#define BYTES (300 * PAGE + 100)
#define HELD 200ul /* comes home while it is written */

static char **arg;
static int file, lower;
static char *base;
static struct engine engine;

static void fill(char c)
{
	uint64_t value = (unsigned char)c;

	CU_ASSERT_EQUAL_FATAL(engine_do(&engine, ENGINE_FILL, base, BYTES, &value), 0);
	CU_ASSERT_EQUAL(resident(0), PAGES * PAGE);
}

/* What the lower file holds; later it is in the page cache there. */
static void holds(char c)
{
	static char bytes[BYTES + 1];

	CU_ASSERT_EQUAL(pread(lower, bytes, sizeof(bytes), 0), BYTES);
	for (size_t i = 0; i < BYTES; i++)
		if (bytes[i] != c) {
			printf("byte %zu: %d, not %d\n", i, bytes[i], c);
			CU_FAIL("it has other bytes");
			return;
		}
}

static void set_up(void)
{
	file = open(arg[1], O_RDWR | O_CREAT | O_TRUNC, 0600);
	lower = open(arg[2], O_RDONLY);
	CU_ASSERT_FATAL(file >= 0 && lower >= 0 && !ftruncate(file, BYTES));
	base = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	CU_ASSERT_FATAL(base != MAP_FAILED && !engine_start(&engine, 0, base, BYTES));
}

static void empty(void)
{
	set_up();
	holds(0);
	fill('a');
	CU_ASSERT_EQUAL(fsync(file), 0);
	holds('a');
}

static void cached(void)
{
	fill('b');
	CU_ASSERT_EQUAL(msync(base, BYTES, MS_SYNC), 0);
	holds('b');
	CU_ASSERT_EQUAL(resident(0), PAGES * PAGE);
}

/* Some of them are the CPU's. */
static void mixed(void)
{
	fill('c');
	for (size_t i = 0; i < PAGES; i += 90)
		base[i * PAGE] = 'c';
	CU_ASSERT_EQUAL(resident(0), (PAGES - 4) * PAGE);
	CU_ASSERT_EQUAL(fsync(file), 0);
	holds('c');
}

/* @err is told to each who waits, once; @mend, and all is there. */
static void told(int err, int (*mend)(void))
{
	int other = open(arg[1], O_RDWR);

	CU_ASSERT(other >= 0 && fdatasync(file) == -1 && errno == err);
	CU_ASSERT_EQUAL(mend(), 0);
	CU_ASSERT(fdatasync(other) == -1 && errno == err);
	CU_ASSERT_EQUAL(fdatasync(other), 0);
	CU_ASSERT_EQUAL(fdatasync(file), 0);
	CU_ASSERT_EQUAL(resident(0), PAGES * PAGE);
	close(other);
}

static int mend_disk(void)
{
	return system(arg[4]);
}

static void fails(void)
{
	fill('d');
	CU_ASSERT_EQUAL(fsync(file), 0);
	fill('e');
	CU_ASSERT_EQUAL_FATAL(system(arg[3]), 0);
	told(EIO, mend_disk);
	holds('e');
}

static char *filler(void)
{
	static char name[4096];

	snprintf(name, sizeof(name), "%s.filler", arg[2]);
	return name;
}

static int make_room(void)
{
	return unlink(filler());
}

static void full(void)
{
	off_t end = 0, more = 64 * MIB;
	int fd = open(filler(), O_WRONLY | O_CREAT, 0600);

	CU_ASSERT_EQUAL_FATAL(ftruncate(file, 0), 0);
	CU_ASSERT_EQUAL_FATAL(ftruncate(file, BYTES), 0);
	for (; more >= (off_t)PAGE; more /= 2)
		while (!fallocate(fd, 0, end, more))
			end += more;
	CU_ASSERT_EQUAL(errno, ENOSPC);
	close(fd);
	fill('f');
	told(ENOSPC, make_room);
	holds('f');
}

/* Who writes @bytes of the file to a lower one that is frozen. */
static int write_frozen(size_t bytes)
{
	int pid;

	CU_ASSERT_EQUAL_FATAL(system(arg[5]), 0);
	pid = fork();
	if (!pid)
		_exit(sync_file_range(file, 0, (off_t)bytes, SYNC_FILE_RANGE_WRITE));
	sleep(1);
	return pid;
}

/* Only now it ends. */
static void thaw(int pid)
{
	int status;

	CU_ASSERT_EQUAL(waitpid(pid, &status, WNOHANG), 0);
	CU_ASSERT_EQUAL(system(arg[6]), 0);
	waitpid(pid, &status, 0);
	CU_ASSERT_EQUAL(status, 0);
}

/* It does not wait; what is newer is written last. */
static void home(void)
{
	char c = 0;
	int sync;

	fill('g');
	sync = write_frozen(BYTES);
	CU_ASSERT_EQUAL(base[HELD * PAGE], 'g');
	memset(base + HELD * PAGE, 'h', PAGE);
	thaw(sync);
	CU_ASSERT_EQUAL(resident(0), (PAGES - 1) * PAGE);
	CU_ASSERT_EQUAL(fsync(file), 0);
	CU_ASSERT(pread(lower, &c, 1, HELD * PAGE) == 1 && c == 'h');
	memset(base + HELD * PAGE, 'g', PAGE);
	CU_ASSERT_EQUAL(fsync(file), 0);
	holds('g');
	engine_end(&engine);
}

/* Frames are free as soon as their pages are home, not when those have been written. */
static void evicted(void)
{
	const size_t device = 4 * MIB, more = 64 * PAGE;
	char c = 0;
	int sync;

	munmap(base, BYTES);
	CU_ASSERT_EQUAL_FATAL(ftruncate(file, 0), 0);
	CU_ASSERT_EQUAL_FATAL(ftruncate(file, (off_t)(device + more)), 0);
	base = mmap(NULL, device + more, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	CU_ASSERT_FATAL(base != MAP_FAILED);
	memset(base, 'i', device + more);
	CU_ASSERT_EQUAL(migrate(base, device, 0), device / PAGE);
	sync = write_frozen(device);
	CU_ASSERT_EQUAL(migrate(base + device, more, 0), more / PAGE);
	thaw(sync);
	CU_ASSERT_EQUAL(resident(0), device);
	for (size_t i = 0; i < device; i += PAGE)
		CU_ASSERT(pread(lower, &c, 1, (off_t)i) == 1 && c == 'i');
	CU_ASSERT_EQUAL(fsync(file), 0);
	CU_ASSERT(pread(lower, &c, 1, (off_t)device) == 1 && c == 'i');
}

int main(int argc, char **argv)
{
	CU_pSuite s;
	unsigned int failures;

	if (argc < 7 || client_open() || CU_initialize_registry())
		return 2;
	arg = argv;
	s = CU_add_suite("many pages for a lower file", NULL, NULL);
	CU_add_test(s, "that has none", empty);
	CU_add_test(s, "that is in the page cache there", cached);
	CU_add_test(s, "of which some are the CPU's", mixed);
	CU_add_test(s, "whose disk fails", fails);
	CU_add_test(s, "whose disk is full", full);
	CU_add_test(s, "of which one comes home meanwhile", home);
	CU_add_test(s, "as many as the device holds, which makes room for more", evicted);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failures ? 1 : 0;
}

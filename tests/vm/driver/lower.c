// SPDX-License-Identifier: MIT
/*
 * A lower file that cannot be read: whoever touches a page of it is told, and nobody waits for it
 * for ever. When it can be read again, so can its pages. One that cannot be written likewise.
 *
 *   lower FILE FAIL MEND	commands: the lower file is not there any more, and is again
 *   lower FILE FREEZE THAW frozen	the same for a file that cannot be written for a while
 */
#include "engine.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 16
#define THERE 0ul /* a page that is on the device when the file fails */
#define READ (1 * PAGE)
#define STORE (2 * PAGE)
#define HELD_UP 20 /* looks in a row, 10 ms apart */

static const char *name, *fail, *mend;
static int file;
static char *base;

static void engine(struct engine *e)
{
	CU_ASSERT_EQUAL_FATAL(engine_start(e, 0, base, PAGES * PAGE), 0);
}

static void dies(enum engine_op op, char *p)
{
	uint64_t value = 1;
	struct engine e;

	engine(&e);
	CU_ASSERT_EQUAL(engine_do(&e, op, p, 1, &value), -SIGBUS);
	munmap(e.shared, PAGE);
}

static void loads(char *p)
{
	uint64_t value = 0;
	struct engine e;

	engine(&e);
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_LOAD, p, 1, &value), 0);
	CU_ASSERT_EQUAL(value, 'x');
	engine_end(&e);
}

static void unreadable(void)
{
	char c;

	CU_ASSERT_EQUAL_FATAL(migrate(base + THERE, PAGE, 0), 1);
	CU_ASSERT_EQUAL_FATAL(system(fail), 0);
	dies(ENGINE_LOAD, base + READ);
	dies(ENGINE_STORE, base + STORE);
	CU_ASSERT_EQUAL(migrate(base + READ, PAGE, 0), -EIO);
	CU_ASSERT(pread(file, &c, 1, READ) == -1 && errno == EIO);
	/* What is there is. */
	loads(base + THERE);
	CU_ASSERT_EQUAL(where(base + THERE), 0);
	CU_ASSERT_EQUAL(system(mend), 0);
}

static void readable(void)
{
	loads(base + READ);
	loads(base + STORE);
	CU_ASSERT_EQUAL(migrate(base, PAGES * PAGE, 0), PAGES);
	for (size_t i = 0; i < PAGES * PAGE; i++)
		CU_ASSERT_FATAL(base[i] == 'x');
}

/* The page that the end lies in is a frame, and dirty: the CPU has to clear the rest of it. */
static void grows(void)
{
	const size_t end = 14 * PAGE + 2000;
	uint64_t value = 'y';
	struct engine e;

	CU_ASSERT_EQUAL(ftruncate(file, (off_t)end), 0);
	engine(&e);
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_STORE, base + 14 * PAGE, 1, &value), 0);
	CU_ASSERT_EQUAL(where(base + 14 * PAGE), 0);
	CU_ASSERT_EQUAL(ftruncate(file, PAGES * PAGE), 0);
	CU_ASSERT(base[14 * PAGE] == 'y' && base[end - 1] == 'x');
	CU_ASSERT(!base[end] && !base[PAGES * PAGE - 1]);
	loads(base + end - 1);
	engine_end(&e);
}

/* What the lower file said only once: everybody is told, and a later call that succeeds is true. */
static void unwritable(void)
{
	int other = open(name, O_RDWR);
	uint64_t value = 'v';
	struct engine e;

	CU_ASSERT_FATAL(other >= 0);
	CU_ASSERT_EQUAL(fsync(file), 0);
	engine(&e);
	base[0] = 'w';
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_STORE, base + 8 * PAGE, 1, &value), 0);
	CU_ASSERT_EQUAL_FATAL(system(fail), 0);
	CU_ASSERT(fdatasync(file) == -1 && errno == EIO);
	CU_ASSERT_EQUAL(system(mend), 0);
	CU_ASSERT(fdatasync(other) == -1 && errno == EIO);
	CU_ASSERT_EQUAL(fdatasync(other), 0);
	CU_ASSERT_EQUAL(fdatasync(file), 0);
	CU_ASSERT_EQUAL(where(base + 8 * PAGE), 0);
	engine_end(&e);
	close(other);
}

/* Does the process wait in the kernel, and for what does not come soon? */
static bool is_held_up(int pid)
{
	int seen = 0;

	for (int i = 0; i < patient(3000) && seen < HELD_UP; i++) {
		char path[64], state = 0;
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		f = fopen(path, "r");
		if (!f || fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
			state = 0;
		if (f)
			fclose(f);
		seen = state == 'D' ? seen + 1 : 0;
		usleep(10000);
	}
	return seen >= HELD_UP;
}

static int start(int (*act)(void))
{
	int pid = fork();

	if (!pid)
		_exit(act());
	return pid;
}

static int write_first(void)
{
	return sync_file_range(file, 0, PAGE, SYNC_FILE_RANGE_WRITE);
}

static int sync_all(void)
{
	return fsync(file);
}

/* If the touch below waits for what is frozen, this ends it. */
static int thaw_at_last(void)
{
	sleep((unsigned int)patient(20));
	return system(mend);
}

/*
 * A page comes home while what it was is on its way to the lower file, for however long. The file
 * then gets what is newer, last.
 */
static void frozen(void)
{
	int status, thaw, held[3];
	uint64_t value = 'o';
	struct engine e;

	engine(&e);
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_STORE, base, 1, &value), 0);
	CU_ASSERT_EQUAL_FATAL(system(fail), 0);
	held[0] = start(write_first);
	CU_ASSERT(is_held_up(held[0]));
	held[1] = start(sync_all);
	CU_ASSERT(is_held_up(held[1]));
	CU_ASSERT_EQUAL(where(base), 0);
	thaw = start(thaw_at_last);
	CU_ASSERT_EQUAL(base[0], 'o');
	base[0] = 'n';
	CU_ASSERT_EQUAL(waitpid(thaw, &status, WNOHANG), 0);
	kill(thaw, SIGKILL);
	waitpid(thaw, &status, 0);
	/* Not before the older bytes are there; nor who waited for them. */
	held[2] = start(sync_all);
	for (int i = 0; i < 3; i++)
		CU_ASSERT(is_held_up(held[i]));
	CU_ASSERT_EQUAL(system(mend), 0);
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(waitpid(held[i], &status, 0), held[i]);
		CU_ASSERT_EQUAL(status, 0);
	}
	engine_end(&e);
}

static void add_tests(bool may_fail)
{
	CU_pSuite s = CU_add_suite("a lower file", NULL, NULL);

	if (!may_fail) {
		CU_add_test(s, "that is frozen", frozen);
		return;
	}
	CU_add_test(s, "that cannot be read", unreadable);
	CU_add_test(s, "that can be read again", readable);
	CU_add_test(s, "that grows", grows);
	CU_add_test(s, "that cannot be written", unwritable);
}

int main(int argc, char **argv)
{
	unsigned int failures;

	if (argc < 4 || client_open() || CU_initialize_registry())
		return 2;
	name = argv[1];
	fail = argv[2];
	mend = argv[3];
	file = open(name, O_RDWR);
	base = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (base == MAP_FAILED)
		return 2;
	add_tests(argc == 4);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failures ? 1 : 0;
}

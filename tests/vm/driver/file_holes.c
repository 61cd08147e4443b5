// SPDX-License-Identifier: MIT
/* fallocate() of files that have pages on a device, and what a file that grows shows. */
#include "file.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGES 8ul
#define START (1 * PAGE + 100)
#define END (6 * PAGE + 200)
#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

static int file;
static char *base;
static struct engine engine;

static void begin(void)
{
	uint64_t value = 77;

	file = make_file("holes", PAGES);
	base = map_file(file, 2 * PAGES);
	CU_ASSERT_EQUAL_FATAL(engine_start(&engine, 0, base, 2 * PAGES * PAGE), 0);
	CU_ASSERT_EQUAL(fsync(file), 0);
	CU_ASSERT_EQUAL(migrate(base, PAGES * PAGE, 0), PAGES);
	/* Dirty, and known to an engine: within the range, and where it begins and ends. */
	CU_ASSERT_EQUAL(engine_do(&engine, ENGINE_STORE, base + PAGE, 1, &value), 0);
	CU_ASSERT_EQUAL(engine_do(&engine, ENGINE_STORE, base + 3 * PAGE, 1, &value), 0);
	CU_ASSERT_EQUAL(engine_do(&engine, ENGINE_STORE, base + 7 * PAGE - 1, 1, &value), 0);
}

static void end(void)
{
	engine_end(&engine);
	munmap(base, 2 * PAGES * PAGE);
	close(file);
	unlink(path(upper, "holes"));
	CU_ASSERT_EQUAL(resident(0), 0);
}

static size_t size_of(const char *folder)
{
	struct stat st;

	return stat(path(folder, "holes"), &st) ? 0 : (size_t)st.st_size;
}

/* What byte @at of the file is to be; @cleared: from START to END it is zero. */
static int byte_of(size_t at, bool cleared)
{
	if (cleared && at >= START && at < END)
		return 0;
	return at == PAGE || at == 3 * PAGE || at == 7 * PAGE - 1 ? 77 : (int)(at / PAGE) + 1;
}

static size_t wrong_bytes(bool cleared)
{
	size_t wrong = 0;

	for (size_t i = 0; i < PAGES * PAGE; i++)
		wrong += base[i] != byte_of(i, cleared);
	return wrong;
}

/* Above, below, and from below again. */
static void is_cleared(void)
{
	uint64_t value = 1;

	CU_ASSERT_EQUAL(engine_do(&engine, ENGINE_LOAD, base + 3 * PAGE, 1, &value), 0);
	CU_ASSERT_EQUAL(value, 0);
	CU_ASSERT_EQUAL(wrong_bytes(true), 0);
	CU_ASSERT_EQUAL(lower_byte("holes", 3 * PAGE), 0);
	CU_ASSERT_EQUAL(fsync(file), 0);
	for (size_t at = 0; at < PAGES * PAGE; at += 50)
		CU_ASSERT_EQUAL(lower_byte("holes", (off_t)at), byte_of(at, true));
	drop_caches();
	CU_ASSERT_EQUAL(wrong_bytes(true), 0);
}

static void punched(void)
{
	struct stat before, after;

	begin();
	CU_ASSERT_EQUAL(fstat(file, &before), 0);
	CU_ASSERT_EQUAL(fallocate(file, PUNCH, START, END - START), 0);
	CU_ASSERT_EQUAL(fstat(file, &after), 0);
	CU_ASSERT(before.st_blocks - after.st_blocks >= 4 * (blkcnt_t)PAGE / 512);
	/* The pages in which it begins and ends are at home, two are left alone. */
	CU_ASSERT_EQUAL(resident(0), 2 * PAGE);
	CU_ASSERT(where(base) == 0 && where(base + 7 * PAGE) == 0);
	is_cleared();
	CU_ASSERT(size_of(upper) == PAGES * PAGE && size_of(lower) == PAGES * PAGE);
	end();
	/* Within one page, and beyond the end. */
	begin();
	CU_ASSERT_EQUAL(fallocate(file, PUNCH, 2 * PAGE + 10, 20), 0);
	CU_ASSERT(base[2 * PAGE + 9] == 3 && !base[2 * PAGE + 10] && !base[2 * PAGE + 29]);
	CU_ASSERT_EQUAL(base[2 * PAGE + 30], 3);
	CU_ASSERT_EQUAL(fallocate(file, PUNCH, PAGES * PAGE, PAGE), 0);
	CU_ASSERT_EQUAL(size_of(upper), PAGES * PAGE);
	CU_ASSERT_EQUAL(madvise(base + 4 * PAGE, PAGE, MADV_REMOVE), 0);
	CU_ASSERT(!base[4 * PAGE] && base[5 * PAGE] == 6);
	end();
}

/* Not every filesystem can: then nothing has changed. */
static void zeroed(void)
{
	int err;

	begin();
	err = fallocate(file, FALLOC_FL_ZERO_RANGE, START, END - START);
	if (err) {
		CU_ASSERT_EQUAL(errno, EOPNOTSUPP);
		CU_ASSERT_EQUAL(wrong_bytes(false), 0);
		end();
		return;
	}
	is_cleared();
	CU_ASSERT_EQUAL(fallocate(file, FALLOC_FL_ZERO_RANGE, PAGES * PAGE - 10, PAGE), 0);
	CU_ASSERT(size_of(upper) == (PAGES + 1) * PAGE - 10 && size_of(lower) == size_of(upper));
	CU_ASSERT(base[PAGES * PAGE - 11] == PAGES && !base[PAGES * PAGE - 10]);
	end();
}

/* What was stored behind the end never shows, whatever makes the file longer. */
static void longer(void)
{
	const size_t at = PAGES * PAGE - 100;

	for (int way = 0; way < 3; way++) {
		begin();
		CU_ASSERT_EQUAL(ftruncate(file, (off_t)at), 0);
		base[at] = 5;
		CU_ASSERT_EQUAL(migrate(base, at, 0), PAGES);
		if (way == 0)
			CU_ASSERT_EQUAL(fallocate(file, 0, 0, 2 * PAGES * PAGE), 0);
		if (way == 1)
			CU_ASSERT_EQUAL(ftruncate(file, 2 * PAGES * PAGE), 0);
		if (way == 2)
			CU_ASSERT_EQUAL(pwrite(file, "", 1, 2 * PAGES * PAGE - 1), 1);
		CU_ASSERT_EQUAL(size_of(upper), 2 * PAGES * PAGE);
		CU_ASSERT(base[at - 1] == PAGES && !base[at] && !base[2 * PAGES * PAGE - 1]);
		CU_ASSERT_EQUAL(fsync(file), 0);
		CU_ASSERT_EQUAL(lower_byte("holes", (off_t)at - 1), PAGES);
		CU_ASSERT_EQUAL(lower_byte("holes", (off_t)at), 0);
		CU_ASSERT_EQUAL(size_of(lower), 2 * PAGES * PAGE);
		end();
	}
}

static _Atomic int over;

static void *end_leaves(void *unused)
{
	while (!over)
		migrate(base + (PAGES - 1) * PAGE, PAGE, 0);
	return unused;
}

/* The page of its end is on its way to the device, and dirty there, while the file grows. */
static void longer_beside_migrations(void)
{
	const size_t at = PAGES * PAGE - 3000; /* blocks of the lower file may be smaller */
	time_t until = time(NULL) + 3;
	size_t wrong = 0;
	pthread_t t;

	begin();
	over = 0;
	engine_begin(&engine, ENGINE_COUNT, base + (PAGES - 1) * PAGE, 1, 0);
	pthread_create(&t, NULL, end_leaves, NULL);
	while (time(NULL) < until) {
		wrong += ftruncate(file, (off_t)at) != 0;
		wrong += ftruncate(file, (off_t)(at + PAGE)) != 0;
		wrong += base[at] || base[at + 99];
		wrong += ftruncate(file, (off_t)at) != 0;
		wrong += fallocate(file, 0, 0, (off_t)(at + PAGE)) != 0;
		wrong += base[at] || base[at + 99];
	}
	over = 1;
	pthread_join(t, NULL);
	engine_stop(&engine);
	CU_ASSERT_EQUAL(engine_wait(&engine, NULL), 0);
	CU_ASSERT_EQUAL(wrong, 0);
	end();
}

/* The page that would have made the lower file longer is dropped before it is written. */
static void end_punched(void)
{
	begin();
	CU_ASSERT_EQUAL(pwrite(file, "e", 1, (PAGES + 3) * PAGE + 9), 1);
	CU_ASSERT_EQUAL(migrate(base + (PAGES + 3) * PAGE, PAGE, 0), 1);
	CU_ASSERT_EQUAL(fallocate(file, PUNCH, (PAGES + 3) * PAGE, PAGE), 0);
	CU_ASSERT_EQUAL(fsync(file), 0);
	CU_ASSERT_EQUAL(size_of(upper), (PAGES + 3) * PAGE + 10);
	CU_ASSERT_EQUAL(size_of(lower), size_of(upper));
	CU_ASSERT_EQUAL(lower_byte("holes", (PAGES + 3) * PAGE + 9), 0);
	end();
}

static void refused(void)
{
	begin();
	CU_ASSERT(fallocate(file, FALLOC_FL_COLLAPSE_RANGE, 0, PAGE) && errno == EOPNOTSUPP);
	CU_ASSERT(fallocate(file, FALLOC_FL_INSERT_RANGE, 0, PAGE) && errno == EOPNOTSUPP);
	CU_ASSERT(fallocate(file, FALLOC_FL_PUNCH_HOLE, 0, PAGE) && errno == EOPNOTSUPP);
	CU_ASSERT(fallocate(file, PUNCH, 0, 0) && errno == EINVAL);
	CU_ASSERT_EQUAL(resident(0), PAGES * PAGE);
	CU_ASSERT_EQUAL(fallocate(file, FALLOC_FL_KEEP_SIZE, 0, 2 * PAGES * PAGE), 0);
	CU_ASSERT_EQUAL(size_of(upper), PAGES * PAGE);
	CU_ASSERT_EQUAL(wrong_bytes(false), 0);
	end();
}

void file_holes(void)
{
	CU_pSuite s = CU_add_suite("fallocate", NULL, NULL);

	CU_add_test(s, "a hole", punched);
	CU_add_test(s, "a hole where a file ends by now", end_punched);
	CU_add_test(s, "zeros", zeroed);
	CU_add_test(s, "longer", longer);
	CU_add_test(s, "longer beside migrations", longer_beside_migrations);
	CU_add_test(s, "refused", refused);
}

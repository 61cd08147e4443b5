// SPDX-License-Identifier: MIT
/*
 * Huge pages, which are split for a device; and those that do not split, so that they stay and are
 * mapped page by page. Not every kernel moves the parts of such a page.
 */
#include "anonymous.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define HUGE (2 * MIB)
#define HEAD 0
#define TAIL (MIB / 2 + 3 * PAGE) /* far from what is cut, and from the head */
#define CUT MIB
#define ROUNDS 60
#define ENGINES 6

struct area {
	char *map, *p; /* of two huge pages; one that is aligned within */
};

static struct area area_map(void)
{
	struct area a = { .map = map_anonymous(2 * HUGE) };

	a.p = (char *)(((uintptr_t)a.map + HUGE - 1) & ~(HUGE - 1));
	CU_ASSERT_EQUAL(madvise(a.p, HUGE, MADV_HUGEPAGE), 0);
	return a;
}

static void area_unmap(const struct area *a)
{
	munmap(a->map, 2 * HUGE);
	CU_ASSERT_EQUAL(resident(0), 0);
}

static uint64_t word_at(const char *file, uint64_t index)
{
	int fd = open(file, O_RDONLY);
	uint64_t word = 0;

	if (fd < 0 || pread(fd, &word, 8, (off_t)(index * 8)) != 8)
		abort();
	close(fd);
	return word;
}

/* Is the page at @p, which is present, of a huge one? */
static bool is_part(const char *p)
{
	const uint64_t present = 1ull << 63, number = (1ull << 55) - 1, compound = 3ull << 15;
	uint64_t entry = word_at("/proc/self/pagemap", (uintptr_t)p / PAGE);

	return (entry & present) && (word_at("/proc/kpageflags", entry & number) & compound);
}

/* Does the kernel stop for a page that two can store to? See hmmdrm_counts_writers(). */
static bool writers_are_counted(void)
{
	const char *variant = getenv("HMM_VARIANT");

	return variant && !strcmp(variant, "debug");
}

static void split_for_a_device(void)
{
	char *map = map_anonymous(4 * HUGE);
	char *p = (char *)(((uintptr_t)map + HUGE - 1) & ~(HUGE - 1));
	uint64_t value = 0;
	struct engine e;
	int pid, status;

	CU_ASSERT_EQUAL(madvise(p, 3 * HUGE, MADV_HUGEPAGE), 0);
	CU_ASSERT_EQUAL_FATAL(engine_start(&e, 0, p, 3 * HUGE), 0);
	memset(p, 8, HUGE);
	CU_ASSERT(all(p + HUGE, HUGE, 0));
	/* One page of the middle, then all of it, and what was only read: that is a hole. */
	CU_ASSERT_EQUAL(migrate(p + MIB, PAGE, 0), 1);
	CU_ASSERT_EQUAL(where(p + MIB - PAGE), DRM_HMM_SYSTEM);
	CU_ASSERT_EQUAL(migrate(p, 2 * HUGE, 0), 1024);
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_LOAD, p + HUGE - 1, 1, &value), 0);
	CU_ASSERT_EQUAL(value, 8);
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_LOAD, p + HUGE, 1, &value), 0);
	CU_ASSERT_EQUAL(value, 0);
	/* The device touches one itself; the other process has its own. */
	memset(p + 2 * HUGE, 9, HUGE);
	value = 10;
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_STORE, p + 2 * HUGE + MIB, 1, &value), 0);
	pid = fork();
	if (!pid) {
		memset(p, 1, MIB);
		_exit(!(all(p + MIB, MIB, 8) && all(p + HUGE, HUGE, 0) && p[2 * HUGE + MIB] == 10));
	}
	waitpid(pid, &status, 0);
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT(all(p, HUGE, 8) && all(p + HUGE, HUGE, 0));
	CU_ASSERT(all(p + 2 * HUGE, MIB, 9) && p[2 * HUGE + MIB] == 10);
	CU_ASSERT(all(p + 2 * HUGE + MIB + 1, MIB - 1, 9));
	engine_end(&e);
	munmap(map, 4 * HUGE);
	CU_ASSERT_EQUAL(resident(0), 0);
}

static void load(struct engine *e, char *p, uint64_t want)
{
	uint64_t value = 0;

	CU_ASSERT_EQUAL(engine_do(e, ENGINE_LOAD, p, 1, &value), 0);
	CU_ASSERT_EQUAL(value, want);
}

/*
 * A device stores to a part: it has it in its memory, or where it is. Where the kernel takes no
 * part for a device and counts who can store to it, that is the engine's end. Is it alive?
 */
static bool store(struct engine *e, char *p, uint64_t value)
{
	bool stuck = writers_are_counted() && is_part(p);
	int err = engine_do(e, ENGINE_STORE, p, 1, &value);

	if (stuck && where(p) == DRM_HMM_SYSTEM && err) {
		CU_ASSERT_EQUAL(err, -SIGSEGV);
		munmap(e->shared, PAGE);
		return false;
	}
	CU_ASSERT_EQUAL(err, 0);
	CU_ASSERT_EQUAL(*(volatile unsigned char *)p, value);
	return true;
}

static void cut_munmap(char *p)
{
	munmap(p, PAGE);
}

static void cut_mprotect(char *p)
{
	mprotect(p, PAGE, PROT_READ);
	mprotect(p, PAGE, PROT_READ | PROT_WRITE);
}

static void cut_dontneed(char *p)
{
	madvise(p, PAGE, MADV_DONTNEED);
}

static void parts(void (*cut)(char *p))
{
	struct area a = area_map();
	char *p = a.p;
	struct engine e;
	bool alive;
	long n;

	CU_ASSERT_EQUAL_FATAL(engine_start(&e, 0, p, HUGE), 0);
	memset(p, 5, HUGE);
	cut(p + CUT);
	CU_ASSERT(is_part(p + HEAD) && is_part(p + TAIL));
	/* To load they need not move. */
	load(&e, p + HEAD, 5);
	load(&e, p + TAIL, 5);
	n = migrate(p, CUT, 0);
	CU_ASSERT(n >= 0 && n <= (long)(CUT / PAGE));
	load(&e, p + HEAD + 1, 5);
	load(&e, p + TAIL + 1, 5);
	alive = store(&e, p + HEAD + 2, 4);
	/* One part is stored to, and no other is missed. */
	CU_ASSERT(where(p + TAIL) != DRM_HMM_NOT_POPULATED);
	alive = alive && store(&e, p + TAIL + 2, 6);
	if (alive) {
		/* CPU and device, in turn. */
		p[TAIL + 3] = 7;
		load(&e, p + TAIL + 3, 7);
		alive = store(&e, p + TAIL + 3, 8) && store(&e, p + HEAD + 4, 9);
	}
	if (alive) {
		CU_ASSERT(p[TAIL + 2] == 6 && p[TAIL + 3] == 8 && p[HEAD + 4] == 9);
		engine_end(&e);
	}
	CU_ASSERT(all(p + PAGE, TAIL - PAGE, 5) && all(p + TAIL + PAGE, CUT - TAIL - PAGE, 5));
	CU_ASSERT(all(p + CUT + PAGE, HUGE - CUT - PAGE, 5));
	area_unmap(&a);
}

static void after_munmap(void)
{
	parts(cut_munmap);
}

static void after_mprotect(void)
{
	parts(cut_mprotect);
}

static void after_dontneed(void)
{
	parts(cut_dontneed);
}

/* A pipe holds one page of it, so that it cannot be split. */
static void pinned(void)
{
	struct area a = area_map();
	char *p = a.p, c = 0;
	struct iovec part = { .iov_base = p + CUT, .iov_len = PAGE };
	struct engine e;
	int ends[2];
	bool alive;

	CU_ASSERT_EQUAL_FATAL(engine_start(&e, 0, p, HUGE), 0);
	CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
	memset(p, 5, HUGE);
	CU_ASSERT_EQUAL(vmsplice(ends[1], &part, 1, 0), PAGE);
	CU_ASSERT_EQUAL(migrate(p, HUGE, 0), 0);
	load(&e, p + HEAD, 5);
	load(&e, p + TAIL, 5);
	load(&e, p + CUT, 5);
	CU_ASSERT(is_part(p + TAIL));
	alive = store(&e, p + CUT, 6);
	if (alive) {
		alive = store(&e, p + TAIL, 7);
		/* The pipe has the page itself. */
		CU_ASSERT(read(ends[0], &c, 1) == 1 && c == 6);
		CU_ASSERT(all(p + CUT + 1, PAGE - 1, 5));
	}
	close(ends[0]);
	close(ends[1]);
	CU_ASSERT(all(p + PAGE, TAIL - PAGE, 5) && all(p + CUT + PAGE, HUGE - CUT - PAGE, 5));
	if (alive)
		engine_end(&e);
	area_unmap(&a);
}

/* A new huge page, from one moment to the next. */
static void put_huge(char *p)
{
	struct area a = area_map();

	memset(a.p, 5, HUGE);
	CU_ASSERT_FATAL(is_part(a.p));
	CU_ASSERT_FATAL(mremap(a.p, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, p) == p);
	munmap(a.map, 2 * HUGE);
}

/* Nobody touches the page at @p, but the huge one that it is of. */
static bool is_split_soon(const char *p)
{
	for (int i = 0; i < patient(1000) && is_part(p); i++)
		usleep(1000);
	return !is_part(p);
}

static void engines_start(struct engine *e, char *p)
{
	for (unsigned int i = 0; i < ENGINES; i++)
		CU_ASSERT_EQUAL_FATAL(engine_start(&e[i], i % 2, p, HUGE), 0);
}

static void all_split(int left)
{
	CU_ASSERT_EQUAL(left, 0);
	if (left)
		printf("%d of %d were not split ... ", left, ROUNDS);
}

/* Whose fault comes first splits the page that all want; in one piece it would stay where it is. */
static void faults_at_once(void)
{
	struct area a = area_map();
	struct engine e[ENGINES];
	int left = 0;

	engines_start(e, a.p);
	for (int i = 0; i < ENGINES; i++)
		engine_begin(&e[i], ENGINE_COUNT, a.p + i * 24 * PAGE, PAGE, 0);
	for (int round = 0; round < ROUNDS; round++) {
		put_huge(a.p);
		left += !is_split_soon(a.p + TAIL);
		CU_ASSERT(all(a.p + TAIL, PAGE, 5));
	}
	for (int i = 0; i < ENGINES; i++) {
		engine_stop(&e[i]);
		CU_ASSERT_EQUAL(engine_wait(&e[i], NULL), 0);
		engine_end(&e[i]);
	}
	all_split(left);
	area_unmap(&a);
}

static char *wanted;
static _Atomic int round_now, finished;

static void *call(void *which)
{
	size_t i = (size_t)which;

	for (int round = 1; round <= ROUNDS; round++) {
		while (round_now != round)
			;
		migrate(wanted + i * 16 * PAGE, PAGE, (int)i);
		finished++;
	}
	return NULL;
}

/* Idle engines: with each of them a page takes longer to be unmapped, which is when calls meet. */
static void calls_at_once(void)
{
	struct area a = area_map();
	struct engine e[ENGINES];
	pthread_t t[2];
	int left = 0;

	engines_start(e, a.p);
	wanted = a.p;
	round_now = 0;
	for (size_t i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, call, (void *)i);
	for (int round = 1; round <= ROUNDS; round++) {
		put_huge(a.p);
		finished = 0;
		round_now = round;
		while (finished < 2)
			usleep(200);
		left += is_part(a.p + TAIL);
		CU_ASSERT(all(a.p + TAIL, PAGE, 5));
	}
	for (size_t i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < ENGINES; i++)
		engine_end(&e[i]);
	all_split(left);
	area_unmap(&a);
}

void add_huge_tests(CU_pSuite s)
{
	CU_add_test(s, "huge pages are split", split_for_a_device);
	CU_add_test(s, "a huge page of which a part is unmapped", after_munmap);
	CU_add_test(s, "a huge page of which a part was protected", after_mprotect);
	CU_add_test(s, "a huge page of which a part was discarded", after_dontneed);
	CU_add_test(s, "a huge page that is pinned", pinned);
	CU_add_test(s, "a huge page that engines want at once", faults_at_once);
	CU_add_test(s, "a huge page that calls want at once", calls_at_once);
}

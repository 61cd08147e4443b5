// SPDX-License-Identifier: MIT
/* A CPU that reads on and on: pages come home before it touches them, and lose nothing by it. */
#include "conformance/conf.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BYTES (8 * MIB)
#define OF_PAGE(p, i) ((volatile uint32_t *)(void *)((p) + (i)*PAGE))

static unsigned long cpu_faults(void)
{
	struct hmm_stats s = { .sz = sizeof(s) };

	CU_ASSERT_EQUAL(hmm_stats(h, 0, &s), 0);
	return s.cpu_faults;
}

/* The kernel driver's windows are its own. */
static void reads_on(void)
{
	char *p = map_pages(BYTES, 7);

	for (int round = 1; round < 5; round++) {
		unsigned long before;

		CU_ASSERT_EQUAL(hmm_migrate(h, p, BYTES, 0, 0), PAGES(BYTES));
		usleep(5000);
		before = cpu_faults();
		for (size_t i = 0; i < BYTES / PAGE; i++) {
			volatile uint32_t *at = OF_PAGE(p, i);

			CU_ASSERT_EQUAL(at[5], round > 1 ? 10u * (uint32_t)round : 0x07070707u);
			at[5] = 10 * (uint32_t)round + 10;
		}
		if (is_emulated())
			CU_ASSERT(cpu_faults() - before < BYTES / PAGE / 4);
		CU_ASSERT_EQUAL(where(p), HMM_SYSTEM);
		CU_ASSERT_EQUAL(where(p + BYTES - PAGE), HMM_SYSTEM);
	}
	munmap(p, BYTES);
}

/* Words of each page: the scanner's, the device's. */
enum word { SCANNED, STORED };

struct race {
	char *p;
	_Atomic bool over;
	_Atomic unsigned int wrong;
};

/* Its own word is as it left it, the device's never an older one. */
static void *scans(void *arg)
{
	struct race *r = arg;
	static uint32_t last[BYTES / PAGE];

	memset(last, 0, sizeof(last));
	for (uint32_t n = 1; !atomic_load(&r->over); n++) {
		for (size_t i = 0; i < BYTES / PAGE; i++) {
			volatile uint32_t *at = OF_PAGE(r->p, i);
			uint32_t stored = at[STORED];

			if (at[SCANNED] != n - 1 || stored < last[i])
				atomic_fetch_add(&r->wrong, 1);
			at[SCANNED] = n;
			last[i] = stored;
		}
	}
	return NULL;
}

static void *stores(void *arg)
{
	struct race *r = arg;

	for (uint32_t n = 1; !atomic_load(&r->over); n++) {
		for (size_t i = n % 7; i < BYTES / PAGE; i += 7) {
			uint32_t *word = (uint32_t *)(void *)(r->p + i * PAGE) + STORED, seen;

			if (hmm_device_read(h, 0, word, &seen, sizeof(seen)) != sizeof(seen) ||
			    seen != (n > 7 ? n - 7 : 0) ||
			    hmm_device_write(h, 0, word, &n, sizeof(n)) != sizeof(n))
				atomic_fetch_add(&r->wrong, 1);
		}
		usleep(1500); /* what has just come to the device is not brought home ahead */
	}
	return NULL;
}

static void *sends(void *arg)
{
	struct race *r = arg;

	while (!atomic_load(&r->over)) {
		hmm_migrate(h, r->p, BYTES, 0, 0);
		usleep(3000);
	}
	return NULL;
}

/* A range of its own beside it: what is discarded stays empty, whatever is on its way. */
static void *discards(void *arg)
{
	struct race *r = arg;
	char *p = r->p + BYTES;

	while (!atomic_load(&r->over)) {
		for (size_t i = 0; i < 2 * MIB / PAGE; i++)
			*OF_PAGE(p, i) = 1;
		hmm_migrate(h, p, 2 * MIB, 0, 0);
		usleep(1000);
		madvise(p, 2 * MIB, MADV_DONTNEED);
		for (size_t i = 0; i < 2 * MIB / PAGE; i++)
			if (*OF_PAGE(p, i))
				atomic_fetch_add(&r->wrong, 1);
	}
	return NULL;
}

static void races(void)
{
	static void *(*const what[])(void *) = { scans, stores, sends, discards };
	struct race r = { .p = map_pages(BYTES + 2 * MIB, 0) };
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, what[i], &r);
	usleep((unsigned int)scaled(1500) * 1000);
	atomic_store(&r.over, true);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	CU_ASSERT_EQUAL(r.wrong, 0);
	munmap(r.p, BYTES + 2 * MIB);
}

/* Private memory of the program, in pages. */
static long own_pages(void)
{
	long total = 0, resident = 0, shared = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_EQUAL(fscanf(f, "%ld %ld %ld", &total, &resident, &shared), 3);
	fclose(f);
	return resident - shared;
}

/* Each store brings one page home, in a new frame. */
static void stores_here_and_there(void)
{
	const long stores = PAGES(BYTES) / 4;
	char *p = map_pages(BYTES, 7);
	long before = own_pages(), wrong = 0;

	advise(p, BYTES, HMM_ADVICE_RANDOM, 0);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, BYTES, 0, 0), PAGES(BYTES));
	for (long i = 0; i < stores; i++)
		p[i * 4 * (long)PAGE] = 8;
	CU_ASSERT(own_pages() - before < stores / 2);
	CU_ASSERT(!is_emulated() || count_at(p, BYTES, 0) == PAGES(BYTES) - stores);
	for (long i = 0; i < stores; i++) {
		const char *at = p + i * 4 * (long)PAGE;

		wrong += at[0] != 8 || !all_bytes(at + 1, 4 * PAGE - 1, 7);
	}
	CU_ASSERT_EQUAL(wrong, 0);
	munmap(p, BYTES);
}

void add_scan_suite(void)
{
	CU_pSuite s = CU_add_suite("scan", conf_open, conf_close);

	CU_add_test(s, "a range from its beginning to its end", reads_on);
	CU_add_test(s, "beside stores of the device, migrations and discards", races);
	CU_add_test(s, "stores here and there keep no second frames", stores_here_and_there);
}

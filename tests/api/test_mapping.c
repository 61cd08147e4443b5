// SPDX-License-Identifier: MIT
/* What the application does to mappings whose pages are on a device. */
#include "api/api.h"

#include <errno.h>
#include <stdio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static void discard(void)
{
	char *p = map_pages(MIB, 7), c = 1;

	hmm_migrate(h, p, MIB, 0, 0);
	madvise(p, MIB / 2, MADV_DONTNEED);
	CU_ASSERT(all_bytes(p, MIB / 2, 0));
	CU_ASSERT(all_bytes(p + MIB / 2, MIB / 2, 7));
	hmm_migrate(h, p, MIB, 0, 0);
	madvise(p, MIB, MADV_DONTNEED);
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p, &c, 1), 1);
	CU_ASSERT_EQUAL(c, 0);
	munmap(p, MIB);
}

static void unmap(void)
{
	char *p = map_pages(MIB, 7), *q;

	hmm_migrate(h, p, MIB, 0, 0);
	munmap(p, MIB);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), -EFAULT);
	q = mmap(p, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	CU_ASSERT_PTR_EQUAL(p, q);
	CU_ASSERT(all_bytes(q, MIB, 0));
	munmap(q, MIB);
}

static void remap(void)
{
	char *p = map_pages(MIB, 9), *room = map_pages(4 * MIB, 0), *q, c = 0;

	hmm_migrate(h, p, MIB, 0, 0);
	q = mremap(p, MIB, 2 * MIB, MREMAP_MAYMOVE | MREMAP_FIXED, room);
	CU_ASSERT_PTR_EQUAL(q, room);
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, q + MIB - 1, &c, 1), 1);
	CU_ASSERT_EQUAL(c, 9);
	CU_ASSERT(all_bytes(q, MIB, 9));
	CU_ASSERT(all_bytes(q + MIB, MIB, 0));
	CU_ASSERT_EQUAL(hmm_migrate(h, p, PAGE, 0, 0), -EFAULT);
	munmap(room, 4 * MIB);
}

static void protect(void)
{
	char *p = map_pages(MIB, 3);

	hmm_migrate(h, p, MIB, 0, 0);
	mprotect(p, MIB, PROT_READ);
	CU_ASSERT(all_bytes(p, MIB, 3));
	mprotect(p, MIB, PROT_READ | PROT_WRITE);
	hmm_migrate(h, p, MIB, 0, 0);
	p[5] = 4;
	CU_ASSERT_EQUAL(p[5], 4);
	munmap(p, MIB);
}

#define CHURN_SECONDS 20 /* at most: where each migration retries busy pages */

struct churn {
	char *place;
	bool remap; /* a new mapping for each round, over the last one */
	_Atomic int stop, bad;
};

static void check_churn(struct churn *c, int want, int what)
{
	for (size_t i = 0; i < MIB; i += PAGE)
		if (c->place[i] != want)
			atomic_store(&c->bad, what);
}

/* Fills and discards while the main thread migrates whatever is there. */
static void *churn(void *arg)
{
	struct churn *c = arg;
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;

	while (!atomic_load(&c->stop)) {
		if (c->remap)
			mmap(c->place, MIB, PROT_READ | PROT_WRITE, flags, -1, 0);
		check_churn(c, 0, 1);
		memset(c->place, 5, MIB);
		check_churn(c, 5, 2);
		madvise(c->place, MIB, MADV_DONTNEED);
		check_churn(c, 0, 3);
		/* Unmaps, but nobody else gets the place. */
		if (c->remap)
			mmap(c->place, MIB, PROT_NONE, flags, -1, 0);
	}
	return NULL;
}

static void churn_and_migrate(bool remap)
{
	struct churn c = { .place = map_pages(MIB, 0), .remap = remap };
	pthread_t t;
	long moved = 0, odd = 0;
	time_t until = time(NULL) + brief(CHURN_SECONDS);
	int i;

	pthread_create(&t, NULL, churn, &c);
	for (i = 0; i < 3000 && time(NULL) < until; i++) {
		long n = hmm_migrate(h, c.place, MIB, i % 3 - 1, 0);

		moved += n > 0 ? n : 0;
		if (n < 0 && n != -EFAULT)
			odd = n;
	}
	atomic_store(&c.stop, 1);
	pthread_join(t, NULL);
	if (i < 3000)
		printf("(%d of 3000) ", i);
	if (odd || c.bad)
		printf("(errno %ld, bad %d) ", -odd, c.bad);
	CU_ASSERT_EQUAL(odd, 0); /* an errno that is not in the contract */
	CU_ASSERT_EQUAL(c.bad, 0);
	CU_ASSERT(moved > 0);
	munmap(c.place, MIB);
}

/* Linux 6.18 moves pages here that it does not count. */
static void discard_races(void)
{
	churn_and_migrate(false);
}

static void remap_races(void)
{
	churn_and_migrate(true);
}

void add_mapping_suite(void)
{
	CU_pSuite s = CU_add_suite("mappings", suite_open, suite_close);

	CU_add_test(s, "MADV_DONTNEED of device pages", discard);
	CU_add_test(s, "munmap of device pages", unmap);
	CU_add_test(s, "mremap of device pages", remap);
	CU_add_test(s, "mprotect of device pages", protect);
	CU_add_test(s, "stores and discards against migration", discard_races);
	CU_add_test(s, "mmap, stores and discards against migration", remap_races);
}

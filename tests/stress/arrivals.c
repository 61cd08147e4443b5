// SPDX-License-Identifier: MIT
/*
 * A page is moved by mremap() to where another thread takes pages out for a device at that moment.
 * If a device reads it, too, it is write-protected already, as those are that are taken, and must
 * not pass for one of them. If it comes right after, those must not pass for it: it may be a
 * device's, or may never have been touched, and then there is nothing in their way. If the library
 * does not know it, no event tells of it, and it must be given back.
 *
 *   arrivals move|wp [arrival|origin|back]
 *
 * The moments are made longer (HMM_TEST_WIDEN). With a second argument the fence is left out
 * (HMM_TEST_SKIP_FENCE), and pages must get lost: the negative control.
 */
#include "control.h"

#include <hmm/hmm.h>

#include <CUnit/Basic.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096ul
#define ROUNDS 400

static struct hmm *h;
static unsigned int open_flags;
static const char *skipped;
static int rounds = ROUNDS;
static bool seen;

/*
 * The page that is moved has a copy on the device, is there itself, is not there at all, or is none
 * that the library knows; that one comes to the first of two pages, too, that are taken.
 */
enum what { COPIED, ON_DEVICE, DISCARDED, UNKNOWN, KINDS };

struct round {
	char *from, *to;
	unsigned int delay; /* us */
	_Atomic bool begun;
	void *got;
};

static void *moves_page(void *arg)
{
	struct round *r = arg;

	while (!atomic_load(&r->begun))
		;
	usleep(r->delay);
	r->got = mremap(r->from, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, r->to);
	return NULL;
}

/* Pages with nothing beside them. */
static char *lone_pages(int value, size_t bytes)
{
	char *p = mmap(NULL, bytes + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CU_ASSERT_FATAL(p != MAP_FAILED);
	CU_ASSERT_EQUAL(mprotect(p + PAGE, bytes, PROT_READ | PROT_WRITE), 0);
	memset(p + PAGE, value, bytes);
	return p + PAGE;
}

static bool is_filled(const char *p, char value)
{
	for (size_t i = 0; i < PAGE; i++)
		if (p[i] != value)
			return false;
	return true;
}

static bool is_copied(const char *p)
{
	struct hmm_page_status s = { 0 };

	CU_ASSERT_EQUAL(hmm_query(h, p, 1, &s), 1);
	return s.location == HMM_SYSTEM && (s.flags & HMM_PAGE_COPIED);
}

/* What is moved: what it holds, all over. */
static char prepare(char *from, enum what what)
{
	char value = *from;

	if (what == UNKNOWN)
		return value;
	if (what == COPIED)
		CU_ASSERT_EQUAL(hmm_advise(h, from, PAGE, HMM_ADVICE_READ_MOSTLY, 0), 0);
	CU_ASSERT_EQUAL(hmm_migrate(h, from, PAGE, 0, 0), 1);
	if (what == COPIED)
		CU_ASSERT(*(volatile char *)from == value && is_copied(from));
	if (what == DISCARDED)
		CU_ASSERT_EQUAL(madvise(from, PAGE, MADV_DONTNEED), 0);
	return what == DISCARDED ? 0 : value;
}

/* Is the page that was moved there lost? */
static bool run_round(int n)
{
	enum what what = (enum what)(n % KINDS);
	size_t bytes = what == UNKNOWN && n / KINDS % 2 ? 2 * PAGE : PAGE;
	struct round r = { .from = lone_pages(n | 1, PAGE),
			   .to = lone_pages(2, bytes),
			   .delay = (unsigned int)n * 37 % 1900 };
	char value = prepare(r.from, what);
	pthread_t thread;
	bool lost;
	long on;

	/* Such pages are taken in either way. */
	CU_ASSERT_EQUAL(mprotect(r.from, PAGE, PROT_READ), 0);
	CU_ASSERT_EQUAL(mprotect(r.to, bytes, PROT_READ), 0);
	pthread_create(&thread, NULL, moves_page, &r);
	atomic_store(&r.begun, true);
	on = hmm_migrate(h, r.to, bytes, 0, 0);
	pthread_join(thread, NULL);
	CU_ASSERT(on >= 0 && on <= (long)(bytes / PAGE));
	CU_ASSERT_PTR_EQUAL(r.got, r.to);
	lost = !is_filled(r.to, value) || (bytes > PAGE && !is_filled(r.to + PAGE, 2));
	/* Advice is for addresses, and its opposite for what is mapped. */
	CU_ASSERT_EQUAL(mmap(r.from, PAGE, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
			r.from);
	CU_ASSERT_EQUAL(hmm_advise(h, r.from, PAGE, HMM_ADVICE_NOT_READ_MOSTLY, 0), 0);
	munmap(r.from - PAGE, 3 * PAGE);
	munmap(r.to - PAGE, bytes + 2 * PAGE);
	return lost;
}

static void arrivals(void)
{
	int lost[KINDS] = { 0 }, all = 0, n = 0;

	/* Without the fence the first that is lost will do. */
	for (; n < rounds && !(skipped && all); n++) {
		bool now = run_round(n);

		lost[n % KINDS] += now;
		all += now;
	}
	printf("\n    %d pages moved; lost: %d with copies, %d of the device, %d discarded, "
	       "%d unknown ",
	       n, lost[COPIED], lost[ON_DEVICE], lost[DISCARDED], lost[UNKNOWN]);
	CU_ASSERT(skipped || all == 0);
	seen = all > 0;
}

static int start(void)
{
	struct hmm_open_opts o = { .sz = sizeof(o), .backend = "emulated", .flags = open_flags };

	return hmm_open(&h, &o);
}

static int stop(void)
{
	hmm_close(h);
	return 0;
}

int main(int argc, char **argv)
{
	unsigned int failures;
	CU_pSuite s;

	if (getenv("HMM_TEST_SCALE"))
		rounds *= atoi(getenv("HMM_TEST_SCALE"));
	if (argc > 1 && !strcmp(argv[1], "wp"))
		open_flags = HMM_OPEN_NO_MOVE;
	if (argc > 2) {
		skipped = argv[2];
		setenv("HMM_TEST_SKIP_FENCE", skipped, 1);
	}
	setenv("HMM_TEST_WIDEN", "arrival,refused", 1);
	CU_initialize_registry();
	s = CU_add_suite(skipped ? "arrivals, a fence left out" : "arrivals", start, stop);
	CU_add_test(s, "mremap() to where pages are taken", arrivals);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
	CU_cleanup_registry();
	if (failures)
		return 1;
	return skipped && !seen ? CONTROL_UNSEEN : 0;
}

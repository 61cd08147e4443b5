// SPDX-License-Identifier: MIT
/*
 * A page that a device reads, too, is moved by mremap() to where another thread takes pages out for
 * a device at that moment. It is write-protected already, as those are that are taken, and must not
 * pass for one of them.
 *
 *   arrivals move|wp [arrival]
 *
 * The moment is made longer (HMM_TEST_WIDEN). With a second argument the fence is left out
 * (HMM_TEST_SKIP_FENCE), and pages must get lost: the negative control.
 */
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
#define ROUNDS 200

static struct hmm *h;
static unsigned int open_flags;
static const char *skipped;
static int rounds = ROUNDS;

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

/* One page with nothing beside it. */
static char *lone_page(int value)
{
	char *p = mmap(NULL, 3 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CU_ASSERT_FATAL(p != MAP_FAILED);
	CU_ASSERT_EQUAL(mprotect(p + PAGE, PAGE, PROT_READ | PROT_WRITE), 0);
	memset(p + PAGE, value, PAGE);
	return p + PAGE;
}

static bool is_copied(const char *p)
{
	struct hmm_page_status s = { 0 };

	CU_ASSERT_EQUAL(hmm_query(h, p, 1, &s), 1);
	return s.location == HMM_SYSTEM && (s.flags & HMM_PAGE_COPIED);
}

/* Is the page that was moved there lost? */
static bool run_round(int n)
{
	struct round r = { .from = lone_page(n | 1),
			   .to = lone_page(n & ~1),
			   .delay = (unsigned int)n * 37 % 900 };
	pthread_t thread;
	bool lost = false;
	long on;

	/* Its copy on the device is to read, and so is the page. */
	CU_ASSERT_EQUAL(hmm_advise(h, r.from, PAGE, HMM_ADVICE_READ_MOSTLY, 0), 0);
	CU_ASSERT_EQUAL(hmm_migrate(h, r.from, PAGE, 0, 0), 1);
	CU_ASSERT(*(volatile char *)r.from == (char)(n | 1) && is_copied(r.from));
	/* Such pages are taken in either way. */
	CU_ASSERT_EQUAL(mprotect(r.from, PAGE, PROT_READ), 0);
	CU_ASSERT_EQUAL(mprotect(r.to, PAGE, PROT_READ), 0);
	pthread_create(&thread, NULL, moves_page, &r);
	atomic_store(&r.begun, true);
	on = hmm_migrate(h, r.to, PAGE, 0, 0);
	pthread_join(thread, NULL);
	CU_ASSERT(on == 0 || on == 1);
	CU_ASSERT_PTR_EQUAL(r.got, r.to);
	for (size_t i = 0; i < PAGE; i++)
		lost |= r.to[i] != (char)(n | 1);
	/* Advice is for addresses, and its opposite for what is mapped. */
	CU_ASSERT_EQUAL(mmap(r.from, PAGE, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
			r.from);
	CU_ASSERT_EQUAL(hmm_advise(h, r.from, PAGE, HMM_ADVICE_NOT_READ_MOSTLY, 0), 0);
	munmap(r.from - PAGE, 3 * PAGE);
	munmap(r.to - PAGE, 3 * PAGE);
	return lost;
}

static void arrivals(void)
{
	int lost = 0, n = 0;

	/* Without the fence the first that is lost will do. */
	for (; n < rounds && !(skipped && lost); n++)
		lost += run_round(n);
	printf("\n    %d pages moved, %d lost ", n, lost);
	CU_ASSERT(skipped ? lost > 0 : lost == 0);
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
	setenv("HMM_TEST_WIDEN", "1", 1);
	CU_initialize_registry();
	s = CU_add_suite(skipped ? "arrivals, a fence left out" : "arrivals", start, stop);
	CU_add_test(s, "mremap() to where pages are taken", arrivals);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
	CU_cleanup_registry();
	return failures ? 1 : 0;
}

// SPDX-License-Identifier: MIT
/*
 * A page is discarded while it is taken for a device that reads it, read-mostly: it would go back
 * to the system at once, as a copy. But the event of the discard has been read by then, the page is
 * gone, and what went back would be its old bytes.
 *
 *   discards [held]
 *
 * The moments are made longer (HMM_TEST_WIDEN). With an argument the fence is left out
 * (HMM_TEST_SKIP_FENCE), and old bytes must come back: the negative control.
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
static char *page;
static bool skipped, seen;

static void *device_reads(void *begun)
{
	char c;

	atomic_store((_Atomic bool *)begun, true);
	return hmm_device_read(h, 0, page, &c, 1) == 1 ? NULL : page;
}

/* Do old bytes come back? */
static bool run_round(int n)
{
	_Atomic bool begun = false;
	pthread_t thread;
	void *failed;
	bool back;

	memset(page, n | 1, PAGE);
	pthread_create(&thread, NULL, device_reads, &begun);
	while (!atomic_load(&begun))
		;
	usleep((unsigned int)n * 37 % 1900);
	CU_ASSERT_EQUAL(madvise(page, PAGE, MADV_DONTNEED), 0);
	back = *(volatile char *)page != 0;
	pthread_join(thread, &failed);
	CU_ASSERT_PTR_NULL(failed);
	return back || *(volatile char *)page != 0;
}

static void discards(void)
{
	int back = 0, n = 0;

	/* Without the fence the first will do. */
	for (; n < ROUNDS && !(skipped && back); n++)
		back += run_round(n);
	printf("\n    %d pages discarded, %d came back ", n, back);
	CU_ASSERT(skipped || back == 0);
	seen = back > 0;
}

int main(int argc, char **argv)
{
	struct hmm_open_opts o = { .sz = sizeof(o),
				   .backend = "emulated",
				   .flags = HMM_OPEN_NO_MOVE };
	CU_pSuite s;
	int failures;

	skipped = argc > 1;
	setenv("HMM_TEST_WIDEN", "held,refused", 1);
	if (skipped)
		setenv("HMM_TEST_SKIP_FENCE", argv[1], 1);
	page = mmap(NULL, 3 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED || mprotect(page += PAGE, PAGE, PROT_READ | PROT_WRITE) ||
	    hmm_open(&h, &o) || hmm_advise(h, page, PAGE, HMM_ADVICE_READ_MOSTLY, 0)) {
		fprintf(stderr, "cannot begin\n");
		return 1;
	}
	if (CU_initialize_registry())
		return 1;
	s = CU_add_suite("discards", NULL, NULL);
	CU_add_test(s, "of a page that a device reads", discards);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = (int)CU_get_number_of_failures();
	CU_cleanup_registry();
	hmm_close(h);
	if (failures)
		return 1;
	return skipped && !seen ? CONTROL_UNSEEN : 0;
}

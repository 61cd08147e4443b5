/* SPDX-License-Identifier: MIT */
/*
 * HMM_TEST_PATIENCE, which who runs tests on a slow machine sets: how many times as long a test
 * waits at most for what comes as a rule at once, and how many times shorter one is that goes on
 * and on.
 */
#ifndef HMM_TESTS_PATIENCE_H
#define HMM_TESTS_PATIENCE_H

#include <stdlib.h>

static inline int patient(int time)
{
	const char *factor = getenv("HMM_TEST_PATIENCE");

	return factor && atoi(factor) > 1 ? time * atoi(factor) : time;
}

static inline int brief(int time)
{
	int factor = patient(1);

	return time > factor ? time / factor : 1;
}

#endif /* HMM_TESTS_PATIENCE_H */

/* SPDX-License-Identifier: MIT */
/*
 * How long a test waits at most for what comes as a rule at once: times HMM_TEST_PATIENCE, which
 * who runs it on a slow machine sets.
 */
#ifndef HMM_TESTS_PATIENCE_H
#define HMM_TESTS_PATIENCE_H

#include <stdlib.h>

static inline int patient(int time)
{
	const char *factor = getenv("HMM_TEST_PATIENCE");

	return factor && atoi(factor) > 1 ? time * atoi(factor) : time;
}

#endif /* HMM_TESTS_PATIENCE_H */

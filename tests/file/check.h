/* SPDX-License-Identifier: MIT */
/* What must be so, in programs that are no suites: else they say where, and end with 1. */
#ifndef HMM_TESTS_FILE_CHECK_H
#define HMM_TESTS_FILE_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(x)                                                                \
	do {                                                                    \
		if (!(x)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			exit(1);                                                \
		}                                                               \
	} while (0)

#endif /* HMM_TESTS_FILE_CHECK_H */

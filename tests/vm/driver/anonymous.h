/* SPDX-License-Identifier: MIT */
/* Tests of anonymous pages: the parts of the program. */
#ifndef HMM_TESTS_VM_ANONYMOUS_H
#define HMM_TESTS_VM_ANONYMOUS_H

#include "engine.h"

#include <CUnit/Basic.h>

bool all(const char *p, size_t n, int value); /* are its bytes @value? */
void add_huge_tests(CU_pSuite s);

#endif /* HMM_TESTS_VM_ANONYMOUS_H */

/* SPDX-License-Identifier: MIT */
/* What the driver is asked that nobody should ask. */
#ifndef HMM_TESTS_VM_FUZZ_H
#define HMM_TESTS_VM_FUZZ_H

#include "engine.h"

#include <CUnit/Basic.h>

extern unsigned long fuzz_calls;

/* 0 or -errno. */
int call(int fd, unsigned long request, void *arg);

/* fuzz_*.c */
void add_random_tests(CU_pSuite s);
void add_other_tests(CU_pSuite s);
int after_exec(int fd); /* 0: the driver refuses */

#endif /* HMM_TESTS_VM_FUZZ_H */

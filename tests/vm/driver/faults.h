/* SPDX-License-Identifier: MIT */
/*
 * Each place where an operation allocates memory fails once: the n-th allocation of the n-th
 * round, until a round has fewer of them (the kernel's fail-nth).
 */
#ifndef HMM_TESTS_VM_FAULTS_H
#define HMM_TESTS_VM_FAULTS_H

#include "engine.h"

struct operation {
	const char *name;
	int (*before)(void);   /* 0, or it cannot be tried */
	int (*run)(void);      /* 0 or -errno: one of its allocations fails */
	int (*after)(int err); /* 0: everything is as it must be after @err */
	int also;              /* an error that may stand for -ENOMEM */
	struct engine *engine; /* who fails, if not the caller */
};

/* How many operations were not as they must be. */
int faults_sweep(const struct operation *operation, size_t n);
int faults_anonymous(void);
int faults_file(const char *upper, const char *lower);

#endif /* HMM_TESTS_VM_FAULTS_H */

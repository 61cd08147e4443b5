/* SPDX-License-Identifier: MIT */
/* A kernel on the engine, without OpenCL in between: f(global char *, int, int). */
#ifndef HMM_TESTS_FILE_KERNEL_H
#define HMM_TESTS_FILE_KERNEL_H

#include <hmm/hmm.h>
#include <stdint.h>

struct kernel {
	int fd;
	uint32_t id;
	char reply[1 << 16];
};

/* 0, or what went wrong. */
int kernel_open(struct kernel *k, struct hmm *h, int device, const char *source, const char *name);
int kernel_run(struct kernel *k, unsigned int items, char *p, unsigned int a, int b);

#endif /* HMM_TESTS_FILE_KERNEL_H */

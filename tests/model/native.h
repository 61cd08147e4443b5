/* SPDX-License-Identifier: MIT */
/*
 * Native loads and stores of a device's engine: kernels that it runs, spoken to over its own
 * connection, so that only the runtime lies between. All return 0, -errno, or an OpenCL error.
 */
#ifndef HMM_TESTS_NATIVE_H
#define HMM_TESTS_NATIVE_H

#include <hmm/hmm.h>
#include <pthread.h>
#include <stdint.h>

enum native_kernel { NATIVE_COPY, NATIVE_FILL, NATIVE_OWN, NATIVE_GROW, NATIVE_KERNELS };

struct native {
	struct hmm *hmm;
	int device;
	int fd;
	unsigned int generation;
	pthread_mutex_t one; /* request at a time */
	uint32_t kernel[NATIVE_KERNELS];
	char reply[1 << 14];
};

int native_open(struct native *e, struct hmm *h, int device);
/* Compiles what launches would compile: @scratch is a page that both sides have. */
int native_warm(struct native *e, char *scratch);
void native_close(struct native *e);

int native_copy(struct native *e, void *to, const void *from, uint32_t n);
/* Byte i becomes native_pattern(seed, i). */
int native_fill(struct native *e, void *to, uint32_t n, uint32_t seed);
unsigned char native_pattern(uint32_t seed, uint32_t i);

/*
 * The device's part of race_lanes.c: @steps times it takes a unit of its @lane, checks it against
 * the same bytes at @shadow, and stores new ones in both. Both are not migrated by it.
 */
struct native_own {
	char *range, *shadow;
	uint32_t *report; /* wrong units, and of the last one: page, offset, a byte seen */
	uint32_t pages, lanes, lane, run, seed, steps;
};
int native_own(struct native *e, const struct native_own *o);

/* Its part of race_growth.c. */
struct native_growth {
	char *range;
	uint64_t *announced, *published;
	uint32_t *report; /* wrong ones, and of the last: page, lane, byte seen and published */
	uint32_t pages, lanes, lane, seed, steps;
};
int native_grow(struct native *e, const struct native_growth *g);

#endif /* HMM_TESTS_NATIVE_H */

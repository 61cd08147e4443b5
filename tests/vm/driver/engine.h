/* SPDX-License-Identifier: MIT */
/* A client of the driver, and processes that are its engines, by raw ioctls. */
#ifndef HMM_TESTS_VM_ENGINE_H
#define HMM_TESTS_VM_ENGINE_H

#include <drm/hmm_drm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "patience.h"

#define PAGE 4096ul
#define MIB (1ul << 20)

extern int node; /* the render node, opened by client_open() */

int client_open(void);
/* Pages on @target when it returns, or -errno. */
long migrate(void *addr, size_t length, int target);
/* Of one page: a device, DRM_HMM_SYSTEM, DRM_HMM_NOT_POPULATED; -errno below those. */
int where(const void *addr);
int page_flags(const void *addr); /* DRM_HMM_PAGE_*, or -errno as where() */
uint64_t resident(unsigned int device);
char *map_anonymous(size_t bytes);

enum engine_op {
	ENGINE_LOAD = 1, /* value = *addr */
	ENGINE_STORE,    /* *addr = value */
	ENGINE_FILL,     /* @length bytes with value */
	ENGINE_READ,     /* load each page's byte at addr, until stopped; value = rounds, now */
	ENGINE_COUNT,    /* add 1 to each page's word at addr, until stopped; value = rounds, now */
};

struct engine {
	int pid;
	struct engine_shared *shared;
};

/*
 * A process that maps [base, base + length) through an engine of @device. Start it before
 * the range is filled: a fork shares what is there.
 */
int engine_start(struct engine *e, unsigned int device, void *base, size_t length);
void engine_end(struct engine *e);
/* 0, or -signal that the engine died of. */
int engine_do(struct engine *e, enum engine_op op, void *addr, size_t length, uint64_t *value);
void engine_begin(struct engine *e, enum engine_op op, void *addr, size_t length, uint64_t value);
int engine_wait(struct engine *e, uint64_t *value);
void engine_stop(struct engine *e);             /* ENGINE_COUNT comes to its end */
uint64_t engine_rounds(const struct engine *e); /* that it has counted */

/*
 * Failures on request, on a kernel that can: the @nth allocation of the calling thread from here
 * on fails. Returns a descriptor for fail_end(), which says whether it came to that.
 */
int fail_begin(unsigned int nth);
bool fail_end(int fd);
/* The same, for the engine's next operation. */
void engine_fail(struct engine *e, unsigned int nth);
bool engine_failed(const struct engine *e);
/* The calling thread's allocations may fail, if HMM_TEST_FAULTS is set. */
bool fail_sometimes(void);

#endif /* HMM_TESTS_VM_ENGINE_H */

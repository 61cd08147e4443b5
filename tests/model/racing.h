/* SPDX-License-Identifier: MIT */
/* The racing mode's threads, and who owns which bytes. */
#ifndef HMM_TESTS_MODEL_RACING_H
#define HMM_TESTS_MODEL_RACING_H

#include <stdatomic.h>

#include "model/drive.h"

/*
 * Two CPU threads, two that use hmm_device_read/write, and two kernels own each sixth unit of
 * every page but each fifth, which belongs as a whole to one of two page owners. native.c
 * has the same rules for its kernel.
 */
#define LANES 6u
#define PAGE_OWNERS 2u
#define MOVERS 2u
#define IS_WHOLE(page) ((page) % 5 == 4)

enum race_kind {
	RACE_LANE_OPS,
	RACE_OWNER_OPS,
	RACE_MIGRATIONS,
	RACE_QUERIES,
	RACE_EVICTIONS,
	RACE_FORKS,
	RACE_ADVICE,
	RACE_KINDS
};

struct race {
	struct drive *d;
	long steps; /* of each lane and page owner */
	_Atomic long count[RACE_KINDS], bad, clock;
	_Atomic bool over;
};

/* One thread: a drive of its own, but for the model's arrays. */
struct racer {
	struct race *race;
	struct drive d;
	unsigned int id;
};

static inline unsigned int unit_bytes(unsigned int page)
{
	return page % 3 == 0 ? 1 : page % 3 == 1 ? 8 : 64;
}

/* What the thread does now, for the history. */
void racer_note(struct racer *r, const char *who, const char *name, size_t offset, size_t length,
		long detail);

/* Counts a mismatch, and prints the first ones. */
void racer_wrong(struct racer *r, const char *who, size_t offset, const char *what, long seen,
		 long expected);

void *race_cpu_lane(void *racer);
void *race_device_lane(void *racer);
void *race_native_lane(void *racer);
void *race_page_owner(void *racer);

#endif /* HMM_TESTS_MODEL_RACING_H */

/* SPDX-License-Identifier: MIT */
/* The racing mode: clients (processes), their threads, and who owns which bytes. */
#ifndef HMM_TESTS_MODEL_RACING_H
#define HMM_TESTS_MODEL_RACING_H

#include <stdatomic.h>

#include "model/drive.h"

/*
 * Of each five pages three belong to lanes, each of which owns every n-th unit of them; in one
 * each lane has a byte that only it counts up; one belongs as a whole to a page owner. native.c
 * has the same rules for its kernels. A file has more pages behind them, of which one thread
 * makes it shorter and longer.
 */
#define MAX_LANES 16u
#define BODY 80u /* pages: few, so that threads meet */
#define TAIL 6u
#define COUNTED (BODY / 5)
#define IS_LANES(page) ((page) % 5 < 3)
#define COUNTED_PAGE(nth) ((nth)*5 + 3)
#define COUNTER(lane) ((lane)*201) /* its offset in such a page */

enum race_kind {
	RACE_CPU,
	RACE_DEVICE,
	RACE_NATIVE,
	RACE_CALLS,
	RACE_COUNTERS,
	RACE_OWNERS,
	RACE_SYNCS,
	RACE_TRUNCATIONS,
	RACE_PUNCHES,
	RACE_FORKS,
	RACE_MIGRATIONS,
	RACE_EVICTIONS,
	RACE_ADVICE,
	RACE_QUERIES,
	RACE_DROPS,
	RACE_PRESSURE,
	RACE_KINDS
};

/* Of all clients, in shared memory. */
struct race {
	long goal; /* operations */
	_Atomic long count[RACE_KINDS], done, bad, clock;
	_Atomic long in_place; /* syncs of a page that was on a device before and after */
	_Atomic unsigned int ready, ended; /* clients */
	_Atomic bool over;
};

/* Before and after a lane stores to its counter it says so here: what others see lies between. */
struct growth {
	_Atomic uint64_t announced[COUNTED * MAX_LANES], published[COUNTED * MAX_LANES];
};

/* This process. Clients of one file have the model and the growth in common. */
struct client {
	struct race *race;
	struct growth *growth;
	struct drive d;
	unsigned int id, lanes, first_lane, own_lanes, page_owners;
	int file, lower; /* -1: anonymous memory; no lower file to look into */
};

/* One thread: a drive of its own, but for the model's arrays and the engines. */
struct racer {
	struct client *client;
	struct race *race;
	struct drive d;
	unsigned int id; /* among the lanes, or the page owners, of all clients */
};

static inline unsigned int unit_bytes(unsigned int page)
{
	return page % 3 == 0 ? 1 : page % 3 == 1 ? 8 : 64;
}

static inline bool is_over(const struct racer *r)
{
	return atomic_load_explicit(&r->race->over, memory_order_relaxed);
}

/* Is it settings.negative? */
bool broken(const char *what);

/* What the thread does now, for the history. */
void racer_note(struct racer *r, const char *who, const char *name, size_t offset, size_t length,
		long detail);
/* Counts operations that were checked. */
void racer_did(struct racer *r, enum race_kind kind, long n);
/* Counts a mismatch, and prints the first ones. */
void racer_wrong(struct racer *r, const char *who, size_t offset, const char *what, long seen,
		 long expected);

/* Ways to bytes of the range: the CPU's, hmm_device_*(), a kernel, a system call on the file. */
enum way { BY_CPU, BY_DEVICE, BY_KERNEL, BY_CALL, WAYS };
enum way random_way(struct racer *r);
/* To and from r->d.plain, at most MAX_BYTES; wrong counts are reported. */
bool load_by(struct racer *r, enum way way, size_t offset, size_t n);
bool store_by(struct racer *r, enum way way, size_t offset, size_t n);

/* Threads of racing.c's table. */
void *race_lane(void *racer);
void *race_native_lane(void *racer);
void *race_page_owner(void *racer);
void *race_tail_owner(void *racer);
void *race_mover(void *racer);
void *race_presser(void *racer);

/* race_growth.c: counts one up by @way, and looks at one of another lane. */
void growth_step(struct racer *r, enum way way);
/* Which counter, and what it was at least from then on; to hold the first byte of plain against. */
struct growth_look {
	unsigned int counter;
	size_t offset;
	uint64_t before;
};
struct growth_look growth_begin(struct racer *r);
void growth_judge(struct racer *r, const char *who, const struct growth_look *l);

/* race_file.c: before there are clients, and then in each. 0 or -errno. */
int file_create(struct client *c);
int file_open(struct client *c);
void file_close(struct client *c);
/* The range, mapped; or NULL. */
char *file_map(struct client *c);
/* Makes a page durable; then the lower file must have of it what this lane or page owner has. */
void sync_and_look(struct racer *r, unsigned int page);
/* What a page owner does to a page of a file. */
void change_file_page(struct racer *r, unsigned int page);
/* After the end: all of it in the lower file. */
void check_lower(struct racer *r);

#endif /* HMM_TESTS_MODEL_RACING_H */

/* SPDX-License-Identifier: MIT */
/* The random driver: its state, its operations (op_*.c), and its two modes. */
#ifndef HMM_TESTS_MODEL_DRIVE_H
#define HMM_TESTS_MODEL_DRIVE_H

#include <hmm/hmm.h>
#include <string.h>
#include <stdbool.h>
#include <stdint.h>

#include "model/model.h"
#include "model/native.h"
#include "patience.h"

#define MAX_DEVICES 2u
#define MAX_OPS 48u
#define MAX_THREADS 20u
#define MAX_BYTES (3 * PAGE) /* that one operation loads or stores */
#define MAX_PENDING 4u

struct settings {
	struct hmm_open_opts open;
	uint64_t seed;
	long ops; /* in total; 0: the default times HMM_TEST_SCALE */
	unsigned int pages;
	long trace;           /* print what touches this page; -1 */
	const char *without;  /* names of operations to leave out, joined by commas */
	const char *negative; /* NULL, or what is broken (main.c): must fail */
	const char *file;     /* NULL: anonymous memory */
	const char *lower;    /* what @file stands on, to see what is durable */
	const char *cgroup;   /* folder of the memory cgroup that this runs in */
	unsigned int clients; /* processes */
	unsigned int run;     /* units of one page that a lane has, then it takes another one */
};
extern struct settings settings;

static inline bool on_driver(void)
{
	return settings.open.backend && !strcmp(settings.open.backend, "drm");
}

struct pending {
	int fence;
	unsigned int first, n;
	int target;
};

/* What an operation did, for the report. */
struct record {
	long number;
	const char *name, *who; /* who: in racing mode */
	unsigned int thread;
	size_t offset, length;
	bool of_file; /* they are of the file, not of the range */
	long detail, result;
};

/* history.c; processes that are forked after history_start() have it in common. */
bool history_start(void);
void history_add(const struct record *r);
/* A page of the range, or of the file; NO_PAGE: of none. */
#define NO_PAGE SIZE_MAX
bool record_touches(const struct record *r, size_t page, size_t file_page);
void record_print(const struct record *r);
/* What touched a page. */
void history_print(size_t page, size_t file_page);

struct drive {
	struct hmm *h;
	struct model m;
	struct native native[MAX_DEVICES];
	char *plain;        /* MAX_BYTES for each thread, shared memory */
	char *filler;       /* as large as a device, to evict */
	bool kernel_faults; /* system calls work on migrated pages */
	uint64_t random;
	struct pending pending[MAX_PENDING];
	unsigned int n_pending;
	struct record now;
	int file, lower; /* -1: anonymous memory; no lower file to look into */
	size_t bad;      /* offset of what is wrong */
	bool in_file;    /* of the file, not of the range */
	char wrong[256];
};

uint64_t drive_random(uint64_t *state);
/* 0 .. n-1 */
unsigned int below(struct drive *d, unsigned int n);
/* One of the range; where there is a file, often one of a few, so that operations meet. */
unsigned int some_page(struct drive *d);
/* A range of at most @most pages. */
void random_pages(struct drive *d, unsigned int most, unsigned int *first, unsigned int *n);
/* Is the kind of operation one of --without? */
bool left_out(const char *name);
/* Notes what is wrong and where; -1. */
int wrong(struct drive *d, size_t offset, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void random_fill(struct drive *d, char *to, size_t n);
/* Writes to @folder/@file: 0 or -errno. */
int put_text(const char *folder, const char *file, const char *text);
/* Must be the model's bytes; 0 or -1. */
int expect_bytes(struct drive *d, size_t offset, const void *seen, size_t n);

/* One random operation: 0, or -1 after wrong(). */
struct op {
	const char *name;
	unsigned int weight;
	int (*run)(struct drive *d);
};
extern const struct op touch_ops[], place_ops[], map_ops[], file_ops[]; /* the last has no name */

/* Everything through the CPU's loads, or a device's; of a file also by read(2), and what is below. */
int check_all(struct drive *d, int device);
int check_file(struct drive *d);
int check_size(struct drive *d);
/* The lower file has these bytes: because they are @written, or some time, because they are clean. */
int check_below(struct drive *d, size_t at, size_t n, bool written);
/* Ends all that hmm_migrate_async() began. */
void finish_pending(struct drive *d);

/* The range of a run: far from where the kernel puts mappings, so that holes stay holes. @fd < 0:
 * anonymous. */
char *map_range(unsigned int pages, int fd);
/* All but the range and its model. */
int drive_start(struct drive *d);
/* All but the model. */
int drive_open(struct drive *d);
void drive_close(struct drive *d);

/* The two modes; how many mismatches. */
long run_sequential(long ops);
long run_racing(long ops);

#endif /* HMM_TESTS_MODEL_DRIVE_H */

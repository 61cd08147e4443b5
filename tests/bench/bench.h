/* SPDX-License-Identifier: MIT */
/* What the benchmarks share: clocks, medians, rows. */
#ifndef HMM_BENCH_H
#define HMM_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_PAGE 4096ul
#define BENCH_HUGE (2ul << 20)
#define BENCH_ROUNDS 64 /* at most */

double bench_now(void); /* microseconds */

/* @share 0.5: the median. Sorts @v. */
double bench_quantile(double *v, unsigned int n, double share);

/* Both sides of one row, a value for each round; the sides take turns. */
struct bench_pair {
	unsigned int n;
	double ours[BENCH_ROUNDS], reference[BENCH_ROUNDS];
};

void bench_add(struct bench_pair *p, double ours, double reference);

/*
 * One line, which run.sh makes a table of: the median of the rounds' ratios, the quartiles, and
 * the ratio of the fastest rounds, which says what other work on the machine has cost.
 * BENCH_SPEED: reference's time / ours, to be at least @mark; BENCH_TIME: ours / reference's, to
 * be at most @mark. @mark 0: none was set.
 */
enum bench_kind { BENCH_SPEED, BENCH_TIME };
void bench_row(enum bench_kind kind, double mark, const char *what, const char *against,
	       const struct bench_pair *p);

/* Private memory, aligned to 2 MiB and filled; ends the program when there is none. */
char *bench_pages(size_t bytes, bool huge);
void bench_pages_free(char *p, size_t bytes);

/* The CPU reads it from its beginning to its end; how long that took. */
double bench_scan(const char *p, size_t bytes);

/* The calling thread stays on the @nth CPU that the program may use; -1: on any. */
void bench_pin(int nth);
unsigned int bench_cpus(void);

/* The numbers 0 to n-1 in an order without a pattern, the same in every run. */
void bench_shuffle(unsigned int *order, unsigned int n);

void bench_need(bool ok, const char *what); /* or the end of the program */

#endif /* HMM_BENCH_H */

/* SPDX-License-Identifier: MIT */
/* The API conformance suite: its fixture, and the suites of its files. */
#ifndef HMM_TESTS_API_H
#define HMM_TESTS_API_H

#include <CUnit/Basic.h>
#include <hmm/hmm.h>
#include <stddef.h>

#include "patience.h"

#define PAGE 4096ul
#define MIB (1ul << 20)

extern struct hmm *h;                /* open while a suite runs: 2 devices of 8 MiB */
extern struct hmm_open_opts options; /* what h was opened with */

int suite_open(void);
int suite_close(void);

/* A new private anonymous mapping, each byte @value; 0 leaves it untouched. */
char *map_pages(size_t bytes, int value);
/* Is every byte @value? */
int all_bytes(const char *p, size_t bytes, int value);
/* Where the page of @p is. */
int where(const void *p);

void add_migrate_suite(void);
void add_memory_suite(void);
void add_mapping_suite(void);
void add_error_suite(void);
void add_process_suite(void);

#endif /* HMM_TESTS_API_H */

/* SPDX-License-Identifier: MIT */
/*
 * What the contract says beyond single calls: options and environment, fences, pinned
 * pages, outputs that lie on a device, lost engines, threads, signals and forks.
 */
#ifndef HMM_TESTS_CONF_H
#define HMM_TESTS_CONF_H

#include <CUnit/Basic.h>
#include <hmm/hmm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "patience.h"

#define PAGE 4096ul
#define MIB (1ul << 20)
#define PAGES(bytes) ((long)((bytes) / PAGE))

/* What in_child() says of a child that a signal ended: 1000 and the signal. */
#define ENDED_BY(sig) (1000 + (sig))

extern struct hmm *h;                /* open while a suite with conf_open() runs */
extern struct hmm_open_opts options; /* of the backend under test: 2 devices of 8 MiB */

int conf_open(void);
int conf_close(void);
/* The same around each test, where one that fails may cost the device. */
void conf_set_up(void);
void conf_tear_down(void);

/* A new private anonymous mapping, each byte @value; 0 leaves it untouched. */
char *map_pages(size_t bytes, int value);
/* Is every byte @value? */
bool all_bytes(const char *p, size_t bytes, int value);
/* Each word tells where it is. */
void number(char *p, size_t bytes);
bool is_numbered(const char *p, size_t bytes);
int where(const void *p);
uint32_t page_flags(const void *p);
bool is_emulated(void);
/* How many pages of up to 8 MiB are there. */
long count_at(const char *p, size_t bytes, int location);
void advise(char *p, size_t bytes, int advice, int target);
/* Do system calls work on migrated memory? */
bool serves_system_calls(void);
/* The long counts times HMM_TEST_SCALE. */
int scaled(int count);

/* Runs @fn in a forked child for at most a patient minute; what it returned, or ENDED_BY(). */
int in_child(int (*fn)(void *), void *arg);
/* Has the process ended? A zombie counts. Waits up to @ms, patiently. */
bool is_gone(int pid, int ms);

void add_open_suite(void);
void add_query_suite(void);
void add_advice_suite(void);
void add_file_advice_suite(void);
void add_policy_suite(void);
void add_pinned_suite(void);
void add_async_suite(void);
void add_output_suite(void);
void add_vma_suite(void);
void add_shared_suite(void);
void add_thread_suite(void);
void add_fork_suite(void);
void add_lost_suite(void);
void add_engine_suite(void);
void add_file_suite(void);
void add_scan_suite(void);
void add_across_suite(void);
void add_across_race_suite(void);

#endif /* HMM_TESTS_CONF_H */

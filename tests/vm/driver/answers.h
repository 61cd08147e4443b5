/* SPDX-License-Identifier: MIT */
/*
 * What the rest of the kernel does with pages on a device: each question is asked of anonymous
 * memory and, with a folder on hmmfs, of a file's.
 */
#ifndef HMM_TESTS_VM_ANSWERS_H
#define HMM_TESTS_VM_ANSWERS_H

#include "engine.h"

#include <CUnit/Basic.h>

extern const char *hmmfs_folder; /* NULL: anonymous memory is asked about */
extern const char *plain_folder; /* on a filesystem with O_DIRECT */

/* Memory with a mapping of its own; never touched, or a file's zeros. */
char *map(size_t pages);
void unmap(char *p, size_t pages);
/* Each byte says where it is; then all pages go to device 0. */
void fill(char *p, size_t pages);
bool intact(const char *p, size_t pages);
/* map() and fill(). */
char *take(size_t pages);
bool all_at(char *p, size_t pages, int location);

/*
 * Another process, made before the memory is filled, so that it shares none of it. It does
 * @act when told to; 0 is what other_wait() returns if that is what @act did.
 */
struct other {
	int pid, go;
};

void other_start(struct other *o, int (*act)(int client, char *p), char *p);
void other_go(struct other *o);
int other_wait(struct other *o);

/* How many entries of /proc/self/pagemap have @bit. */
#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_SWAPPED (1ull << 62)
unsigned int count_pagemap(const char *p, size_t pages, uint64_t bit);

void skipped(const char *what, const char *why);

/* Of files in /sys and /proc. */
bool put(const char *name, const char *what);
/* The number after @key in a file of lines; -1: not there. */
long look_up(const char *name, const char *key);

/* answers_*.c */
void add_process_tests(CU_pSuite s);
void add_pin_tests(CU_pSuite s);
void add_proc_tests(CU_pSuite s);
void add_memory_tests(CU_pSuite s);
void add_hotplug_tests(CU_pSuite s);

#endif /* HMM_TESTS_VM_ANSWERS_H */

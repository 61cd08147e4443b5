/* SPDX-License-Identifier: MIT */
/*
 * The runtime's own memory: one mapping that never migrates. All metadata, thread
 * stacks and system call buffers of the runtime live here, because the fault path
 * must not fault itself.
 */
#ifndef HMM_OS_ARENA_H
#define HMM_OS_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int os_arena_init(void); /* idempotent; 0 or -ENOMEM */

/* Zeroed; 64-byte aligned, page-aligned from a page up. NULL when full. */
void *os_alloc(size_t bytes);
void os_free(void *p, size_t bytes); /* NULL is allowed */

bool os_arena_contains(uintptr_t start, uintptr_t end); /* overlaps? */

/* In a forked child: start over; what the parent had stays mapped, unused. */
void os_arena_forget(void);

#endif /* HMM_OS_ARENA_H */

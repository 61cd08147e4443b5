/* SPDX-License-Identifier: MIT */
/*
 * What hmm_advise() said of which addresses. Every backend may ask; the header of the library
 * tells what each does about it.
 */
#ifndef HMM_CORE_ADVICE_H
#define HMM_CORE_ADVICE_H

#include <stdbool.h>
#include <stdint.h>

struct hmm_advice {
	bool has_preferred, read_mostly, evict_first, no_migrate;
	uint8_t pattern;     /* 0, HMM_ADVICE_SEQUENTIAL or HMM_ADVICE_RANDOM */
	uint8_t accessed_by; /* a bit for each device */
	int32_t preferred;   /* a target of a migration, if there is one */
};

/*
 * Locking, of all: nothing that a fault can need is held; the caller is on a private stack.
 * hmm_advice_set: 0, -EINVAL (no such advice), or -ENOMEM: then nothing has changed.
 */
int hmm_advice_set(uintptr_t start, uintptr_t end, int advice, int target);
/* *end: up to where it holds, UINTPTR_MAX for ever. */
struct hmm_advice hmm_advice_at(uintptr_t addr, uintptr_t *end);
/* The first range that ends behind @at and is to be evicted first. */
bool hmm_advice_next_victim(uintptr_t at, uintptr_t *start, uintptr_t *end);
/* Is the device the preferred location of a page of the range? */
bool hmm_advice_prefers(uintptr_t start, uintptr_t end, int device);

void hmm_advice_clear(void);  /* with the last handle */
void hmm_advice_forget(void); /* in a forked child */

#endif /* HMM_CORE_ADVICE_H */

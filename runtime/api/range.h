/* SPDX-License-Identifier: MIT */
/* What the public functions on ranges have in common. */
#ifndef HMM_API_RANGE_H
#define HMM_API_RANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/backend.h"

/* Widen to whole pages. 0, -EINVAL: empty, or it wraps; -EFAULT: it reaches beyond user memory. */
int hmm_range_widen(const void *addr, size_t length, uintptr_t *start, uintptr_t *end);
/* A device that there is, HMM_SYSTEM, or a node with memory? */
bool hmm_is_target(const struct hmm_backend_ops *ops, int target);

#endif /* HMM_API_RANGE_H */

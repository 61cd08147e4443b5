/* SPDX-License-Identifier: MIT */
#ifndef HMM_CORE_ASYNC_H
#define HMM_CORE_ASYNC_H

#include <stdint.h>

typedef long (*hmm_async_fn)(uintptr_t start, uintptr_t end, int target);

/*
 * Run @fn on the worker; *fence_fd then polls readable. 0, -ENOMEM, -EMFILE, -EAGAIN.
 * The worker finishes what is queued before hmm_async_stop() returns.
 */
int hmm_async_submit(hmm_async_fn fn, uintptr_t start, uintptr_t end, int target, int *fence_fd);

#endif /* HMM_CORE_ASYNC_H */

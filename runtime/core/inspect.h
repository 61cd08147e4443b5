/* SPDX-License-Identifier: MIT */
/* The thread that answers hmmctl and writes the trace down. */
#ifndef HMM_CORE_INSPECT_H
#define HMM_CORE_INSPECT_H

#include "core/backend.h"

/* Locking: process.lock, for both. Without it everything else works: no error. */
void hmm_inspect_start(const struct hmm_backend_ops *ops);
void hmm_inspect_stop(void);   /* before the backend stops */
void hmm_inspect_forget(void); /* in a forked child */

#endif /* HMM_CORE_INSPECT_H */

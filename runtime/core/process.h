/* SPDX-License-Identifier: MIT */
/* The device state of the process, and the handles that share it. */
#ifndef HMM_CORE_PROCESS_H
#define HMM_CORE_PROCESS_H

#include "core/backend.h"

struct hmm {
	uint32_t magic;
	uint32_t epoch; /* of the process; differs in a forked child */
};

/*
 * The backend, when @h is a live handle of this process; NULL and *err (-EPERM after a
 * fork, -EINVAL) otherwise.
 */
const struct hmm_backend_ops *hmm_backend_of(const struct hmm *h, int *err);

/* Of the process, whatever the handle; NULL when none is open. */
const struct hmm_backend_ops *hmm_backend_running(void);

int hmm_process_open(struct hmm **out, const char *backend, const struct hmm_config *config);
void hmm_process_close(struct hmm *h);

/* async.c: the thread that works on hmm_migrate_async(). */
void hmm_async_stop(void);
void hmm_async_forget(void);

/* stats.c: the HMM_STATS report. */
void hmm_stats_report(const struct hmm_backend_ops *ops);

#endif /* HMM_CORE_PROCESS_H */

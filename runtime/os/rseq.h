/* SPDX-License-Identifier: MIT */
#ifndef HMM_OS_RSEQ_H
#define HMM_OS_RSEQ_H

#include <stdbool.h>

/*
 * rseq(2): the kernel reads and writes a word of each thread's descriptor whenever it has
 * scheduled the thread. When that page is away, the thread waits for its fault, wherever it is. So
 * no thread that holds a lock of the runtime may be registered. glibc(7) tells where (2.35 and
 * newer).
 */

/* Whether os_rseq_leave() does anything; to be said once no thread is between the two below. */
void os_rseq_away(bool away);

/* True if the caller was registered and is not now: os_rseq_rejoin(). Signals are blocked. */
bool os_rseq_leave(void);
void os_rseq_rejoin(void);

#endif /* HMM_OS_RSEQ_H */

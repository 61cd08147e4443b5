/* SPDX-License-Identifier: MIT */
/*
 * Events: USDT probes (provider libhmm) and, when HMM_TRACE names a file, records.
 *
 * A point costs a predictable branch when nobody traces. A record goes into a ring of the
 * calling thread, without a lock and without the C library, so a point may stand anywhere: on the
 * fault path, with any lock held. Who finds his ring full counts what he drops.
 */
#ifndef HMM_CORE_TRACE_H
#define HMM_CORE_TRACE_H

#include "core/trace_format.h"
#include "os/sys.h"

#include <stdbool.h>

#if defined(HMM_HAVE_SDT)
#include <sys/sdt.h>
#define HMM_PROBE(name, device, address, pages) \
	DTRACE_PROBE3(libhmm, name, (int)(device), (unsigned long)(address), (unsigned int)(pages))
#else
#define HMM_PROBE(name, device, address, pages) ((void)0)
#endif

struct hmm_backend_ops;

extern bool hmm_trace_on; /* set before threads start, cleared when they are gone */

void hmm_trace_add(enum hmm_trace_kind kind, uint64_t start, int device, uint64_t address,
		   uint32_t pages);

/* When something begins; 0 when nobody traces. */
static inline uint64_t hmm_trace_begin(void)
{
	return __builtin_expect(hmm_trace_on, false) ? os_now_ns() : 0;
}

/* It is over; @start from hmm_trace_begin(). */
#define HMM_TRACE(kind, probe, start, device, address, pages)                          \
	do {                                                                           \
		HMM_PROBE(probe, device, address, pages);                              \
		if (__builtin_expect((start) != 0, 0))                                 \
			hmm_trace_add(kind, start, (int)(device), (uint64_t)(address), \
				      (uint32_t)(pages));                              \
	} while (0)

/* Locking: process.lock, for both. start: reads HMM_TRACE and HMM_TRACE_EVENTS. */
void hmm_trace_start(void);
void hmm_trace_stop(void);  /* when no thread of the runtime is left */
void hmm_trace_flush(void); /* the rings into the file */
void hmm_trace_sample(const struct hmm_backend_ops *ops);
void hmm_trace_forget(void); /* in a forked child */

#endif /* HMM_CORE_TRACE_H */

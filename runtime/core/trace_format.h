/* SPDX-License-Identifier: MIT */
/*
 * What a traced process appends to the file HMM_TRACE, and `hmmctl trace` makes JSON of:
 * batches, each of one thread, written by one write(2). Both from one release.
 */
#ifndef HMM_CORE_TRACE_FORMAT_H
#define HMM_CORE_TRACE_FORMAT_H

#include <stdint.h>

#define HMM_TRACE_MAGIC 0x484d4d54u

enum hmm_trace_kind {
	HMM_TRACE_CPU_FAULT = 1,
	HMM_TRACE_DEVICE_FAULT,
	HMM_TRACE_MIGRATE,   /* hmm_migrate() */
	HMM_TRACE_TO_DEVICE, /* pages of one block that moved, for any reason */
	HMM_TRACE_TO_SYSTEM,
	HMM_TRACE_EVICT,
	HMM_TRACE_WRITEBACK, /* pages of a mapped file, to it */
	HMM_TRACE_SYNC,      /* hmm_sync() */
	HMM_TRACE_LAUNCH_BEGIN,
	HMM_TRACE_LAUNCH_END,
	HMM_TRACE_RESIDENT, /* a sample: pages on the device */
	HMM_TRACE_ACROSS,   /* of TO_DEVICE: a run straight from another device */
	HMM_TRACE_KINDS
};

struct hmm_trace_record {
	uint64_t start, took; /* ns, CLOCK_MONOTONIC */
	uint64_t address;
	uint32_t pages;
	uint16_t kind;
	int16_t device;
};

struct hmm_trace_batch {
	uint32_t magic, pid, tid, count; /* records that follow */
	uint64_t dropped;                /* of this thread, since its last batch */
	char thread[16];                 /* its name */
};

#endif /* HMM_CORE_TRACE_FORMAT_H */

/* SPDX-License-Identifier: MIT */
#ifndef HMM_TOOLS_TRACE_H
#define HMM_TOOLS_TRACE_H

#include <stdio.h>

/* timeline.c: HMM_TRACE's batches as JSON for Perfetto and chrome://tracing. 0 or -1. */
struct timeline_counts {
	unsigned long events, dropped, lines;
};
int timeline_write(FILE *from, FILE *to, struct timeline_counts *counts);

#endif /* HMM_TOOLS_TRACE_H */

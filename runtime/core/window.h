/* SPDX-License-Identifier: MIT */
/*
 * How many pages to bring along with a fault. Faults that continue where an earlier
 * one's window ended double the window; others start small, so that random access
 * does not drag its neighbours back and forth.
 */
#ifndef HMM_CORE_WINDOW_H
#define HMM_CORE_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#define HMM_WINDOW_STREAMS 8
#define HMM_WINDOW_MAX 512u

struct hmm_window {
	struct {
		uintptr_t next;     /* where the stream would fault again */
		unsigned int pages; /* its last window */
		unsigned int ahead; /* pages before @next that come without a fault */
	} stream[HMM_WINDOW_STREAMS];
	unsigned int hand; /* next stream to replace */
};

/*
 * Pages from @addr on to move for this fault, 1..HMM_WINDOW_MAX, not past the end
 * of the 2 MiB block. @first: the size of a window without history.
 * Locking: the caller's.
 */
unsigned int hmm_window_pages(struct hmm_window *w, uintptr_t addr, unsigned int first);

/*
 * @pages from @addr on, where a stream would fault again, are on their way without a fault. One
 * that comes none the less is of that stream, and does not double its window. False: there is no
 * such stream. Locking: the caller's.
 */
bool hmm_window_ahead(struct hmm_window *w, uintptr_t addr, unsigned int pages);

#endif /* HMM_CORE_WINDOW_H */

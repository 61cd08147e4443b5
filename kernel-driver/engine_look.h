/* SPDX-License-Identifier: GPL-2.0 */
/* What an engine's fault finds at its client's address; engine_look.c. */
#ifndef HMMDRM_ENGINE_LOOK_H
#define HMMDRM_ENGINE_LOOK_H

#include "hmmdrm.h"

struct hmmdrm_look {
	struct hmmdrm_engine *engine;
	unsigned long addr, seq, since, pfn;
	struct page *exclusive; /* locked and referenced, until its entry is made */
	struct folio *file;     /* a file's frame: likewise */
	unsigned int tries;     /* of a page that others hold */
	unsigned int refused;   /* that hmm_range_fault() refused, and the CPU can touch */
	bool write, writable, tried, movable;
	bool alone; /* the page has no writable entry but the one to be made */
	bool here;  /* it is one of the system */
	/* What lies around it, of the same VMA; nr_around 0: not known. */
	unsigned long around[HMMDRM_FAULT_PAGES], first;
	unsigned int nr_around;
};

/*
 * Locking: none of the client's. The page migrates, or, where it cannot, is found where it is; what
 * is found holds until a change is announced (.since). 0, -EAGAIN to look again, or -errno.
 */
int hmmdrm_look(struct hmmdrm_look *l);
/* Lets go of the page that was found. */
void hmmdrm_look_done(struct hmmdrm_look *l);
/* Is it a frame of the engine's device? @entry is one of .around. */
bool hmmdrm_is_usable(const struct hmmdrm_look *l, unsigned long entry, bool write);

#endif /* HMMDRM_ENGINE_LOOK_H */

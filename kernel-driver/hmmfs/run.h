/* SPDX-License-Identifier: GPL-2.0 */
/* Folios that follow each other, and their bytes on the way to the lower file; run.c. */
#ifndef HMMFS_RUN_H
#define HMMFS_RUN_H

#include <linux/bvec.h>

#include "hmmfs.h"

#define HMMFS_BLOCKS 64 /* of bounce pages */

/* The last folios are locked, those before them are under writeback; all are referenced. */
struct hmmfs_run {
	struct address_space *mapping;
	pgoff_t first;
	unsigned int n, taken, within;       /* the file, when they were written */
	int err;                             /* of those that are taken */
	unsigned int nr_blocks, pages, used; /* bounce pages: all, and those that hold bytes */
	unsigned int block, next;            /* where the next one is */
	struct hmmfs_write write;
	struct folio *blocks[HMMFS_BLOCKS]; /* one page at least */
	struct folio *folio[HMMFS_RUN_PAGES];
	struct bio_vec vec[HMMFS_RUN_PAGES];
};

/* No locks held: who has one now may need those that are there already. */
struct hmmfs_run *hmmfs_get_run(struct address_space *mapping);
void hmmfs_put_run(struct hmmfs_run *r);
/* All is written: for others. */
void hmmfs_empty_run(struct hmmfs_run *r);
/* Is there room for one more folio, and a page to copy it to? */
bool hmmfs_has_room(struct hmmfs_run *r);
struct page *hmmfs_next_bounce(struct hmmfs_run *r);
/* What of it lies within the file. Locking: none; the lower file's are taken. */
int hmmfs_write_run(struct hmmfs_run *r);

#endif /* HMMFS_RUN_H */

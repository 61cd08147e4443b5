// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty folios to the lower file, those that follow each other in one go. A frame is written while
 * it stays on its device: no device stores to it from here on without asking, its dirty state is
 * taken, its bytes are copied to a bounce page, and that is written. A store that comes meanwhile
 * makes it dirty anew. It comes home without waiting for that (writes.c); what is newer is written
 * after what is older.
 */
#include <linux/bvec.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/writeback.h>

#include "../hmmdrm.h"
#include "compat.h"
#include "run.h"

#define LOCKED_PAGES 64 /* nobody who wants one waits for more */

/* Locking: the folios'. */
static void protect(const struct hmmfs_run *r)
{
	struct page *frame[LOCKED_PAGES];
	unsigned int n = 0;

	for (unsigned int i = r->taken; i < r->n; i++)
		if (hmmfs_is_frame(r->folio[i]))
			frame[n++] = &r->folio[i]->page;
	if (!(hmmdrm_skip_fence & HMMDRM_SKIP_PROTECT))
		hmmdrm_frames_write_protect(frame, n);
}

/* Locking: the folio's, which is let go of. From here on it is under writeback, and clean. */
static int take_bytes(struct hmmfs_run *r, unsigned int i)
{
	struct folio *folio = r->folio[i];
	struct page *page = &folio->page;
	int err = 0;

	if (hmmfs_is_frame(folio)) {
		page = hmmfs_next_bounce(r);
		folio_cancel_dirty(folio);
		folio_start_writeback(folio);
		err = hmmdrm_copy_from_device(page, &folio->page);
	} else {
		folio_clear_dirty_for_io(folio);
		folio_start_writeback(folio);
	}
	folio_unlock(folio);
	bvec_set_page(&r->vec[i], page, PAGE_SIZE, 0);
	return err;
}

/*
 * Those that are locked. What is under writeback from here on is so until the run is written: until
 * then nothing is waited for that who waits for it may have.
 */
static void take(struct hmmfs_run *r)
{
	/* Before dirty state is taken: a store in between would be neither written nor dirty. */
	protect(r);
	if (!r->taken)
		hmmfs_begin_write(&r->write, r->mapping, r->first, r->folio);
	hmmfs_extend_write(&r->write, r->n);
	for (; r->taken < r->n; r->taken++) {
		int one = take_bytes(r, r->taken);

		r->err = r->err ? r->err : one;
	}
}

/*
 * What could not be written is dirty still, and the error is reported once to each who waits. So is
 * what lies beyond the end by now: it is dropped, unless the lower file cannot be cut.
 */
static void finish(struct hmmfs_run *r, int err)
{
	if (err)
		mapping_set_error(r->mapping, err);
	hmmfs_end_write(&r->write);
	for (unsigned int i = 0; i < r->n; i++) {
		if (test_bit(i, r->write.left))
			continue;
		if (err || i >= r->within)
			filemap_dirty_folio(r->mapping, r->folio[i]);
		folio_end_writeback(r->folio[i]);
		folio_put(r->folio[i]);
	}
	hmmfs_empty_run(r);
}

static int flush(struct hmmfs_run *r)
{
	int err;

	if (!r->n)
		return 0;
	take(r);
	err = r->err ? r->err : hmmfs_write_run(r);
	finish(r, err);
	return err;
}

void hmmfs_not_durable(struct address_space *mapping, int err)
{
	struct folio_batch batch;
	pgoff_t index = 0;

	folio_batch_init(&batch);
	while (filemap_get_folios(mapping, &index, -1, &batch)) {
		for (unsigned int i = 0; i < folio_batch_count(&batch); i++) {
			struct folio *folio = batch.folios[i];

			folio_get(folio);
			folio = hmmfs_lock_at(mapping, folio->index, folio);
			if (!folio)
				continue;
			/* Only with PG_private may be dirty what is not uptodate. */
			if (hmmfs_is_frame(folio))
				hmmfs_device_maps(folio);
			if (folio_test_uptodate(folio) || hmmfs_is_frame(folio))
				filemap_dirty_folio(mapping, folio);
			folio_unlock(folio);
			folio_put(folio);
		}
		folio_batch_release(&batch);
		cond_resched();
	}
	mapping_set_error(mapping, err);
}

/*
 * What is beyond the end is being cut off, or the lower file is getting a hole there. Should that
 * fail, it must be dirty still.
 */
static bool wanted_below(struct inode *inode, struct folio *folio)
{
	const struct hmmfs_inode *hi = hmmfs_i(inode);

	return folio_pos(folio) < i_size_read(inode) && (folio->index < READ_ONCE(hi->hole_first) ||
							 folio->index >= READ_ONCE(hi->hole_end));
}

/*
 * The folio at @index, locked, or NULL; @folio, which is referenced, was there. No lock is waited
 * for while those of a run are held: so that may have been flushed, *@err says with what result.
 */
static struct folio *lock_in_run(struct hmmfs_run *r, struct folio *folio, pgoff_t index, int *err)
{
	int one;

	if (r->n && folio_trylock(folio)) {
		if (folio->mapping == r->mapping && folio->index == index)
			return folio;
		folio_unlock(folio);
	}
	one = flush(r);
	*err = *err ? *err : one;
	return hmmfs_lock_at(r->mapping, index, folio);
}

/*
 * A folio that is to be written, locked and referenced, or NULL. It may have come home while we
 * waited for it; then what was in its place may be on its way yet, and goes first. That is waited
 * for with no lock held: the lower file's may be held by who wants one of our pages.
 */
static struct folio *lock_dirty(struct hmmfs_run *r, struct folio *folio, bool wait, int *err)
{
	pgoff_t index = folio->index;
	bool busy;
	int one;

	folio_get(folio);
	for (;;) {
		folio = lock_in_run(r, folio, index, err);
		if (!folio)
			return NULL;
		busy = hmmfs_is_being_written(folio);
		if (!wait || !busy)
			break;
		folio_unlock(folio);
		one = flush(r);
		*err = *err ? *err : one;
		folio_wait_writeback(folio);
		hmmfs_wait_writes(r->mapping->host->i_sb, r->mapping, index, index);
	}
	if (folio_test_dirty(folio) && !busy && wanted_below(r->mapping->host, folio))
		return folio;
	folio_unlock(folio);
	folio_put(folio);
	return NULL;
}

/* Locks are taken in the order of the file. */
static int add(struct hmmfs_run *r, struct folio *folio, struct writeback_control *wbc)
{
	int err = 0;

	if (r->n && (folio->index != r->first + r->n || !hmmfs_has_room(r)))
		err = flush(r);
	folio = lock_dirty(r, folio, wbc->sync_mode != WB_SYNC_NONE, &err);
	if (folio) {
		wbc->nr_to_write--;
		if (!r->n)
			r->first = folio->index;
		r->folio[r->n++] = folio;
		if (r->n - r->taken == LOCKED_PAGES)
			take(r);
	}
	return err;
}

int hmmfs_writepages(struct address_space *mapping, struct writeback_control *wbc)
{
	pgoff_t index = wbc->range_cyclic ? 0 : wbc->range_start >> PAGE_SHIFT;
	pgoff_t end = wbc->range_cyclic ? -1 : wbc->range_end >> PAGE_SHIFT;
	xa_mark_t tag = PAGECACHE_TAG_DIRTY;
	unsigned int flags = current->flags & PF_LOCAL_THROTTLE, noio = memalloc_noio_save();
	struct hmmfs_run *r = hmmfs_get_run(mapping);
	struct folio_batch batch;
	int err = 0, one;

	/* As a loop device: throttled by the lower filesystem's state, not by our own. */
	current->flags |= PF_LOCAL_THROTTLE;
	if (wbc->sync_mode == WB_SYNC_ALL || wbc->tagged_writepages) {
		tag_pages_for_writeback(mapping, index, end);
		tag = PAGECACHE_TAG_TOWRITE;
	}
	folio_batch_init(&batch);
	while (filemap_get_folios_tag(mapping, &index, end, tag, &batch)) {
		for (unsigned int i = 0; i < folio_batch_count(&batch); i++) {
			one = add(r, batch.folios[i], wbc);
			err = err ? err : one;
		}
		folio_batch_release(&batch);
		cond_resched();
		if (wbc->sync_mode == WB_SYNC_NONE && (err || wbc->nr_to_write <= 0))
			break;
	}
	one = flush(r);
	hmmfs_put_run(r);
	current->flags = (current->flags & ~PF_LOCAL_THROTTLE) | flags;
	memalloc_noio_restore(noio);
	return err ? err : one;
}

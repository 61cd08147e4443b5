// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty folios to the lower file, those that follow each other in one go. A frame is written while
 * it stays on its device: no device stores to it from here on without asking, its dirty state is
 * taken, its bytes are copied to a bounce page, and that is written. A store that comes meanwhile
 * makes it dirty anew. It comes home without waiting for that (writes.c); what is newer is written
 * after what is older.
 */
#include <linux/bvec.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/mempool.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uio.h>
#include <linux/writeback.h>

#include "../hmmdrm.h"
#include "compat.h"
#include "hmmfs.h"

#define RUNS 8 /* always there: memory may be short because of what we write */
#define RUN_PAGES 64

/* Folios that follow each other, locked and referenced until they are written. */
struct run {
	struct address_space *mapping;
	unsigned int n, nr_bounce;
	struct hmmfs_write write;
	struct folio *folio[RUN_PAGES];
	struct page *bounce[RUN_PAGES]; /* one at least */
	struct bio_vec vec[RUN_PAGES];
};

static mempool_t *runs;

static void free_run(void *element, void *unused)
{
	struct run *r = element;

	__free_page(r->bounce[0]);
	kfree(r);
}

static void *alloc_run(gfp_t gfp, void *unused)
{
	struct run *r = kmalloc(sizeof(*r), gfp);

	if (!r)
		return NULL;
	r->bounce[0] = alloc_page(gfp);
	r->nr_bounce = 1;
	if (r->bounce[0])
		return r;
	kfree(r);
	return NULL;
}

int hmmfs_bounce_init(void)
{
	runs = mempool_create(RUNS, alloc_run, free_run, NULL);
	return runs ? 0 : -ENOMEM;
}

void hmmfs_bounce_exit(void)
{
	mempool_destroy(runs);
}

/* No locks held: who has one now may need them. */
static struct run *get_run(struct address_space *mapping)
{
	struct run *r = mempool_alloc(runs, GFP_NOIO);

	r->mapping = mapping;
	r->n = 0;
	return r;
}

static void put_run(struct run *r)
{
	while (r->nr_bounce > 1)
		__free_page(r->bounce[--r->nr_bounce]);
	mempool_free(r, runs);
}

/* What of it lies within the file. */
static int write_lower(struct run *r)
{
	struct inode *inode = r->mapping->host;
	struct file *lower = hmmfs_lower_file(inode);
	loff_t pos = folio_pos(r->folio[0]), size = i_size_read(inode);
	size_t left = pos >= size ? 0 : min_t(loff_t, size - pos, (loff_t)r->n << PAGE_SHIFT);
	const struct cred *old;
	struct iov_iter iter;
	int err = 0;

	if (IS_ERR(lower))
		return PTR_ERR(lower);
	iov_iter_bvec(&iter, ITER_SOURCE, r->vec, r->n, left);
	old = override_creds(hmmfs_sb(inode->i_sb)->cred);
	while (!err && iov_iter_count(&iter)) {
		ssize_t n = vfs_iter_write(lower, &iter, &pos, 0);

		if (n <= 0)
			err = n ? n : -EIO;
	}
	revert_creds(old);
	return err;
}

/* Locking: the folios'. */
static void protect(const struct run *r)
{
	struct page *frame[RUN_PAGES];
	unsigned int n = 0;

	for (unsigned int i = 0; i < r->n; i++)
		if (hmmfs_is_frame(r->folio[i]))
			frame[n++] = &r->folio[i]->page;
	if (!(hmmdrm_skip_fence & HMMDRM_SKIP_PROTECT))
		hmmdrm_frames_write_protect(frame, n);
}

/* Locking: the folio's, which is let go of. From here on it is under writeback, and clean. */
static int take_bytes(struct run *r, unsigned int i)
{
	struct folio *folio = r->folio[i];
	struct page *page = &folio->page;
	int err = 0;

	if (hmmfs_is_frame(folio)) {
		page = r->bounce[i];
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

/* What could not be written is dirty still, and the error is reported once to each who waits. */
static void finish(struct run *r, int err)
{
	if (err)
		mapping_set_error(r->mapping, err);
	hmmfs_end_write(&r->write);
	for (unsigned int i = 0; i < r->n; i++) {
		if (!(r->write.left & BIT_ULL(i))) {
			if (err)
				filemap_dirty_folio(r->mapping, r->folio[i]);
			folio_end_writeback(r->folio[i]);
		}
		folio_put(r->folio[i]);
	}
	r->n = 0;
}

static int flush(struct run *r)
{
	int err = 0;

	if (!r->n)
		return 0;
	/* Before dirty state is taken: a store in between would be neither written nor dirty. */
	protect(r);
	r->write = (struct hmmfs_write){ .mapping = r->mapping, .folio = r->folio, .n = r->n };
	hmmfs_begin_write(&r->write);
	for (unsigned int i = 0; i < r->n; i++) {
		int one = take_bytes(r, i);

		err = err ? err : one;
	}
	err = err ? err : write_lower(r);
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

/* Is there room for one more folio, and a page to copy it to? */
static bool has_room(struct run *r)
{
	if (r->n == RUN_PAGES)
		return false;
	if (r->n == r->nr_bounce) {
		r->bounce[r->n] = alloc_page(GFP_NOWAIT | __GFP_NOWARN);
		r->nr_bounce += !!r->bounce[r->n];
	}
	return r->n < r->nr_bounce;
}

/*
 * The folio at @index, locked, or NULL; @folio, which is referenced, was there. No lock is waited
 * for while those of a run are held: so that may have been flushed, *@err says with what result.
 */
static struct folio *lock_in_run(struct run *r, struct folio *folio, pgoff_t index, int *err)
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
static struct folio *lock_dirty(struct run *r, struct folio *folio, bool wait, int *err)
{
	pgoff_t index = folio->index;
	int one;

	folio_get(folio);
	for (;;) {
		folio = lock_in_run(r, folio, index, err);
		if (!folio)
			return NULL;
		if (!wait || !hmmfs_is_being_written(folio))
			break;
		folio_unlock(folio);
		one = flush(r);
		*err = *err ? *err : one;
		folio_wait_writeback(folio);
		hmmfs_wait_writes(r->mapping->host->i_sb, r->mapping, index, index);
	}
	if (folio_test_dirty(folio) && !hmmfs_is_being_written(folio) &&
	    wanted_below(r->mapping->host, folio))
		return folio;
	folio_unlock(folio);
	folio_put(folio);
	return NULL;
}

/* Locks are taken in the order of the file. */
static int add(struct run *r, struct folio *folio, struct writeback_control *wbc)
{
	int err = 0;

	if (r->n && (folio->index != r->folio[r->n - 1]->index + 1 || !has_room(r)))
		err = flush(r);
	folio = lock_dirty(r, folio, wbc->sync_mode != WB_SYNC_NONE, &err);
	if (folio) {
		wbc->nr_to_write--;
		r->folio[r->n++] = folio;
	}
	return err;
}

int hmmfs_writepages(struct address_space *mapping, struct writeback_control *wbc)
{
	pgoff_t index = wbc->range_cyclic ? 0 : wbc->range_start >> PAGE_SHIFT;
	pgoff_t end = wbc->range_cyclic ? -1 : wbc->range_end >> PAGE_SHIFT;
	xa_mark_t tag = PAGECACHE_TAG_DIRTY;
	unsigned int flags = current->flags & PF_LOCAL_THROTTLE, noio = memalloc_noio_save();
	struct run *r = get_run(mapping);
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
	put_run(r);
	current->flags = (current->flags & ~PF_LOCAL_THROTTLE) | flags;
	memalloc_noio_restore(noio);
	return err ? err : one;
}

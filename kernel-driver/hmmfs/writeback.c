// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty folios to the lower file. A frame is written while it stays on its device: no device
 * stores to it from here on without asking, its dirty state is taken, its bytes are copied to
 * a bounce page, and that is written. A store that comes meanwhile makes it dirty anew. It comes
 * home without waiting for that: to write takes the lower inode's lock, and who has it may fault
 * for the page. What is newer is written after what is older.
 */
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/mempool.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/writeback.h>

#include "../hmmdrm.h"
#include "compat.h"
#include "hmmfs.h"

#define BOUNCE_PAGES 64 /* always there: memory may be short because of what we write */

static mempool_t *bounce;

int hmmfs_bounce_init(void)
{
	bounce = mempool_create_page_pool(BOUNCE_PAGES, 0);
	return bounce ? 0 : -ENOMEM;
}

void hmmfs_bounce_exit(void)
{
	mempool_destroy(bounce);
}

/* What of the page lies within the file. */
static size_t within(struct inode *inode, loff_t pos)
{
	loff_t size = i_size_read(inode);

	return pos >= size ? 0 : min_t(loff_t, size - pos, PAGE_SIZE);
}

static int write_lower(struct inode *inode, struct page *page, loff_t pos)
{
	struct file *lower = hmmfs_lower_file(inode);
	const struct cred *old;
	size_t left = within(inode, pos);
	char *from;
	int err = 0;

	if (IS_ERR(lower))
		return PTR_ERR(lower);
	old = override_creds(hmmfs_sb(inode->i_sb)->cred);
	from = kmap_local_page(page);
	while (left) {
		ssize_t n = kernel_write(lower, from, left, &pos);

		if (n <= 0) {
			err = n ? n : -EIO;
			break;
		}
		from += n;
		left -= n;
	}
	kunmap_local(from);
	revert_creds(old);
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

/* Still dirty, and the error is reported once to each who waits. */
static void failed(struct address_space *mapping, struct folio *folio, int err)
{
	filemap_dirty_folio(mapping, folio);
	mapping_set_error(mapping, err);
}

/* The bytes of a frame on their way to the lower file. */
struct write {
	struct list_head link; /* hmmfs_writes.list; locking: hmmfs_writes.lock */
	u64 number;
	struct address_space *mapping;
	struct folio *folio;
	pgoff_t index;
	bool left; /* the frame came home: its writeback has ended, and its page is dirty */
};

static struct hmmfs_writes *writes_of(const struct address_space *mapping)
{
	return &hmmfs_sb(mapping->host->i_sb)->writes;
}

static void begin_write(struct write *w, struct address_space *mapping, struct folio *folio)
{
	struct hmmfs_writes *writes = writes_of(mapping);

	w->mapping = mapping;
	w->folio = folio;
	w->index = folio->index;
	w->left = false;
	spin_lock(&writes->lock);
	w->number = writes->next++;
	list_add(&w->link, &writes->list);
	spin_unlock(&writes->lock);
}

static void end_write(struct write *w, int err)
{
	struct hmmfs_writes *writes = writes_of(w->mapping);

	if (err)
		mapping_set_error(w->mapping, err);
	spin_lock(&writes->lock);
	list_del(&w->link);
	spin_unlock(&writes->lock);
	wake_up_all(&writes->done);
	if (w->left)
		return;
	if (err)
		filemap_dirty_folio(w->mapping, w->folio);
	folio_end_writeback(w->folio);
}

void hmmfs_leave_write(struct folio *frame)
{
	struct hmmfs_writes *writes = writes_of(frame->mapping);
	struct write *w;
	bool left = false;

	if (!folio_test_writeback(frame))
		return;
	spin_lock(&writes->lock);
	list_for_each_entry (w, &writes->list, link)
		if (w->folio == frame)
			left = w->left = true;
	spin_unlock(&writes->lock);
	if (!left) {
		/* All is written, and this is about to be said. */
		folio_wait_writeback(frame);
		return;
	}
	/* Should the write fail, nobody else would make it dirty; and who syncs is to see it. */
	filemap_dirty_folio(frame->mapping, frame);
	folio_end_writeback(frame);
}

static bool is_under_way(struct hmmfs_writes *writes, const struct address_space *mapping,
			 pgoff_t first, pgoff_t last, u64 until)
{
	struct write *w;
	bool found = false;

	spin_lock(&writes->lock);
	list_for_each_entry (w, &writes->list, link)
		found |= w->number < until && (!mapping || w->mapping == mapping) &&
			 w->index >= first && w->index <= last;
	spin_unlock(&writes->lock);
	return found;
}

void hmmfs_wait_writes(const struct super_block *sb, const struct address_space *mapping,
		       pgoff_t first, pgoff_t last)
{
	struct hmmfs_writes *writes = &hmmfs_sb(sb)->writes;
	u64 until;

	spin_lock(&writes->lock);
	until = writes->next;
	spin_unlock(&writes->lock);
	wait_event(writes->done, !is_under_way(writes, mapping, first, last, until));
}

/* Locking: the folio's, which is let go of. */
static int write_frame(struct address_space *mapping, struct folio *folio)
{
	struct page *copy = mempool_alloc(bounce, GFP_NOIO);
	loff_t pos = folio_pos(folio);
	struct write w;
	int err;

	/* Before the dirty state is taken: a store in between would be neither written nor dirty. */
	if (!(hmmdrm_skip_fence & HMMDRM_SKIP_PROTECT))
		hmmdrm_frame_write_protect(&folio->page);
	folio_cancel_dirty(folio);
	folio_start_writeback(folio);
	begin_write(&w, mapping, folio);
	err = hmmdrm_copy_from_device(copy, &folio->page);
	folio_unlock(folio);
	if (!err)
		err = write_lower(mapping->host, copy, pos);
	mempool_free(copy, bounce);
	end_write(&w, err);
	return err;
}

static int write_page(struct address_space *mapping, struct folio *folio)
{
	loff_t pos = folio_pos(folio);
	int err;

	if (!folio_clear_dirty_for_io(folio)) {
		folio_unlock(folio);
		return 0;
	}
	folio_start_writeback(folio);
	folio_unlock(folio);
	err = write_lower(mapping->host, &folio->page, pos);
	if (err)
		failed(mapping, folio, err);
	folio_end_writeback(folio);
	return err;
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
 * Is it being written, or what was in its place on a device? Then one is as late as the other may
 * be. The lock of a folio is not kept meanwhile: who writes may need one that is held by who faults
 * for this very page.
 */
static bool is_being_written(struct address_space *mapping, struct folio *folio)
{
	return folio_test_writeback(folio) ||
	       is_under_way(writes_of(mapping), mapping, folio->index, folio->index, U64_MAX);
}

static struct folio *lock_to_write(struct address_space *mapping, struct folio *folio, bool wait)
{
	pgoff_t index = folio->index;

	folio_get(folio);
	for (;;) {
		folio = hmmfs_lock_at(mapping, index, folio);
		if (!folio || !wait || !is_being_written(mapping, folio))
			return folio;
		folio_unlock(folio);
		folio_wait_writeback(folio);
		hmmfs_wait_writes(mapping->host->i_sb, mapping, index, index);
	}
}

/* One that has come home while we waited for it is dirty still. */
static int write_one(struct address_space *mapping, struct folio *folio,
		     struct writeback_control *wbc)
{
	int err = 0;

	folio = lock_to_write(mapping, folio, wbc->sync_mode != WB_SYNC_NONE);
	if (!folio)
		return 0;
	if (!folio_test_dirty(folio) || is_being_written(mapping, folio) ||
	    !wanted_below(mapping->host, folio)) {
		folio_unlock(folio);
	} else {
		wbc->nr_to_write--;
		err = hmmfs_is_frame(folio) ? write_frame(mapping, folio) :
					      write_page(mapping, folio);
	}
	folio_put(folio);
	return err;
}

int hmmfs_writepages(struct address_space *mapping, struct writeback_control *wbc)
{
	pgoff_t index = wbc->range_cyclic ? 0 : wbc->range_start >> PAGE_SHIFT;
	pgoff_t end = wbc->range_cyclic ? -1 : wbc->range_end >> PAGE_SHIFT;
	xa_mark_t tag = PAGECACHE_TAG_DIRTY;
	unsigned int flags = current->flags & PF_LOCAL_THROTTLE, noio = memalloc_noio_save();
	struct folio_batch batch;
	int err = 0;

	/* As a loop device: throttled by the lower filesystem's state, not by our own. */
	current->flags |= PF_LOCAL_THROTTLE;
	if (wbc->sync_mode == WB_SYNC_ALL || wbc->tagged_writepages) {
		tag_pages_for_writeback(mapping, index, end);
		tag = PAGECACHE_TAG_TOWRITE;
	}
	folio_batch_init(&batch);
	while (filemap_get_folios_tag(mapping, &index, end, tag, &batch)) {
		for (unsigned int i = 0; i < folio_batch_count(&batch); i++) {
			int one = write_one(mapping, batch.folios[i], wbc);

			err = err ? err : one;
		}
		folio_batch_release(&batch);
		cond_resched();
		if (wbc->sync_mode == WB_SYNC_NONE && (err || wbc->nr_to_write <= 0))
			break;
	}
	current->flags = (current->flags & ~PF_LOCAL_THROTTLE) | flags;
	memalloc_noio_restore(noio);
	return err;
}

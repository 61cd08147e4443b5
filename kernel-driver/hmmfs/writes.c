// SPDX-License-Identifier: GPL-2.0
/*
 * Writes to lower files that are under way. A frame comes home without waiting for the write of its
 * bytes, which takes the lower inode's lock: who has that may be faulting for the page. So the
 * folio's writeback does not say all; this list does.
 */
#include <linux/fs.h>
#include <linux/pagemap.h>
#include <linux/wait.h>

#include "../hmmdrm.h"
#include "compat.h"
#include "hmmfs.h"

static struct hmmfs_writes *writes_of(const struct address_space *mapping)
{
	return &hmmfs_sb(mapping->host->i_sb)->writes;
}

void hmmfs_begin_write(struct hmmfs_write *w, struct address_space *mapping, pgoff_t first,
		       struct folio **folio)
{
	struct hmmfs_writes *writes = writes_of(mapping);

	w->mapping = mapping;
	w->folio = folio;
	w->first = first;
	w->n = 0;
	bitmap_zero(w->left, HMMFS_RUN_PAGES);
	spin_lock(&writes->lock);
	w->number = writes->next++;
	list_add(&w->link, &writes->list);
	spin_unlock(&writes->lock);
}

void hmmfs_extend_write(struct hmmfs_write *w, unsigned int n)
{
	struct hmmfs_writes *writes = writes_of(w->mapping);

	spin_lock(&writes->lock);
	w->n = n;
	spin_unlock(&writes->lock);
}

void hmmfs_end_write(struct hmmfs_write *w)
{
	struct hmmfs_writes *writes = writes_of(w->mapping);

	spin_lock(&writes->lock);
	list_del(&w->link);
	spin_unlock(&writes->lock);
	wake_up_all(&writes->done);
}

/*
 * Is @folio written by @w, whose result it need not wait for from here on? Only once: the frame may
 * be free after that, and be used for the same page anew. Locking: the list's.
 */
static bool leaves(struct hmmfs_write *w, const struct folio *folio)
{
	pgoff_t i = folio->index - w->first;

	if (w->mapping != folio->mapping || i >= w->n || w->folio[i] != folio)
		return false;
	return !__test_and_set_bit(i, w->left);
}

void hmmfs_leave_write(struct folio *frame)
{
	struct hmmfs_writes *writes = writes_of(frame->mapping);
	struct hmmfs_write *w;
	bool left = false;

	if (!folio_test_writeback(frame))
		return;
	spin_lock(&writes->lock);
	list_for_each_entry (w, &writes->list, link)
		left |= leaves(w, frame);
	spin_unlock(&writes->lock);
	if (!left) {
		/* All is written, and this is about to be said. */
		folio_wait_writeback(frame);
		return;
	}
	/* Should the write fail, nobody else would make it dirty; and who syncs is to see it. */
	filemap_dirty_folio(frame->mapping, frame);
	folio_end_writeback(frame);
	/* The writer's reference: as long as it writes, nobody could have the frame. */
	folio_put(frame);
}

static bool is_under_way(struct hmmfs_writes *writes, const struct address_space *mapping,
			 pgoff_t first, pgoff_t last, u64 until)
{
	struct hmmfs_write *w;
	bool found = false;

	spin_lock(&writes->lock);
	list_for_each_entry (w, &writes->list, link)
		found |= w->number < until && (!mapping || w->mapping == mapping) &&
			 w->first <= last && w->first + w->n > first;
	spin_unlock(&writes->lock);
	return found;
}

bool hmmfs_is_being_written(const struct folio *folio)
{
	const struct address_space *mapping = folio->mapping;

	return folio_test_writeback(folio) ||
	       is_under_way(writes_of(mapping), mapping, folio->index, folio->index, U64_MAX);
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

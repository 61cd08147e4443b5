// SPDX-License-Identifier: GPL-2.0
/* Files become longer and shorter, here and below. */
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/pagemap.h>

#include "compat.h"
#include "hmmfs.h"

/* Writeback may have left out what lies beyond @size, and called the page clean. */
static void still_dirty(struct address_space *mapping, loff_t size)
{
	struct folio *folio = filemap_lock_folio(mapping, size >> PAGE_SHIFT);

	if (IS_ERR(folio))
		return;
	if (folio_test_uptodate(folio) && !hmmfs_is_frame(folio))
		folio_mark_dirty(folio);
	folio_unlock(folio);
	folio_put(folio);
}

/* The lower file would not be cut: all is as it was. Writeback kept what is beyond. */
static void restore_size(struct inode *inode, loff_t old, loff_t size)
{
	i_size_write(inode, old);
	if (size & ~PAGE_MASK)
		still_dirty(inode->i_mapping, size);
}

/*
 * The lower inode's lock is taken meanwhile, so it is a flag that says so, not invalidate_lock: who
 * stores to the lower file may fault on our page under that lock.
 */
int hmmfs_begin_resize(struct inode *inode, loff_t end)
{
	struct address_space *mapping = inode->i_mapping;

	filemap_invalidate_lock(mapping);
	hmmfs_i(inode)->resizing = true;
	filemap_invalidate_unlock(mapping);
	return end & ~PAGE_MASK ? hmmfs_to_system(mapping, end >> PAGE_SHIFT, 1) : 0;
}

void hmmfs_end_resize(struct inode *inode)
{
	WRITE_ONCE(hmmfs_i(inode)->resizing, false);
}

int hmmfs_begin_growth(struct inode *inode)
{
	loff_t end = i_size_read(inode);
	struct folio *folio;
	int err = hmmfs_begin_resize(inode, end);

	if (err || !(end & ~PAGE_MASK))
		return err;
	folio = filemap_lock_folio(inode->i_mapping, end >> PAGE_SHIFT);
	if (IS_ERR(folio))
		return 0;
	if (folio_test_uptodate(folio))
		folio_zero_segment(folio, end & ~PAGE_MASK, PAGE_SIZE);
	folio_unlock(folio);
	folio_put(folio);
	return 0;
}

int hmmfs_zero_tail(struct inode *inode)
{
	int err = i_size_read(inode) & ~PAGE_MASK ? hmmfs_begin_growth(inode) : 0;

	hmmfs_end_resize(inode);
	return err;
}

void hmmfs_grow(struct inode *inode, loff_t size)
{
	loff_t old = i_size_read(inode);

	i_size_write(inode, size);
	pagecache_isize_extended(inode, old, size);
}

/*
 * Size, unmap, writeback that is under way, and only then the lower file: else a bounce page
 * would make it longer again. Pages are dropped last, when nothing can fail any more.
 */
static int shrink(struct dentry *dentry, struct iattr *attr, loff_t old)
{
	struct inode *inode = d_inode(dentry);
	loff_t size = attr->ia_size;
	int err;

	i_size_write(inode, size);
	unmap_mapping_range(inode->i_mapping, round_up(size, PAGE_SIZE), 0, 1);
	filemap_fdatawait_range_keep_errors(inode->i_mapping, size, LLONG_MAX);
	hmmfs_wait_writes(inode->i_sb, inode->i_mapping, size >> PAGE_SHIFT, -1);
	err = hmmfs_lower_setattr(dentry, attr);
	filemap_invalidate_lock(inode->i_mapping);
	if (err)
		restore_size(inode, old, size);
	else
		truncate_pagecache(inode, size);
	filemap_invalidate_unlock(inode->i_mapping);
	return err;
}

/* The lower file first: nobody stores beyond an end that it may not get. */
static int extend(struct dentry *dentry, struct iattr *attr)
{
	struct inode *inode = d_inode(dentry);
	int err = hmmfs_begin_growth(inode);

	err = err ? err : hmmfs_lower_setattr(dentry, attr);
	if (!err)
		hmmfs_grow(inode, attr->ia_size);
	hmmfs_end_resize(inode);
	return err;
}

int hmmfs_set_size(struct dentry *dentry, struct iattr *attr)
{
	struct inode *inode = d_inode(dentry);
	loff_t old = i_size_read(inode);
	int err;

	if (attr->ia_size >= old)
		return extend(dentry, attr);
	err = hmmfs_begin_resize(inode, attr->ia_size);
	err = err ? err : shrink(dentry, attr, old);
	hmmfs_end_resize(inode);
	return err;
}

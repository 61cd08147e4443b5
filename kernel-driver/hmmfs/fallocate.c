// SPDX-License-Identifier: GPL-2.0
/*
 * fallocate(): the lower file gets the hole, the zeros or the blocks; then pages of ours that say
 * something else are dropped, as by truncation.
 */
#include <linux/cred.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>

#include "../hmmdrm.h"
#include "compat.h"
#include "hmmfs.h"

#define CLEARS (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)

/* Who took a page for writeback before it could see the hole is through when this returns. */
static void settle(struct address_space *mapping, pgoff_t first, pgoff_t end)
{
	struct folio_batch batch;
	pgoff_t index = first;

	folio_batch_init(&batch);
	while (filemap_get_folios(mapping, &index, end - 1, &batch)) {
		for (unsigned int i = 0; i < folio_batch_count(&batch); i++) {
			folio_lock(batch.folios[i]);
			folio_unlock(batch.folios[i]);
			folio_wait_writeback(batch.folios[i]);
		}
		folio_batch_release(&batch);
		cond_resched();
	}
	hmmfs_wait_writes(mapping->host->i_sb, mapping, first, end - 1);
}

/*
 * What is written from here on would fill the hole again with what was there before. So pages stay
 * dirty until they are dropped, or, if there is no hole after all, until the next writeback.
 */
static int begin_hole(struct inode *inode, loff_t start, loff_t end)
{
	struct hmmfs_inode *hi = hmmfs_i(inode);
	int err = hmmfs_begin_resize(inode, start);

	if (!err && end & ~PAGE_MASK)
		err = hmmfs_to_system(inode->i_mapping, end >> PAGE_SHIFT, 1);
	if (err)
		return err;
	if (!(hmmdrm_skip_fence & HMMDRM_SKIP_HOLE)) {
		filemap_invalidate_lock(inode->i_mapping);
		hi->hole_first = start >> PAGE_SHIFT;
		hi->hole_end = DIV_ROUND_UP(end, PAGE_SIZE);
		filemap_invalidate_unlock(inode->i_mapping);
	}
	settle(inode->i_mapping, start >> PAGE_SHIFT, DIV_ROUND_UP(end, PAGE_SIZE));
	return 0;
}

static int lower_fallocate(struct inode *inode, int mode, loff_t start, loff_t length)
{
	const struct cred *old = override_creds(hmmfs_sb(inode->i_sb)->cred);
	int err = vfs_fallocate(hmmfs_i(inode)->lower_file, mode, start, length);

	revert_creds(old);
	return err;
}

/*
 * A file that was written to beyond its end becomes longer below with the page that has its new
 * end. That one may be dropped here before it is written.
 */
static int lengthen_lower(struct file *file)
{
	struct inode *inode = file_inode(file);
	struct iattr attr = { .ia_valid = ATTR_SIZE, .ia_size = i_size_read(inode) };

	if (i_size_read(hmmfs_i(inode)->lower) >= attr.ia_size)
		return 0;
	return hmmfs_lower_setattr(file->f_path.dentry, &attr);
}

static int clear(struct file *file, int mode, loff_t start, loff_t length)
{
	struct inode *inode = file_inode(file);
	int err = begin_hole(inode, start, start + length);

	err = err ? err : lengthen_lower(file);
	err = err ? err : lower_fallocate(inode, mode, start, length);
	if (!err) {
		filemap_invalidate_lock(inode->i_mapping);
		truncate_pagecache_range(inode, start, start + length - 1);
		filemap_invalidate_unlock(inode->i_mapping);
	}
	WRITE_ONCE(hmmfs_i(inode)->hole_end, 0);
	return err;
}

/* Locking: the inode's. Pages may leave again after hmmfs_end_resize(). */
static int change(struct file *file, int mode, loff_t start, loff_t length)
{
	struct inode *inode = file_inode(file);
	loff_t end = start + length;
	bool grows = !(mode & FALLOC_FL_KEEP_SIZE) && end > i_size_read(inode);
	int err = grows ? inode_newsize_ok(inode, end) : 0;

	err = err ? err : file_modified(file);
	if (!err && grows)
		err = hmmfs_begin_growth(inode);
	if (!err && mode & CLEARS)
		err = clear(file, mode, start, length);
	else if (!err)
		err = lower_fallocate(inode, mode, start, length);
	if (!err && grows)
		hmmfs_grow(inode, end);
	return err;
}

long hmmfs_fallocate(struct file *file, int mode, loff_t offset, loff_t len)
{
	struct inode *inode = file_inode(file);
	int err;

	if (mode & ~(FALLOC_FL_KEEP_SIZE | CLEARS))
		return -EOPNOTSUPP;
	inode_lock(inode);
	err = change(file, mode, offset, len);
	hmmfs_end_resize(inode);
	inode_unlock(inode);
	return err;
}

// SPDX-License-Identifier: GPL-2.0
/* Inodes, one for each of the lower filesystem that is in use; attributes and sizes. */
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/fs_stack.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/pagemap.h>

#include "compat.h"
#include "hmmfs.h"

static int is_of(struct inode *inode, void *lower)
{
	return hmmfs_i(inode)->lower == lower;
}

static int set_lower(struct inode *inode, void *lower)
{
	hmmfs_i(inode)->lower = lower;
	return 0;
}

static void fill(struct inode *inode, struct dentry *lower)
{
	struct inode *li = d_inode(lower);

	ihold(li);
	hmmfs_i(inode)->lower_dentry = dget(lower);
	inode->i_ino = li->i_ino;
	fsstack_copy_attr_all(inode, li);
	fsstack_copy_inode_size(inode, li);
	inode->i_flags &= ~S_DAX;
	if (S_ISDIR(inode->i_mode)) {
		inode->i_op = &hmmfs_dir_iops;
		inode->i_fop = &hmmfs_dir_fops;
	} else if (S_ISREG(inode->i_mode)) {
		inode->i_op = &hmmfs_file_iops;
		inode->i_fop = &hmmfs_file_fops;
		inode->i_mapping->a_ops = &hmmfs_aops;
		mapping_set_gfp_mask(inode->i_mapping, GFP_HIGHUSER);
	} else {
		inode->i_op = &hmmfs_file_iops;
		init_special_inode(inode, inode->i_mode, inode->i_rdev);
	}
}

struct inode *hmmfs_iget(struct super_block *sb, struct dentry *lower)
{
	struct inode *inode = iget5_locked(sb, (unsigned long)d_inode(lower), is_of, set_lower,
					   d_inode(lower));

	if (!inode)
		return ERR_PTR(-ENOMEM);
	if (hmmfs_inode_is_new(inode)) {
		fill(inode, lower);
		unlock_new_inode(inode);
	}
	return inode;
}

static int lower_setattr(struct dentry *dentry, struct iattr *attr)
{
	struct dentry *lower = hmmfs_lower_dentry(dentry);
	struct hmmfs_sb *info = hmmfs_sb(dentry->d_sb);
	const struct cred *old = override_creds(info->cred);
	int err;

	attr->ia_valid &= ~(ATTR_FILE | ATTR_OPEN);
	err = mnt_want_write(info->mnt);
	if (!err) {
		inode_lock(d_inode(lower));
		err = notify_change(mnt_idmap(info->mnt), lower, attr, NULL);
		inode_unlock(d_inode(lower));
		mnt_drop_write(info->mnt);
	}
	revert_creds(old);
	return err;
}

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

int hmmfs_zero_tail(struct inode *inode)
{
	loff_t end = i_size_read(inode);
	struct folio *folio;
	int err;

	if (!(end & ~PAGE_MASK))
		return 0;
	err = hmmfs_begin_resize(inode, end);
	folio = err ? NULL : filemap_lock_folio(inode->i_mapping, end >> PAGE_SHIFT);
	if (!IS_ERR_OR_NULL(folio)) {
		if (folio_test_uptodate(folio))
			folio_zero_segment(folio, end & ~PAGE_MASK, PAGE_SIZE);
		folio_unlock(folio);
		folio_put(folio);
	}
	hmmfs_end_resize(inode);
	return err;
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
	err = lower_setattr(dentry, attr);
	filemap_invalidate_lock(inode->i_mapping);
	if (err)
		restore_size(inode, old, size);
	else
		truncate_pagecache(inode, size);
	filemap_invalidate_unlock(inode->i_mapping);
	return err;
}

/* The lower file first: nobody stores beyond an end that it may not get. */
static int extend(struct dentry *dentry, struct iattr *attr, loff_t old)
{
	struct inode *inode = d_inode(dentry);
	int err = hmmfs_zero_tail(inode);

	err = err ? err : lower_setattr(dentry, attr);
	if (err)
		return err;
	i_size_write(inode, attr->ia_size);
	pagecache_isize_extended(inode, old, attr->ia_size);
	return 0;
}

/* Locking: the inode's. */
static int set_size(struct dentry *dentry, struct iattr *attr)
{
	struct inode *inode = d_inode(dentry);
	loff_t old = i_size_read(inode);
	int err;

	if (attr->ia_size >= old)
		return extend(dentry, attr, old);
	err = hmmfs_begin_resize(inode, attr->ia_size);
	err = err ? err : shrink(dentry, attr, old);
	hmmfs_end_resize(inode);
	return err;
}

int hmmfs_setattr(struct mnt_idmap *idmap, struct dentry *dentry, struct iattr *attr)
{
	struct inode *inode = d_inode(dentry);
	int err = setattr_prepare(idmap, dentry, attr);

	if (err)
		return err;
	if (attr->ia_valid & ATTR_SIZE)
		err = set_size(dentry, attr);
	else
		err = lower_setattr(dentry, attr);
	if (!err)
		fsstack_copy_attr_all(inode, hmmfs_i(inode)->lower);
	return err;
}

int hmmfs_getattr(struct mnt_idmap *idmap, const struct path *path, struct kstat *stat, u32 mask,
		  unsigned int flags)
{
	struct inode *inode = d_inode(path->dentry);

	if (!S_ISREG(inode->i_mode))
		fsstack_copy_attr_all(inode, hmmfs_i(inode)->lower);
	generic_fillattr(idmap, mask, inode, stat);
	stat->blocks = hmmfs_i(inode)->lower->i_blocks;
	return 0;
}

const struct inode_operations hmmfs_file_iops = {
	.setattr = hmmfs_setattr,
	.getattr = hmmfs_getattr,
};

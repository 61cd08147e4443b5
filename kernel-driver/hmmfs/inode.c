// SPDX-License-Identifier: GPL-2.0
/* Inodes, one for each of the lower filesystem that is in use, and their attributes. */
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/fs_stack.h>
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
	} else if (S_ISLNK(inode->i_mode)) {
		inode->i_op = &hmmfs_symlink_iops;
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

static int lower_change(const struct hmmfs_sb *info, struct dentry *lower, struct iattr *attr)
{
	const struct cred *old = override_creds(info->cred);
	int err = mnt_want_write(info->mnt);

	if (!err) {
		inode_lock(d_inode(lower));
		err = notify_change(mnt_idmap(info->mnt), lower, attr, NULL);
		inode_unlock(d_inode(lower));
		mnt_drop_write(info->mnt);
	}
	revert_creds(old);
	return err;
}

int hmmfs_lower_setattr(struct dentry *dentry, struct iattr *attr)
{
	attr->ia_valid &= ~(ATTR_FILE | ATTR_OPEN);
	/* The mode without its owner's rights is for the lower inode to say: it takes one or both. */
	if (attr->ia_valid & (ATTR_KILL_SUID | ATTR_KILL_SGID))
		attr->ia_valid &= ~ATTR_MODE;
	return lower_change(hmmfs_sb(dentry->d_sb), hmmfs_lower_dentry(dentry), attr);
}

/* What was changed below. A file's times are its own: what was written here is not there yet. */
static void copy_attr(struct inode *inode, unsigned int valid)
{
	struct inode *lower = hmmfs_i(inode)->lower;

	if (!S_ISREG(inode->i_mode)) {
		fsstack_copy_attr_all(inode, lower);
		return;
	}
	inode->i_mode = lower->i_mode;
	inode->i_uid = lower->i_uid;
	inode->i_gid = lower->i_gid;
	inode_set_ctime_to_ts(inode, inode_get_ctime(lower));
	if (valid & ATTR_ATIME)
		inode_set_atime_to_ts(inode, inode_get_atime(lower));
	if (valid & (ATTR_MTIME | ATTR_SIZE))
		inode_set_mtime_to_ts(inode, inode_get_mtime(lower));
}

int hmmfs_setattr(struct mnt_idmap *idmap, struct dentry *dentry, struct iattr *attr)
{
	struct inode *inode = d_inode(dentry);
	int err = setattr_prepare(idmap, dentry, attr);

	if (err)
		return err;
	if (attr->ia_valid & ATTR_SIZE)
		err = hmmfs_set_size(dentry, attr);
	else
		err = hmmfs_lower_setattr(dentry, attr);
	if (!err)
		copy_attr(inode, attr->ia_valid);
	return err;
}

/* When a file changed is known here; the lower one learns it when what changed has been written. */
int hmmfs_write_inode(struct inode *inode, struct writeback_control *wbc)
{
	const struct hmmfs_inode *hi = hmmfs_i(inode);
	struct iattr attr = {
		.ia_valid = ATTR_MTIME | ATTR_MTIME_SET,
		.ia_mtime = inode_get_mtime(inode),
	};
	const struct timespec64 there = inode_get_mtime(hi->lower);
	int err;

	if (!S_ISREG(inode->i_mode) || timespec64_equal(&there, &attr.ia_mtime))
		return 0;
	err = lower_change(hmmfs_sb(inode->i_sb), hi->lower_dentry, &attr);
	/* Nothing has been written there either. */
	return err == -EROFS ? 0 : err;
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
	.listxattr = hmmfs_listxattr,
};

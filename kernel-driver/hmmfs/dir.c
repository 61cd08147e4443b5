// SPDX-License-Identifier: GPL-2.0
/* Names: every operation is the lower folder's, with the mounter's credentials. */
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/fs_stack.h>
#include <linux/mount.h>
#include <linux/namei.h>

#include "hmmfs.h"

static struct mnt_idmap *lower_idmap(const struct dentry *dentry)
{
	return mnt_idmap(hmmfs_sb(dentry->d_sb)->mnt);
}

/* The lower name, in its parent, which is locked. */
static struct dentry *lower_child(struct dentry *dentry)
{
	struct dentry *parent = hmmfs_lower_dentry(dentry->d_parent);

	return lookup_one_len(dentry->d_name.name, parent, dentry->d_name.len);
}

static void set_lower(struct dentry *dentry, struct dentry *lower)
{
	struct dentry *old = dentry->d_fsdata;

	dentry->d_fsdata = lower;
	dput(old);
}

static struct dentry *lookup(struct inode *dir, struct dentry *dentry, unsigned int flags)
{
	const struct cred *old = override_creds(hmmfs_sb(dir->i_sb)->cred);
	struct dentry *lower = lookup_one_len_unlocked(
		dentry->d_name.name, hmmfs_lower_dentry(dentry->d_parent), dentry->d_name.len);
	struct inode *inode = NULL;

	revert_creds(old);
	if (IS_ERR(lower))
		return lower;
	if (d_is_positive(lower))
		inode = hmmfs_iget(dir->i_sb, lower);
	if (IS_ERR(inode)) {
		dput(lower);
		return ERR_CAST(inode);
	}
	set_lower(dentry, lower);
	return d_splice_alias(inode, dentry);
}

/* It is there now. Consumes @lower. */
static int made(struct inode *dir, struct dentry *dentry, struct dentry *lower)
{
	struct inode *inode = hmmfs_iget(dir->i_sb, lower);

	set_lower(dentry, lower);
	if (IS_ERR(inode))
		return PTR_ERR(inode);
	fsstack_copy_attr_all(dir, hmmfs_i(dir)->lower);
	d_instantiate(dentry, inode);
	return 0;
}

static int make(struct inode *dir, struct dentry *dentry, umode_t mode, bool excl)
{
	const struct cred *old = override_creds(hmmfs_sb(dir->i_sb)->cred);
	struct inode *lower_dir = hmmfs_i(dir)->lower;
	struct dentry *lower;
	int err;

	inode_lock_nested(lower_dir, I_MUTEX_PARENT);
	lower = lower_child(dentry);
	err = PTR_ERR_OR_ZERO(lower);
	if (!err && S_ISDIR(mode))
		err = vfs_mkdir(lower_idmap(dentry), lower_dir, lower, mode);
	else if (!err)
		err = vfs_create(lower_idmap(dentry), lower_dir, lower, mode, excl);
	inode_unlock(lower_dir);
	revert_creds(old);
	if (err) {
		if (!IS_ERR(lower))
			dput(lower);
		return err;
	}
	return made(dir, dentry, lower);
}

static int create(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry, umode_t mode,
		  bool excl)
{
	return make(dir, dentry, mode | S_IFREG, excl);
}

static int mkdir(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry, umode_t mode)
{
	return make(dir, dentry, mode | S_IFDIR, true);
}

static int unmake(struct inode *dir, struct dentry *dentry, bool folder)
{
	const struct cred *old = override_creds(hmmfs_sb(dir->i_sb)->cred);
	struct inode *lower_dir = hmmfs_i(dir)->lower, *inode = d_inode(dentry);
	struct dentry *lower;
	int err;

	inode_lock_nested(lower_dir, I_MUTEX_PARENT);
	lower = lower_child(dentry);
	err = PTR_ERR_OR_ZERO(lower);
	if (!err && folder)
		err = vfs_rmdir(lower_idmap(dentry), lower_dir, lower);
	else if (!err)
		err = vfs_unlink(lower_idmap(dentry), lower_dir, lower, NULL);
	inode_unlock(lower_dir);
	if (!IS_ERR(lower))
		dput(lower);
	revert_creds(old);
	if (err)
		return err;
	fsstack_copy_attr_all(dir, hmmfs_i(dir)->lower);
	set_nlink(inode, hmmfs_i(inode)->lower->i_nlink);
	inode_set_ctime_to_ts(inode, inode_get_ctime(dir));
	return 0;
}

static int unlink(struct inode *dir, struct dentry *dentry)
{
	return unmake(dir, dentry, false);
}

static int rmdir(struct inode *dir, struct dentry *dentry)
{
	return unmake(dir, dentry, true);
}

static int lower_rename(struct dentry *from, struct dentry *to, struct dentry *lower_from_dir,
			struct dentry *lower_to_dir, unsigned int flags)
{
	struct dentry *lower_from = lower_child(from), *lower_to = lower_child(to);
	struct renamedata rd = {
		.old_mnt_idmap = lower_idmap(from),
		.old_dir = d_inode(lower_from_dir),
		.new_mnt_idmap = lower_idmap(from),
		.new_dir = d_inode(lower_to_dir),
		.flags = flags,
	};
	int err = IS_ERR(lower_from) ? PTR_ERR(lower_from) : PTR_ERR_OR_ZERO(lower_to);

	if (!err) {
		rd.old_dentry = lower_from;
		rd.new_dentry = lower_to;
		err = vfs_rename(&rd);
	}
	if (!IS_ERR(lower_from))
		dput(lower_from);
	if (!IS_ERR(lower_to))
		dput(lower_to);
	return err;
}

static int rename(struct mnt_idmap *idmap, struct inode *from_dir, struct dentry *from,
		  struct inode *to_dir, struct dentry *to, unsigned int flags)
{
	struct dentry *lower_from_dir = hmmfs_lower_dentry(from->d_parent);
	struct dentry *lower_to_dir = hmmfs_lower_dentry(to->d_parent), *trap;
	const struct cred *old;
	int err;

	if (flags & ~RENAME_NOREPLACE)
		return -EINVAL;
	old = override_creds(hmmfs_sb(from_dir->i_sb)->cred);
	trap = lock_rename(lower_from_dir, lower_to_dir);
	err = IS_ERR(trap) ? PTR_ERR(trap) :
	      lower_rename(from, to, lower_from_dir, lower_to_dir, flags);
	if (!IS_ERR(trap))
		unlock_rename(lower_from_dir, lower_to_dir);
	revert_creds(old);
	if (err)
		return err;
	fsstack_copy_attr_all(from_dir, hmmfs_i(from_dir)->lower);
	fsstack_copy_attr_all(to_dir, hmmfs_i(to_dir)->lower);
	if (d_is_positive(to))
		set_nlink(d_inode(to), hmmfs_i(d_inode(to))->lower->i_nlink);
	return 0;
}

const struct inode_operations hmmfs_dir_iops = {
	.lookup = lookup,
	.create = create,
	.mkdir = mkdir,
	.unlink = unlink,
	.rmdir = rmdir,
	.rename = rename,
	.setattr = hmmfs_setattr,
	.getattr = hmmfs_getattr,
};

static int open_dir(struct inode *inode, struct file *file)
{
	struct hmmfs_sb *info = hmmfs_sb(inode->i_sb);
	struct path lower = { .mnt = info->mnt, .dentry = hmmfs_lower_dentry(file->f_path.dentry) };
	struct file *f = dentry_open(&lower, O_RDONLY | O_DIRECTORY, info->cred);

	if (IS_ERR(f))
		return PTR_ERR(f);
	file->private_data = f;
	return 0;
}

static int release_dir(struct inode *inode, struct file *file)
{
	fput(file->private_data);
	return 0;
}

static int iterate(struct file *file, struct dir_context *ctx)
{
	struct file *lower = file->private_data;

	lower->f_pos = ctx->pos;
	return iterate_dir(lower, ctx);
}

static int fsync_dir(struct file *file, loff_t start, loff_t end, int datasync)
{
	return vfs_fsync_range(file->private_data, start, end, datasync);
}

const struct file_operations hmmfs_dir_fops = {
	.open = open_dir,
	.release = release_dir,
	.read = generic_read_dir,
	.iterate_shared = iterate,
	.llseek = generic_file_llseek,
	.fsync = fsync_dir,
};

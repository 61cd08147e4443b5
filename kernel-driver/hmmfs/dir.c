// SPDX-License-Identifier: GPL-2.0
/*
 * Names: every operation is the lower folder's, with the mounter's credentials. What is made
 * belongs to who makes it.
 */
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/fs_stack.h>
#include <linux/mount.h>

#include "compat.h"
#include "hmmfs.h"

static struct mnt_idmap *lower_idmap(const struct dentry *dentry)
{
	return mnt_idmap(hmmfs_sb(dentry->d_sb)->mnt);
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
	struct dentry *parent = hmmfs_lower_dentry(dentry->d_parent);
	struct dentry *lower = hmmfs_lookup(lower_idmap(dentry), parent, &dentry->d_name);
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

/*
 * To change names below: with the mounter's credentials, where that may be written, and is not
 * frozen. 0 and *@old for end_change(), or -errno. Outside the lower folders' locks.
 */
static int begin_change(const struct super_block *sb, const struct cred **old)
{
	int err = mnt_want_write(hmmfs_sb(sb)->mnt);

	if (!err)
		*old = override_creds(hmmfs_sb(sb)->cred);
	return err;
}

static void end_change(const struct super_block *sb, const struct cred *old)
{
	revert_creds(old);
	mnt_drop_write(hmmfs_sb(sb)->mnt);
}

/* As begin_change(), for something that belongs to who makes it. @as is for end_make(). */
static int begin_make(const struct super_block *sb, const struct cred **old, struct cred **as)
{
	int err = begin_change(sb, old);

	if (err)
		return err;
	*as = prepare_creds();
	if (!*as) {
		end_change(sb, *old);
		return -ENOMEM;
	}
	(*as)->fsuid = (*old)->fsuid;
	(*as)->fsgid = (*old)->fsgid;
	override_creds(*as);
	return 0;
}

static void end_make(const struct super_block *sb, const struct cred *old, struct cred *as)
{
	revert_creds(hmmfs_sb(sb)->cred);
	put_cred(as);
	end_change(sb, old);
}

/*
 * It is there now. Consumes @lower. Without an inode for it the name must be looked up anew: what
 * we know of it is that it is not there.
 */
static int made(struct inode *dir, struct dentry *dentry, struct dentry *lower)
{
	struct inode *inode = ERR_PTR(-ESTALE);

	/* Some filesystems look up what they made only when it is asked for. */
	if (d_is_positive(lower))
		inode = hmmfs_iget(dir->i_sb, lower);
	set_lower(dentry, lower);
	if (IS_ERR(inode)) {
		d_drop(dentry);
		return PTR_ERR(inode);
	}
	fsstack_copy_attr_all(dir, hmmfs_i(dir)->lower);
	d_instantiate(dentry, inode);
	return 0;
}

/* What is to be made. */
struct what {
	umode_t mode;
	dev_t device;
	const char *target;         /* of a symbolic link */
	const struct dentry *other; /* another name of it, or NULL */
};

/* As hmmfs_lower_create(). Locking: the lower folder's, which is let go of after an error. */
static struct dentry *make_lower(struct mnt_idmap *idmap, struct dentry *lower,
				 const struct what *what)
{
	int err;

	if (what->other)
		err = vfs_link(hmmfs_lower_dentry(what->other), idmap, d_inode(lower->d_parent),
			       lower, NULL);
	else if (S_ISDIR(what->mode))
		return hmmfs_lower_mkdir(idmap, lower, what->mode);
	else if (S_ISREG(what->mode))
		return hmmfs_lower_create(idmap, lower, what->mode);
	else if (S_ISLNK(what->mode))
		err = hmmfs_lower_symlink(idmap, lower, what->target);
	else
		err = hmmfs_lower_mknod(idmap, lower, what->mode, what->device);
	if (err)
		hmmfs_end_name(lower);
	return err ? ERR_PTR(err) : lower;
}

static int make(struct inode *dir, struct dentry *dentry, const struct what *what)
{
	struct mnt_idmap *idmap = lower_idmap(dentry);
	const struct cred *old;
	struct dentry *lower;
	struct cred *as;
	int err = begin_make(dir->i_sb, &old, &as);

	if (err)
		return err;
	lower = hmmfs_start_name(idmap, hmmfs_lower_dentry(dentry->d_parent), &dentry->d_name,
				 true);
	if (!IS_ERR(lower))
		lower = make_lower(idmap, lower, what);
	if (!IS_ERR(lower)) {
		dget(lower);
		hmmfs_end_name(lower);
	}
	end_make(dir->i_sb, old, as);
	return IS_ERR(lower) ? PTR_ERR(lower) : made(dir, dentry, lower);
}

static int create(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry, umode_t mode,
		  bool excl)
{
	return make(dir, dentry, &(struct what){ .mode = mode | S_IFREG });
}

static hmmfs_mkdir_t mkdir(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry,
			   umode_t mode)
{
	return HMMFS_MKDIR(make(dir, dentry, &(struct what){ .mode = mode | S_IFDIR }));
}

static int symlink(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry,
		   const char *target)
{
	return make(dir, dentry, &(struct what){ .mode = S_IFLNK, .target = target });
}

static int mknod(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry, umode_t mode,
		 dev_t device)
{
	return make(dir, dentry, &(struct what){ .mode = mode, .device = device });
}

static int link(struct dentry *other, struct inode *dir, struct dentry *dentry)
{
	struct inode *inode = d_inode(other);
	int err = make(dir, dentry, &(struct what){ .mode = inode->i_mode, .other = other });

	if (err)
		return err;
	set_nlink(inode, hmmfs_i(inode)->lower->i_nlink);
	inode_set_ctime_to_ts(inode, inode_get_ctime(hmmfs_i(inode)->lower));
	return 0;
}

static int unmake(struct inode *dir, struct dentry *dentry, bool folder)
{
	struct inode *inode = d_inode(dentry);
	struct mnt_idmap *idmap = lower_idmap(dentry);
	const struct cred *old;
	struct dentry *lower;
	int err = begin_change(dir->i_sb, &old);

	if (err)
		return err;
	lower = hmmfs_start_name(idmap, hmmfs_lower_dentry(dentry->d_parent), &dentry->d_name,
				 false);
	err = PTR_ERR_OR_ZERO(lower);
	if (!err && folder)
		err = hmmfs_lower_rmdir(idmap, lower);
	else if (!err)
		err = vfs_unlink(idmap, hmmfs_i(dir)->lower, lower, NULL);
	hmmfs_end_name(lower);
	end_change(dir->i_sb, old);
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

static int rename(struct mnt_idmap *idmap, struct inode *from_dir, struct dentry *from,
		  struct inode *to_dir, struct dentry *to, unsigned int flags)
{
	const struct cred *old;
	int err;

	if (flags & ~RENAME_NOREPLACE)
		return -EINVAL;
	err = begin_change(from_dir->i_sb, &old);
	if (err)
		return err;
	err = hmmfs_lower_rename(lower_idmap(from), hmmfs_lower_dentry(from->d_parent),
				 &from->d_name, hmmfs_lower_dentry(to->d_parent), &to->d_name,
				 flags);
	end_change(from_dir->i_sb, old);
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
	.symlink = symlink,
	.mknod = mknod,
	.link = link,
	.unlink = unlink,
	.rmdir = rmdir,
	.rename = rename,
	.setattr = hmmfs_setattr,
	.getattr = hmmfs_getattr,
	.listxattr = hmmfs_listxattr,
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

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs for a filesystem between the kernels that are built against; nothing else in
 * this folder asks for a version. The names follow the newest kernel's way: a lower folder is
 * locked together with the look-up of the name in it, and let go of with that name.
 */
#ifndef HMMFS_COMPAT_H
#define HMMFS_COMPAT_H

#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/namei.h>
#include <linux/pagemap.h>
#include <linux/version.h>
#include <linux/writeback.h> /* and what walks folios, by whatever name */

/* ->write_begin and ->write_end: their first argument; what ->mkdir returns. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
typedef struct file hmmfs_writer_t;
#else
typedef const struct kiocb hmmfs_writer_t;
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0)
typedef int hmmfs_mkdir_t;
#define HMMFS_MKDIR(err) (err)
#else
typedef struct dentry *hmmfs_mkdir_t;
#define HMMFS_MKDIR(err) ERR_PTR(err)
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
static inline void hmmfs_set_dentry_ops(struct super_block *sb, const struct dentry_operations *ops)
{
	sb->s_d_op = ops;
}
#else
static inline void hmmfs_set_dentry_ops(struct super_block *sb, const struct dentry_operations *ops)
{
	set_default_d_op(sb, ops);
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 19, 0)
static inline bool hmmfs_inode_is_new(struct inode *inode)
{
	return inode->i_state & I_NEW;
}

/* Locking: inode->i_lock. */
static inline bool hmmfs_inode_is_dirty(struct inode *inode)
{
	return inode->i_state & I_DIRTY_ALL;
}

static inline struct folio *hmmfs_alloc_folio(gfp_t gfp)
{
	return filemap_alloc_folio(gfp, 0);
}
#else
static inline bool hmmfs_inode_is_new(struct inode *inode)
{
	return inode_state_read_once(inode) & I_NEW;
}

static inline bool hmmfs_inode_is_dirty(struct inode *inode)
{
	return inode_state_read(inode) & I_DIRTY_ALL;
}

static inline struct folio *hmmfs_alloc_folio(gfp_t gfp)
{
	return filemap_alloc_folio(gfp, 0, NULL);
}
#endif

/*
 * Names. hmmfs_start_name(): @name in @parent, which is locked, for it to be made or removed.
 * hmmfs_lower_mkdir() and hmmfs_lower_create() return what is there then, or end it all and
 * return an error. hmmfs_end_name(): lets go of the name and the lock; nothing for an error.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 16, 0)
static inline struct dentry *hmmfs_lookup(struct mnt_idmap *idmap, struct dentry *parent,
					  const struct qstr *name)
{
	return lookup_one_unlocked(idmap, name->name, parent, name->len);
}

static inline struct dentry *hmmfs_lookup_locked(struct mnt_idmap *idmap, struct dentry *parent,
						 const struct qstr *name)
{
	return lookup_one(idmap, name->name, parent, name->len);
}
#else
static inline struct dentry *hmmfs_lookup(struct mnt_idmap *idmap, struct dentry *parent,
					  const struct qstr *name)
{
	struct qstr copy = QSTR_INIT(name->name, name->len);

	return lookup_one_unlocked(idmap, &copy, parent);
}

static inline struct dentry *hmmfs_lookup_locked(struct mnt_idmap *idmap, struct dentry *parent,
						 const struct qstr *name)
{
	struct qstr copy = QSTR_INIT(name->name, name->len);

	return lookup_one(idmap, &copy, parent);
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 19, 0)
static inline struct dentry *hmmfs_start_name(struct mnt_idmap *idmap, struct dentry *parent,
					      const struct qstr *name, bool make)
{
	struct dentry *child;

	inode_lock_nested(d_inode(parent), I_MUTEX_PARENT);
	child = hmmfs_lookup_locked(idmap, parent, name);
	if (!IS_ERR(child) && make == d_is_positive(child)) {
		dput(child);
		child = ERR_PTR(make ? -EEXIST : -ENOENT);
	}
	if (IS_ERR(child))
		inode_unlock(d_inode(parent));
	return child;
}

static inline void hmmfs_end_name(struct dentry *child)
{
	if (IS_ERR(child))
		return;
	inode_unlock(d_inode(child->d_parent));
	dput(child);
}

static inline struct dentry *hmmfs_lower_create(struct mnt_idmap *idmap, struct dentry *child,
						umode_t mode)
{
	int err = vfs_create(idmap, d_inode(child->d_parent), child, mode, true);

	if (err)
		hmmfs_end_name(child);
	return err ? ERR_PTR(err) : child;
}

static inline int hmmfs_lower_rmdir(struct mnt_idmap *idmap, struct dentry *child)
{
	return vfs_rmdir(idmap, d_inode(child->d_parent), child);
}

static inline int hmmfs_lower_symlink(struct mnt_idmap *idmap, struct dentry *child,
				      const char *target)
{
	return vfs_symlink(idmap, d_inode(child->d_parent), child, target);
}

static inline int hmmfs_lower_mknod(struct mnt_idmap *idmap, struct dentry *child, umode_t mode,
				    dev_t device)
{
	return vfs_mknod(idmap, d_inode(child->d_parent), child, mode, device);
}
#else
static inline struct dentry *hmmfs_start_name(struct mnt_idmap *idmap, struct dentry *parent,
					      const struct qstr *name, bool make)
{
	struct qstr copy = QSTR_INIT(name->name, name->len);

	return make ? start_creating(idmap, parent, &copy) : start_removing(idmap, parent, &copy);
}

static inline void hmmfs_end_name(struct dentry *child)
{
	end_dirop(child);
}

static inline struct dentry *hmmfs_lower_create(struct mnt_idmap *idmap, struct dentry *child,
						umode_t mode)
{
	int err = vfs_create(idmap, child, mode, NULL);

	if (err)
		hmmfs_end_name(child);
	return err ? ERR_PTR(err) : child;
}

static inline int hmmfs_lower_rmdir(struct mnt_idmap *idmap, struct dentry *child)
{
	return vfs_rmdir(idmap, d_inode(child->d_parent), child, NULL);
}

static inline int hmmfs_lower_symlink(struct mnt_idmap *idmap, struct dentry *child,
				      const char *target)
{
	return vfs_symlink(idmap, d_inode(child->d_parent), child, target, NULL);
}

static inline int hmmfs_lower_mknod(struct mnt_idmap *idmap, struct dentry *child, umode_t mode,
				    dev_t device)
{
	return vfs_mknod(idmap, d_inode(child->d_parent), child, mode, device, NULL);
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0)
static inline struct dentry *hmmfs_lower_mkdir(struct mnt_idmap *idmap, struct dentry *child,
					       umode_t mode)
{
	int err = vfs_mkdir(idmap, d_inode(child->d_parent), child, mode);

	if (err)
		hmmfs_end_name(child);
	return err ? ERR_PTR(err) : child;
}
#elif LINUX_VERSION_CODE < KERNEL_VERSION(6, 19, 0)
static inline struct dentry *hmmfs_lower_mkdir(struct mnt_idmap *idmap, struct dentry *child,
					       umode_t mode)
{
	struct inode *dir = d_inode(child->d_parent);

	/* Lets go of the name when it fails, not of the lock. */
	child = vfs_mkdir(idmap, dir, child, mode);
	if (IS_ERR(child))
		inode_unlock(dir);
	return child;
}
#else
static inline struct dentry *hmmfs_lower_mkdir(struct mnt_idmap *idmap, struct dentry *child,
					       umode_t mode)
{
	return vfs_mkdir(idmap, d_inode(child->d_parent), child, mode, NULL);
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 19, 0)
static inline void hmmfs_fill_rename(struct renamedata *rd, struct mnt_idmap *idmap,
				     struct dentry *from_dir, struct dentry *to_dir)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 18, 0)
	rd->old_mnt_idmap = rd->new_mnt_idmap = idmap;
#else
	rd->mnt_idmap = idmap;
#endif
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 17, 0)
	rd->old_dir = d_inode(from_dir);
	rd->new_dir = d_inode(to_dir);
#else
	rd->old_parent = from_dir;
	rd->new_parent = to_dir;
#endif
}

/* Locking: both folders'. @trap is the one that lies between them, or NULL. */
static inline int hmmfs_check_rename(struct dentry *from, struct dentry *to, struct dentry *trap,
				     unsigned int flags)
{
	if (from == trap)
		return -EINVAL;
	if (to == trap)
		return -ENOTEMPTY;
	if (d_is_negative(from))
		return -ENOENT;
	return (flags & RENAME_NOREPLACE) && d_is_positive(to) ? -EEXIST : 0;
}

static inline int hmmfs_lower_rename(struct mnt_idmap *idmap, struct dentry *from_dir,
				     const struct qstr *from, struct dentry *to_dir,
				     const struct qstr *to, unsigned int flags)
{
	struct renamedata rd = { .flags = flags };
	struct dentry *trap = lock_rename(from_dir, to_dir);
	int err;

	if (IS_ERR(trap))
		return PTR_ERR(trap);
	hmmfs_fill_rename(&rd, idmap, from_dir, to_dir);
	rd.old_dentry = hmmfs_lookup_locked(idmap, from_dir, from);
	rd.new_dentry = hmmfs_lookup_locked(idmap, to_dir, to);
	err = PTR_ERR_OR_ZERO(rd.old_dentry);
	err = err ? err : PTR_ERR_OR_ZERO(rd.new_dentry);
	err = err ? err : hmmfs_check_rename(rd.old_dentry, rd.new_dentry, trap, flags);
	err = err ? err : vfs_rename(&rd);
	if (!IS_ERR(rd.old_dentry))
		dput(rd.old_dentry);
	if (!IS_ERR(rd.new_dentry))
		dput(rd.new_dentry);
	unlock_rename(from_dir, to_dir);
	return err;
}
#else
static inline int hmmfs_lower_rename(struct mnt_idmap *idmap, struct dentry *from_dir,
				     const struct qstr *from, struct dentry *to_dir,
				     const struct qstr *to, unsigned int flags)
{
	struct qstr from_name = QSTR_INIT(from->name, from->len);
	struct qstr to_name = QSTR_INIT(to->name, to->len);
	struct renamedata rd = {
		.mnt_idmap = idmap,
		.old_parent = from_dir,
		.new_parent = to_dir,
		.flags = flags,
	};
	int err = start_renaming(&rd, 0, &from_name, &to_name);

	if (err)
		return err;
	err = vfs_rename(&rd);
	end_renaming(&rd);
	return err;
}
#endif

#endif /* HMMFS_COMPAT_H */

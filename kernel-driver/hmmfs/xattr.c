// SPDX-License-Identifier: GPL-2.0
/* Extended attributes: the lower file's. ACLs are none: nobody here would obey them. */
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/mount.h>
#include <linux/xattr.h>

#include "hmmfs.h"

static int get(const struct xattr_handler *handler, struct dentry *dentry, struct inode *inode,
	       const char *name, void *value, size_t size)
{
	struct hmmfs_sb *info = hmmfs_sb(inode->i_sb);
	const struct cred *old = override_creds(info->cred);
	int n = vfs_getxattr(mnt_idmap(info->mnt), hmmfs_lower_dentry(dentry), name, value, size);

	revert_creds(old);
	return n;
}

static int set(const struct xattr_handler *handler, struct mnt_idmap *idmap, struct dentry *dentry,
	       struct inode *inode, const char *name, const void *value, size_t size, int flags)
{
	struct hmmfs_sb *info = hmmfs_sb(inode->i_sb);
	struct dentry *lower = hmmfs_lower_dentry(dentry);
	const struct cred *old;
	int err = mnt_want_write(info->mnt);

	if (err)
		return err;
	old = override_creds(info->cred);
	if (value)
		err = vfs_setxattr(mnt_idmap(info->mnt), lower, name, value, size, flags);
	else
		err = vfs_removexattr(mnt_idmap(info->mnt), lower, name);
	revert_creds(old);
	mnt_drop_write(info->mnt);
	if (!err)
		inode_set_ctime_to_ts(inode, inode_get_ctime(hmmfs_i(inode)->lower));
	return err;
}

/* Asked for every name. */
static const struct xattr_handler any = { .prefix = "", .get = get, .set = set };

const struct xattr_handler *const hmmfs_xattr_handlers[] = { &any, NULL };

/* With the caller's credentials, which say what may be seen. */
ssize_t hmmfs_listxattr(struct dentry *dentry, char *list, size_t size)
{
	return vfs_listxattr(hmmfs_lower_dentry(dentry), list, size);
}

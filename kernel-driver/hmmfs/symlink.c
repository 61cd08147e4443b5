// SPDX-License-Identifier: GPL-2.0
/* Symbolic links: the lower one's text. */
#include <linux/cred.h>
#include <linux/fs.h>

#include "hmmfs.h"

static const char *get_link(struct dentry *dentry, struct inode *inode, struct delayed_call *done)
{
	const struct cred *old;
	const char *text;

	/* Not while names are looked up without locks: it may have to be read. */
	if (!dentry)
		return ERR_PTR(-ECHILD);
	old = override_creds(hmmfs_sb(inode->i_sb)->cred);
	text = vfs_get_link(hmmfs_lower_dentry(dentry), done);
	revert_creds(old);
	return text;
}

const struct inode_operations hmmfs_symlink_iops = {
	.get_link = get_link,
	.setattr = hmmfs_setattr,
	.getattr = hmmfs_getattr,
	.listxattr = hmmfs_listxattr,
};

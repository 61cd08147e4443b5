// SPDX-License-Identifier: GPL-2.0
/* Mounting: hmmfs stands on a folder of another filesystem. */
#include <drm/hmm_drm.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/fs_stack.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/slab.h>
#include <linux/statfs.h>

#include "compat.h"
#include "hmmfs.h"

static struct kmem_cache *inode_cache;

static struct inode *new_inode_of(struct super_block *sb)
{
	struct hmmfs_inode *hi = alloc_inode_sb(sb, inode_cache, GFP_KERNEL);

	if (!hi)
		return NULL;
	hi->lower = NULL;
	hi->lower_dentry = NULL;
	hi->lower_file = NULL;
	hi->resizing = false;
	hi->hole_first = hi->hole_end = 0;
	return &hi->vfs;
}

static void free_inode(struct inode *inode)
{
	kmem_cache_free(inode_cache, hmmfs_i(inode));
}

static void evict_inode(struct inode *inode)
{
	struct hmmfs_inode *hi = hmmfs_i(inode);

	truncate_inode_pages_final(&inode->i_data);
	clear_inode(inode);
	if (hi->lower_file)
		fput(hi->lower_file);
	dput(hi->lower_dentry);
	iput(hi->lower);
}

static int statfs(struct dentry *dentry, struct kstatfs *buf)
{
	struct path lower = { .mnt = hmmfs_sb(dentry->d_sb)->mnt,
			      .dentry = hmmfs_lower_dentry(dentry) };
	int err = vfs_statfs(&lower, buf);

	buf->f_type = HMMFS_SUPER_MAGIC;
	return err;
}

/*
 * Our pages are below by now, but not all of them on the disk, and sync() may have been there. An
 * error there is told to each who asks here.
 */
static int sync_fs(struct super_block *sb, int wait)
{
	struct hmmfs_sb *info = hmmfs_sb(sb);
	struct super_block *lower = info->mnt->mnt_sb;
	int err, told;

	if (!wait)
		return 0;
	hmmfs_wait_writes(sb, NULL, 0, -1);
	down_read(&lower->s_umount);
	err = sync_filesystem(lower);
	up_read(&lower->s_umount);
	told = errseq_check_and_advance(&lower->s_wb_err, &info->lower_err);
	if (told)
		errseq_set(&sb->s_wb_err, told);
	return err;
}

static int show_options(struct seq_file *m, struct dentry *root)
{
	return 0;
}

/*
 * None is kept for which there is no user: it holds the lower one. But what it has to write would
 * be lost with it; it is looked at again when that is done. Locking: inode->i_lock.
 */
static int drop_inode(struct inode *inode)
{
	return !inode->i_nlink || (!hmmfs_inode_is_dirty(inode) &&
				   !mapping_tagged(inode->i_mapping, PAGECACHE_TAG_DIRTY) &&
				   !mapping_tagged(inode->i_mapping, PAGECACHE_TAG_WRITEBACK));
}

static const struct super_operations super_ops = {
	.alloc_inode = new_inode_of,
	.free_inode = free_inode,
	.evict_inode = evict_inode,
	.sync_fs = sync_fs,
	.statfs = statfs,
	.show_options = show_options,
	.write_inode = hmmfs_write_inode,
	.drop_inode = drop_inode,
};

static void release_dentry(struct dentry *dentry)
{
	dput(dentry->d_fsdata);
}

static const struct dentry_operations dentry_ops = { .d_release = release_dentry };

static int check_lower(struct fs_context *fc, const struct path *path)
{
	struct super_block *lower = path->dentry->d_sb;

	if (is_idmapped_mnt(path->mnt))
		return invalf(fc, "hmmfs: an idmapped mount cannot be the lower one");
	if (lower->s_stack_depth + 1 > FILESYSTEM_MAX_STACK_DEPTH)
		return invalf(fc, "hmmfs: too many filesystems on top of each other");
	return 0;
}

static int make_root(struct super_block *sb, struct dentry *lower)
{
	struct inode *inode = hmmfs_iget(sb, lower);

	if (IS_ERR(inode))
		return PTR_ERR(inode);
	sb->s_root = d_make_root(inode);
	if (!sb->s_root)
		return -ENOMEM;
	sb->s_root->d_fsdata = dget(lower);
	return 0;
}

static int set_up(struct super_block *sb, const struct path *path)
{
	struct super_block *lower = path->dentry->d_sb;
	struct hmmfs_sb *info = kzalloc(sizeof(*info), GFP_KERNEL);
	int err;

	if (!info)
		return -ENOMEM;
	spin_lock_init(&info->writes.lock);
	INIT_LIST_HEAD(&info->writes.list);
	init_waitqueue_head(&info->writes.done);
	info->mnt = clone_private_mount(path);
	if (IS_ERR(info->mnt)) {
		err = PTR_ERR(info->mnt);
		kfree(info);
		return err;
	}
	info->mnt->mnt_flags &= ~MNT_ATIME_MASK;
	info->cred = get_current_cred();
	info->lower_err = errseq_sample(&lower->s_wb_err);
	sb->s_fs_info = info;
	sb->s_op = &super_ops;
	hmmfs_set_dentry_ops(sb, &dentry_ops);
	sb->s_stack_depth = lower->s_stack_depth + 1;
	sb->s_maxbytes = lower->s_maxbytes;
	sb->s_time_gran = lower->s_time_gran;
	sb->s_blocksize = PAGE_SIZE;
	sb->s_blocksize_bits = PAGE_SHIFT;
	sb->s_xattr = hmmfs_xattr_handlers;
	sb->s_magic = HMMFS_SUPER_MAGIC;
	/* An inode remembers that it has no capabilities to be taken away by a write. */
	sb->s_flags |= SB_NOSEC;
	err = super_setup_bdi(sb);
	return err ? err : make_root(sb, path->dentry);
}

static int fill_super(struct super_block *sb, struct fs_context *fc)
{
	struct path path;
	int err;

	if (!fc->source)
		return invalf(fc, "hmmfs: which folder?");
	err = kern_path(fc->source, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &path);
	if (err)
		return err;
	err = check_lower(fc, &path);
	if (!err)
		err = set_up(sb, &path);
	path_put(&path);
	return err;
}

static int get_tree(struct fs_context *fc)
{
	return get_tree_nodev(fc, fill_super);
}

static const struct fs_context_operations context_ops = { .get_tree = get_tree };

static int init_fs_context(struct fs_context *fc)
{
	fc->ops = &context_ops;
	return 0;
}

/* Also of what was not set up to the end. */
static void kill_sb(struct super_block *sb)
{
	struct hmmfs_sb *info = hmmfs_sb(sb);

	kill_anon_super(sb);
	if (!info)
		return;
	kern_unmount(info->mnt);
	put_cred(info->cred);
	kfree(info);
}

static struct file_system_type type = {
	.owner = THIS_MODULE,
	.name = "hmmfs",
	.init_fs_context = init_fs_context,
	.kill_sb = kill_sb,
};
MODULE_ALIAS_FS("hmmfs");

static void init_once(void *object)
{
	struct hmmfs_inode *hi = object;

	inode_init_once(&hi->vfs);
	mutex_init(&hi->lower_lock);
}

int hmmfs_init(void)
{
	int err;

	inode_cache = kmem_cache_create("hmmfs_inode", sizeof(struct hmmfs_inode), 0,
					SLAB_ACCOUNT | SLAB_RECLAIM_ACCOUNT, init_once);
	if (!inode_cache)
		return -ENOMEM;
	err = hmmfs_bounce_init();
	if (err)
		goto cache;
	err = register_filesystem(&type);
	if (!err)
		return 0;
	hmmfs_bounce_exit();
cache:
	kmem_cache_destroy(inode_cache);
	return err;
}

void hmmfs_exit(void)
{
	unregister_filesystem(&type);
	rcu_barrier(); /* inodes that are freed later */
	hmmfs_bounce_exit();
	kmem_cache_destroy(inode_cache);
}

// SPDX-License-Identifier: GPL-2.0
/* Regular files: generic reads, writes and mappings of our own page cache. */
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/fs_stack.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/uio.h>

#include "hmmfs.h"

static struct file *open_lower(struct inode *inode)
{
	struct hmmfs_inode *hi = hmmfs_i(inode);
	struct hmmfs_sb *info = hmmfs_sb(inode->i_sb);
	struct path lower = { .mnt = info->mnt, .dentry = hi->lower_dentry };
	struct file *f = dentry_open(&lower, O_RDWR | O_LARGEFILE | O_NOATIME, info->cred);

	/* Only where it can never be written: it stays open so for as long as the inode lives. */
	if (PTR_ERR_OR_ZERO(f) == -EACCES || PTR_ERR_OR_ZERO(f) == -EPERM ||
	    PTR_ERR_OR_ZERO(f) == -EROFS || PTR_ERR_OR_ZERO(f) == -ETXTBSY)
		f = dentry_open(&lower, O_RDONLY | O_LARGEFILE, info->cred);
	/* Writeback is no change of the file: hmmfs_write_inode() says when that was. */
	if (!IS_ERR(f))
		f->f_mode |= FMODE_NOCMTIME;
	return f;
}

/* One for each inode, opened by who comes first; it stays open with the inode. */
struct file *hmmfs_lower_file(struct inode *inode)
{
	struct hmmfs_inode *hi = hmmfs_i(inode);
	struct file *f;

	mutex_lock(&hi->lower_lock);
	f = hi->lower_file;
	if (!f) {
		f = open_lower(inode);
		if (!IS_ERR(f))
			hi->lower_file = f;
	}
	mutex_unlock(&hi->lower_lock);
	return f;
}

static int open(struct inode *inode, struct file *file)
{
	struct file *lower = hmmfs_lower_file(inode);

	if (IS_ERR(lower))
		return PTR_ERR(lower);
	if ((file->f_mode & FMODE_WRITE) && !(lower->f_mode & FMODE_WRITE))
		return -EROFS;
	return generic_file_open(inode, file);
}

static ssize_t write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	struct file *file = iocb->ki_filp;
	struct inode *inode = file_inode(file);
	ssize_t n;

	inode_lock(inode);
	n = generic_write_checks(iocb, from);
	if (n > 0) {
		int err = file_remove_privs(file);

		if (!err)
			err = file_update_time(file);
		if (!err && iocb->ki_pos > i_size_read(inode))
			err = hmmfs_zero_tail(inode);
		n = err ? err : generic_perform_write(iocb, from);
	}
	inode_unlock(inode);
	return n > 0 ? generic_write_sync(iocb, n) : n;
}

static int mmap(struct file *file, struct vm_area_struct *vma)
{
	return generic_file_mmap(file, vma);
}

static int fsync(struct file *file, loff_t start, loff_t end, int datasync)
{
	struct inode *inode = file_inode(file);
	struct file *lower = hmmfs_lower_file(inode);
	int err, err2;

	/* While the file is cut, or gets a hole, writeback leaves pages out. */
	inode_lock_shared(inode);
	err = file_write_and_wait_range(file, start, end);
	hmmfs_wait_writes(inode->i_sb, inode->i_mapping, start >> PAGE_SHIFT, end >> PAGE_SHIFT);
	err2 = file_check_and_advance_wb_err(file);
	err = err ? err : err2;
	inode_unlock_shared(inode);
	err2 = sync_inode_metadata(inode, 1);
	err = err ? err : err2;
	if (IS_ERR(lower))
		return err ? err : PTR_ERR(lower);
	err2 = vfs_fsync_range(lower, start, end, datasync);
	if (err2 && (lower->f_mode & FMODE_WRITE)) {
		hmmfs_not_durable(file->f_mapping, err2);
		/* Told at once, and not again. */
		err = err ? err : err2;
		err2 = file_check_and_advance_wb_err(file);
	}
	return err ? err : err2;
}

const struct file_operations hmmfs_file_fops = {
	.open = open,
	.llseek = generic_file_llseek,
	.read_iter = generic_file_read_iter,
	.write_iter = write_iter,
	.mmap = mmap,
	.fsync = fsync,
	.fallocate = hmmfs_fallocate,
	.splice_read = filemap_splice_read,
	.splice_write = iter_file_splice_write,
};

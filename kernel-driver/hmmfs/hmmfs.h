/* SPDX-License-Identifier: GPL-2.0 */
/*
 * hmmfs: a stackable filesystem whose page cache holds pages of the system and frames of
 * devices. A frame in the page cache is never uptodate, has PG_private, and no entry in any
 * client's page table: generic code asks ->read_folio for it, and there it comes home.
 *
 * Locks, outermost first: the inode's; write access to the lower mount; the lower inode's or
 * folder's; mmap_lock (a lower file's O_DIRECT takes it under its inode's lock); the mapping's
 * invalidate_lock (shared and by trylock to go to a device); the folio's; hmmfs_inode.lower_lock;
 * what the lower filesystem takes to read and to write the file.
 */
#ifndef HMMFS_H
#define HMMFS_H

#include <linux/bitmap.h>
#include <linux/fs.h>
#include <linux/pagemap.h>

struct hmmdrm_device;

#define HMMFS_RUN_PAGES 1024 /* that are written at once: less reaches the disk in more pieces */

/* Folios that follow each other, on their way to the lower file; writes.c. */
struct hmmfs_write {
	struct list_head link; /* hmmfs_writes.list */
	u64 number;
	struct address_space *mapping;
	struct folio **folio;
	pgoff_t first;
	unsigned int n;
	/* Frames that came home: their writeback has ended, their pages are dirty. They are gone. */
	DECLARE_BITMAP(left, HMMFS_RUN_PAGES);
};

/* All that are under way. */
struct hmmfs_writes {
	spinlock_t lock; /* leaf */
	struct list_head list;
	u64 next; /* number of the next one */
	wait_queue_head_t done;
};

struct hmmfs_sb {
	struct vfsmount *mnt;    /* of the lower filesystem, a private clone */
	const struct cred *cred; /* the mounter's: all lower I/O is done with it */
	struct hmmfs_writes writes;
	errseq_t lower_err; /* what the lower filesystem could not write: seen up to here */
};

struct hmmfs_inode {
	struct inode vfs;
	struct inode *lower;
	struct dentry *lower_dentry; /* a name that the lower file had when it was looked up */
	struct file *lower_file;     /* of a regular file, opened once; locking: lower_lock */
	struct mutex lower_lock;
	bool resizing; /* no page leaves for a device; set under invalidate_lock */
	/* Pages that are not written back while the lower file gets a hole there. Set as resizing. */
	pgoff_t hole_first, hole_end;
};

static inline struct hmmfs_inode *hmmfs_i(const struct inode *inode)
{
	return container_of(inode, struct hmmfs_inode, vfs);
}

static inline struct hmmfs_sb *hmmfs_sb(const struct super_block *sb)
{
	return sb->s_fs_info;
}

static inline struct dentry *hmmfs_lower_dentry(const struct dentry *dentry)
{
	return dentry->d_fsdata;
}

/* What PG_private says of a folio. */
#define HMMFS_LEAVING ((void *)1) /* on its way to a device: nobody may free or move it */
#define HMMFS_DEVICE ((void *)2)

/* super.c */
int hmmfs_init(void);
void hmmfs_exit(void);

/* inode.c, dir.c, file.c */
struct inode *hmmfs_iget(struct super_block *sb, struct dentry *lower);
int hmmfs_setattr(struct mnt_idmap *idmap, struct dentry *dentry, struct iattr *attr);
/* Mounter's credentials; the lower inode's lock is taken. */
int hmmfs_lower_setattr(struct dentry *dentry, struct iattr *attr);
int hmmfs_write_inode(struct inode *inode, struct writeback_control *wbc);
int hmmfs_getattr(struct mnt_idmap *idmap, const struct path *path, struct kstat *stat, u32 mask,
		  unsigned int flags);
extern const struct inode_operations hmmfs_dir_iops, hmmfs_file_iops, hmmfs_symlink_iops;
extern const struct file_operations hmmfs_dir_fops, hmmfs_file_fops;
struct file *hmmfs_lower_file(struct inode *inode);
/*
 * resize.c. The page that @end lies in comes home, for the CPU to zero what is beyond, and none
 * leaves until hmmfs_end_resize(), which is to follow also after an error. Locking: the inode's.
 */
int hmmfs_begin_resize(struct inode *inode, loff_t end);
void hmmfs_end_resize(struct inode *inode);
/* Locking: the inode's. */
int hmmfs_set_size(struct dentry *dentry, struct iattr *attr);
/*
 * A file grows: what was stored behind its end is no part of it. The page of its end is here, and no
 * page leaves, until hmmfs_end_resize(), which is to follow also after an error: hmmfs_grow() lets
 * generic code zero the rest of that page, which of a frame it could not. Locking: the inode's.
 */
int hmmfs_begin_growth(struct inode *inode);
void hmmfs_grow(struct inode *inode, loff_t size);
/* The same for a write, which does that itself. */
int hmmfs_zero_tail(struct inode *inode);
/* fallocate.c */
long hmmfs_fallocate(struct file *file, int mode, loff_t offset, loff_t len);

/* symlink.c, xattr.c */
struct xattr_handler;
extern const struct xattr_handler *const hmmfs_xattr_handlers[];
ssize_t hmmfs_listxattr(struct dentry *dentry, char *list, size_t size);

/* aops.c, writeback.c */
extern const struct address_space_operations hmmfs_aops;
int hmmfs_writepages(struct address_space *mapping, struct writeback_control *wbc);
/*
 * The lower file says once, to us, that what we wrote is not on the disk. All that is here is dirty
 * again, and each who waits is told.
 */
void hmmfs_not_durable(struct address_space *mapping, int err);
/* run.c */
int hmmfs_bounce_init(void);
void hmmfs_bounce_exit(void);

/* writes.c. None yet; @first is where @folio[0] is to be. */
void hmmfs_begin_write(struct hmmfs_write *w, struct address_space *mapping, pgoff_t first,
		       struct folio **folio);
/* There are @n now. Locking: the new ones', which may go when they are under writeback. */
void hmmfs_extend_write(struct hmmfs_write *w, unsigned int n);
/* An error is known to the mapping. From here on .left does not change. */
void hmmfs_end_write(struct hmmfs_write *w);
/*
 * A frame comes home, and its writeback, if any, ends for who looks at the folio. Who wants the
 * lower file to have the bytes waits for these writes, too. Locking: the folio's.
 */
void hmmfs_leave_write(struct folio *frame);
/* This, or what was in its place on a device? Locking: the folio's. */
bool hmmfs_is_being_written(const struct folio *folio);
/* For those that have begun; @mapping NULL: of all files. No lock that a page fault takes. */
void hmmfs_wait_writes(const struct super_block *sb, const struct address_space *mapping,
		       pgoff_t first, pgoff_t last);

/*
 * migrate.c. hmmfs_home() : @folio is a frame, locked and referenced by the caller, and stays so;
 * 0: the page of the system has its place, -EAGAIN: it is none of the page cache's any more.
 * @gfp: 0, or __GFP_NOFAIL not to fail for want of that page.
 */
bool hmmfs_is_frame(const struct folio *folio);
int hmmfs_home(struct folio *folio, gfp_t gfp);
int hmmfs_to_system(struct address_space *mapping, pgoff_t index, unsigned long pages);
/* A shared mapping of a file here; also of one that was opened to be read only. */
bool hmmfs_maps(const struct vm_area_struct *vma);
/* How many pages are on the device, or -errno. May sleep; no locks held. */
long hmmfs_to_device(struct address_space *mapping, pgoff_t index, unsigned long pages,
		     struct hmmdrm_device *hd);
/* @hd NULL: of the system. */
long hmmfs_count(struct address_space *mapping, pgoff_t index, unsigned long pages,
		 struct hmmdrm_device *hd);
/*
 * Who waits for a folio's lock may find that another has its place by now. @folio, found there
 * and referenced, or what is there instead: locked and referenced. NULL: nothing is.
 */
struct folio *hmmfs_lock_at(struct address_space *mapping, pgoff_t index, struct folio *folio);
/* A frame of the page cache, locked and referenced, or NULL. */
struct folio *hmmfs_get_device_folio(struct address_space *mapping, pgoff_t index);
/* A device is about to map it, or it becomes dirty: PG_private. Locking: the folio's. */
void hmmfs_device_maps(struct folio *folio);
/* By the driver's LRU. -EBUSY: not now. */
int hmmfs_evict_frame(struct page *dpage);

#endif /* HMMFS_H */

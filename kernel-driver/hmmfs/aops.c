// SPDX-License-Identifier: GPL-2.0
/*
 * The page cache. What generic code does to a folio, it does to pages of the system only: a
 * frame is never uptodate, so ->read_folio and ->write_begin are asked, and bring it home.
 */
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/writeback.h>

#include "../hmmdrm.h"
#include "compat.h"
#include "hmmfs.h"

/* From the lower file into a locked page of the system. */
static int fill(struct inode *inode, struct folio *folio)
{
	struct file *lower = hmmfs_lower_file(inode);
	loff_t pos = folio_pos(folio);
	size_t done = 0;
	char *to;

	if (IS_ERR(lower))
		return PTR_ERR(lower);
	to = kmap_local_folio(folio, 0);
	while (done < PAGE_SIZE) {
		ssize_t n = kernel_read(lower, to + done, PAGE_SIZE - done, &pos);

		if (n < 0) {
			kunmap_local(to);
			return n;
		}
		if (!n)
			break;
		done += n;
	}
	memset(to + done, 0, PAGE_SIZE - done);
	kunmap_local(to);
	flush_dcache_folio(folio);
	folio_mark_uptodate(folio);
	return 0;
}

static int read_folio(struct file *file, struct folio *folio)
{
	int err;

	if (hmmfs_is_frame(folio)) {
		/* An error here is SIGBUS for who touches the page. */
		err = hmmfs_home(folio, __GFP_NOFAIL);
		folio_unlock(folio);
		if (err == -EAGAIN)
			cond_resched();
		/* Another page has its place: look again. */
		return err && err != -EAGAIN ? err : AOP_TRUNCATED_PAGE;
	}
	err = folio_test_uptodate(folio) ? 0 : fill(folio->mapping->host, folio);
	folio_unlock(folio);
	return err;
}

/* A locked page of the system at @index. */
static struct folio *get_here(struct address_space *mapping, pgoff_t index)
{
	for (;;) {
		struct folio *folio = __filemap_get_folio(mapping, index, FGP_WRITEBEGIN,
							  mapping_gfp_mask(mapping));
		int err;

		if (IS_ERR(folio) || !hmmfs_is_frame(folio))
			return folio;
		err = hmmfs_home(folio, 0);
		folio_unlock(folio);
		folio_put(folio);
		if (err && err != -EAGAIN)
			return ERR_PTR(err);
		cond_resched();
	}
}

static int write_begin(hmmfs_writer_t *writer, struct address_space *mapping, loff_t pos,
		       unsigned int len, struct folio **foliop, void **fsdata)
{
	struct folio *folio = get_here(mapping, pos >> PAGE_SHIFT);
	size_t offset = offset_in_page(pos);
	int err = 0;

	if (IS_ERR(folio))
		return PTR_ERR(folio);
	if (!folio_test_uptodate(folio) && len < PAGE_SIZE) {
		if (folio_pos(folio) >= i_size_read(mapping->host))
			folio_zero_segments(folio, 0, offset, offset + len, PAGE_SIZE);
		else
			err = fill(mapping->host, folio);
	}
	if (err) {
		folio_unlock(folio);
		folio_put(folio);
		return err;
	}
	*foliop = folio;
	return 0;
}

static int write_end(hmmfs_writer_t *writer, struct address_space *mapping, loff_t pos,
		     unsigned int len, unsigned int copied, struct folio *folio, void *fsdata)
{
	struct inode *inode = mapping->host;

	/* Short, into a page that was to be written as a whole: nothing of it counts. */
	if (copied < len && !folio_test_uptodate(folio))
		copied = 0;
	if (copied) {
		folio_mark_uptodate(folio);
		if (pos + copied > i_size_read(inode))
			i_size_write(inode, pos + copied);
		folio_mark_dirty(folio);
	}
	folio_unlock(folio);
	folio_put(folio);
	return copied;
}

/* Locking: the folio's. */
static void let_go(struct folio *folio)
{
	if (hmmfs_is_frame(folio))
		hmmdrm_frame_revoke(&folio->page);
	if (folio_test_private(folio))
		folio_detach_private(folio);
}

static void invalidate_folio(struct folio *folio, size_t offset, size_t length)
{
	if (offset == 0 && length == folio_size(folio))
		let_go(folio);
}

/* Clean, and wanted for something else. One that is leaving for a device stays. */
static bool release_folio(struct folio *folio, gfp_t gfp)
{
	if (folio_get_private(folio) == HMMFS_LEAVING)
		return false;
	let_go(folio);
	return true;
}

static int migrate_folio(struct address_space *mapping, struct folio *dst, struct folio *src,
			 enum migrate_mode mode)
{
	if (folio_test_private(src))
		return -EAGAIN;
	return filemap_migrate_folio(mapping, dst, src, mode);
}

static int error_remove_folio(struct address_space *mapping, struct folio *folio)
{
	if (folio_test_private(folio))
		return -EBUSY;
	return generic_error_remove_folio(mapping, folio);
}

const struct address_space_operations hmmfs_aops = {
	.read_folio = read_folio,
	.write_begin = write_begin,
	.write_end = write_end,
	.writepages = hmmfs_writepages,
	.dirty_folio = filemap_dirty_folio,
	.invalidate_folio = invalidate_folio,
	.release_folio = release_folio,
	.migrate_folio = migrate_folio,
	.error_remove_folio = error_remove_folio,
};

bool hmmfs_maps(const struct vm_area_struct *vma)
{
	return vma->vm_file && (vma->vm_flags & VM_MAYSHARE) &&
	       vma->vm_file->f_mapping->a_ops == &hmmfs_aops;
}

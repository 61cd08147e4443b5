// SPDX-License-Identifier: GPL-2.0
/*
 * Folios of the page cache to a device and home. migrate_vma_pages() refuses page-cache
 * folios; what it is made of is exported, and does for a filesystem's own mappings.
 */
#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/swap.h>

#include "../hmmdrm.h"
#include "compat.h"
#include "hmmfs.h"

#define SLOW_MS 50

bool hmmfs_is_frame(const struct folio *folio)
{
	return hmmdrm_is_frame(&folio->page);
}

/*
 * In the page cache, with what that counts: charge, dirty state, marks. Others may hold the frame
 * meanwhile, namely who waits for its lock; they find it without a mapping then, and look again.
 * So their references do not matter. folio_migrate_mapping() would fail for them, and as long as
 * two wait in turn, neither would ever get the page.
 */
static void take_place(struct address_space *mapping, struct folio *here, struct folio *frame)
{
	bool dirty = folio_test_dirty(frame);

	if (folio_test_private(frame))
		folio_detach_private(frame);
	folio_cancel_dirty(frame);
	folio_mark_uptodate(here);
	replace_page_cache_folio(frame, here);
	if (dirty)
		filemap_dirty_folio(mapping, here);
	folio_add_lru(here);
}

/*
 * The page of the system takes the frame's place. It was not uptodate, so nobody has read it;
 * no page table holds it, so nobody stores to it once the engines are revoked.
 */
int hmmfs_home(struct folio *folio, gfp_t gfp)
{
	struct address_space *mapping = folio->mapping;
	struct folio *here;
	int err;

	if (!mapping)
		return -EAGAIN;
	if (!(hmmdrm_skip_fence & HMMDRM_SKIP_REVOKE))
		hmmdrm_frame_revoke(&folio->page);
	hmmfs_leave_write(folio);
	here = hmmfs_alloc_folio(mapping_gfp_constraint(mapping, ~__GFP_FS) | gfp);
	if (!here)
		return -ENOMEM;
	__folio_set_locked(here);
	err = hmmdrm_copy_from_device(&here->page, &folio->page) ? -EIO : 0;
	if (!err) {
		take_place(mapping, here, folio);
		hmmdrm_count(hmmdrm_frame_device(&folio->page), HMMDRM_TO_SYSTEM, 1);
	}
	folio_unlock(here);
	folio_put(here);
	return err;
}

int hmmfs_to_system(struct address_space *mapping, pgoff_t index, unsigned long pages)
{
	int err = 0;

	for (pgoff_t end = index + pages; !err && index < end; index++) {
		do {
			struct folio *folio = hmmfs_get_device_folio(mapping, index);

			err = 0;
			if (!folio)
				break;
			err = hmmfs_home(folio, 0);
			folio_unlock(folio);
			folio_put(folio);
			cond_resched();
		} while (err == -EAGAIN);
	}
	return err;
}

struct folio *hmmfs_lock_at(struct address_space *mapping, pgoff_t index, struct folio *folio)
{
	while (!IS_ERR(folio)) {
		folio_lock(folio);
		if (folio->mapping == mapping && folio->index == index)
			return folio;
		folio_unlock(folio);
		folio_put(folio);
		folio = filemap_get_folio(mapping, index);
	}
	return NULL;
}

struct folio *hmmfs_get_device_folio(struct address_space *mapping, pgoff_t index)
{
	struct folio *folio = filemap_get_folio(mapping, index);

	if (IS_ERR(folio))
		return NULL;
	if (hmmfs_is_frame(folio)) {
		folio = hmmfs_lock_at(mapping, index, folio);
		if (!folio || hmmfs_is_frame(folio))
			return folio;
		folio_unlock(folio);
	}
	folio_put(folio);
	return NULL;
}

/*
 * The page, clean of CPU entries that could store unseen, and marked so that nobody frees,
 * moves or maps it while no lock of ours is on it. 1: its number is *@number; 0: not now;
 * -EIO: the lower file cannot be read.
 */
static int prepare(struct address_space *mapping, pgoff_t index, unsigned long *number)
{
	struct folio *folio = read_mapping_folio(mapping, index, NULL);
	int ready = 0;

	if (IS_ERR(folio))
		return PTR_ERR(folio) == -ENOMEM || PTR_ERR(folio) == -EINTR ? 0 : -EIO;
	folio_lock(folio);
	if (folio->mapping == mapping && folio->index == index && folio_test_uptodate(folio) &&
	    !hmmfs_is_frame(folio) && !folio_test_private(folio) && !folio_test_writeback(folio)) {
		if (folio_mkclean(folio))
			folio_mark_dirty(folio);
		if (!(hmmdrm_skip_fence & HMMDRM_SKIP_MARK))
			folio_attach_private(folio, HMMFS_LEAVING);
		*number = folio_pfn(folio);
		ready = 1;
	}
	folio_unlock(folio);
	folio_put(folio);
	return ready;
}

static void stay(struct address_space *mapping, pgoff_t index)
{
	struct folio *folio = filemap_get_folio(mapping, index);

	if (IS_ERR(folio))
		return;
	folio_lock(folio);
	if (folio_get_private(folio) == HMMFS_LEAVING)
		folio_detach_private(folio);
	folio_unlock(folio);
	folio_put(folio);
}

/* Locking: @folio's, which is off the LRU. The frame takes its place, or -errno. */
static int replace(struct address_space *mapping, struct folio *folio, struct page *dpage)
{
	struct folio *frame = page_folio(dpage);
	int err;

	if (folio_get_private(folio) == HMMFS_LEAVING)
		folio_detach_private(folio);
	err = hmmdrm_copy_to_device(dpage, &folio->page);
	if (err)
		return err;
	/* Before it moves: who finds the frame must not find it uptodate, not for an instant. */
	if (!(hmmdrm_skip_fence & HMMDRM_SKIP_UPTODATE))
		folio_clear_uptodate(folio);
	err = folio_migrate_mapping(mapping, frame, folio, 0);
	if (err) {
		folio_mark_uptodate(folio);
		return err;
	}
	folio_migrate_flags(frame, folio);
	folio_clear_uptodate(frame);
	folio_attach_private(frame, HMMFS_DEVICE);
	folio->mapping = NULL;
	return 0;
}

/*
 * A number says nothing of what the page is by now: the mark on it does. Without it the page could
 * be freed and used anew. Somebody else's would be locked, taken off the LRU and unmapped, and
 * words of a slab be read as a mapping. And one that is in this slot again need not have been
 * read: bytes of its last owner would be the file's.
 *
 * 1: on the device; 0: it stays; consumes the promise of a frame only when it leaves.
 */
static int leave(struct address_space *mapping, pgoff_t index, struct hmmdrm_device *hd,
		 unsigned long pfn)
{
	unsigned long src, dst = 0;
	struct page *dpage = NULL;
	struct folio *folio;
	int went = 0;

	if (hmmdrm_skip_fence & HMMDRM_SLOW_LEAVE)
		msleep(SLOW_MS);
	migrate_device_range(&src, pfn, 1);
	if (!(src & MIGRATE_PFN_MIGRATE)) {
		stay(mapping, index);
		return 0;
	}
	folio = page_folio(migrate_pfn_to_page(src));
	/* New entries are made under the folio lock only: what is unmapped here stays so. */
	if (!(hmmdrm_skip_fence & HMMDRM_SKIP_UNMAP))
		unmap_mapping_pages(mapping, index, 1, false);
	if (folio->mapping == mapping && folio->index == index) {
		dpage = hmmdrm_frame_alloc(hd);
		went = !replace(mapping, folio, dpage);
	}
	if (went) {
		dst = migrate_pfn(page_to_pfn(dpage));
		hmmdrm_count(hd, HMMDRM_TO_DEVICE, 1);
	} else if (dpage) {
		unlock_page(dpage);
		put_page(dpage);
	}
	migrate_device_finalize(&src, &dst, 1);
	/* A frame that was put back is free, not promised, by now. */
	return went ? 1 : dpage ? -EAGAIN : 0;
}

/* Before any lock that a page fault takes: see writeback.c. */
static void wait_written(struct address_space *mapping, pgoff_t index)
{
	struct folio *folio = filemap_get_folio(mapping, index);

	if (IS_ERR(folio))
		return;
	folio_wait_writeback(folio);
	folio_put(folio);
}

static int one_to_device(struct address_space *mapping, pgoff_t index, struct hmmdrm_device *hd)
{
	struct folio *frame = hmmfs_get_device_folio(mapping, index);
	unsigned long pfn;
	int err;

	if (frame) {
		bool there = hmmdrm_frame_device(&frame->page) == hd;

		err = there ? 0 : hmmfs_home(frame, 0);
		folio_unlock(frame);
		folio_put(frame);
		if (there || err)
			return there ? 1 : err;
	}
	wait_written(mapping, index);
	err = hmmdrm_frames_reserve(hd, 1);
	if (err)
		return err;
	/* Against truncate, which zeroes and drops under this lock. */
	err = 0;
	if (filemap_invalidate_trylock_shared(mapping)) {
		if (!hmmfs_i(mapping->host)->resizing)
			err = prepare(mapping, index, &pfn);
		if (err > 0)
			err = leave(mapping, index, hd, pfn);
		filemap_invalidate_unlock_shared(mapping);
	}
	if (!err || err == -EIO)
		hmmdrm_frames_unreserve(hd, 1);
	return err == -EAGAIN ? 0 : err;
}

long hmmfs_to_device(struct address_space *mapping, pgoff_t index, unsigned long pages,
		     struct hmmdrm_device *hd)
{
	long on = 0;

	for (pgoff_t end = index + pages; index < end; index++) {
		int n;

		if (index >= DIV_ROUND_UP(i_size_read(mapping->host), PAGE_SIZE))
			return on ? on : -EFAULT;
		n = one_to_device(mapping, index, hd);
		if (n < 0 && n != -EAGAIN)
			return on ? on : n;
		on += n > 0;
		cond_resched();
	}
	return on;
}

long hmmfs_count(struct address_space *mapping, pgoff_t index, unsigned long pages,
		 struct hmmdrm_device *hd)
{
	long n = 0;

	for (pgoff_t end = index + pages; index < end; index++) {
		struct folio *folio = filemap_get_folio(mapping, index);

		if (IS_ERR(folio))
			continue;
		if (hmmfs_is_frame(folio))
			n += hmmdrm_frame_device(&folio->page) == hd;
		else
			n += !hd;
		folio_put(folio);
	}
	return n;
}

/* Who would have dropped it has let go of it, found that we hold it, and left it there. */
void hmmfs_device_maps(struct folio *folio)
{
	if (!folio_test_private(folio))
		folio_attach_private(folio, HMMFS_DEVICE);
}

int hmmfs_evict_frame(struct page *dpage)
{
	struct folio *folio = page_folio(dpage);
	int err = -EBUSY;

	if (!folio_try_get(folio))
		return err;
	if (folio_trylock(folio)) {
		if (folio->mapping && !folio_test_anon(folio))
			err = hmmfs_home(folio, 0);
		folio_unlock(folio);
	}
	folio_put(folio);
	return err;
}

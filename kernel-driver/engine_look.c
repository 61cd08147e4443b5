// SPDX-License-Identifier: GPL-2.0
/*
 * What a device page fault finds at the client's address, which is brought to the device if it can
 * go. No entry is made here.
 *
 * The client's mmap_lock is taken with the engine's held, the same class twice. The order is
 * fixed: an engine's mm is never a client's, and nobody takes an engine's mmap_lock from a
 * client's side.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hmm.h>
#include <linux/mm.h>
#include <linux/pagemap.h>

#include "compat.h"
#include "engine_look.h"
#include "hmmfs/hmmfs.h"

#define BUSY_TRIES 20 /* of a page that others hold, or that is in swap */

static void lock_client(struct mm_struct *mm)
{
	down_read_nested(&mm->mmap_lock, SINGLE_DEPTH_NESTING);
}

static int check_vma(const struct vm_area_struct *vma, bool write)
{
	if (!vma || !(vma->vm_flags & VM_READ) || (write && !(vma->vm_flags & VM_WRITE)))
		return -EFAULT;
	return vma->vm_flags & (VM_IO | VM_PFNMAP) ? -EFAULT : 0;
}

/* A page of a file, and what follows it. Locking: lets go of the client's mmap_lock. */
static int file_in(struct hmmdrm_look *l, struct vm_area_struct *vma)
{
	struct file *file = get_file(vma->vm_file);
	pgoff_t index = linear_page_index(vma, l->addr);
	unsigned long pages = min_t(unsigned long, HMMDRM_FAULT_PAGES,
				    (vma->vm_end - l->addr) >> PAGE_SHIFT);
	long n;

	mmap_read_unlock(l->engine->client->mm);
	/* Errors of what follows, as the file's end, are not this page's. */
	n = hmmfs_to_device(file->f_mapping, index, 1, l->engine->hd);
	if (n >= 0 && pages > 1)
		hmmfs_to_device(file->f_mapping, index + 1, pages - 1, l->engine->hd);
	fput(file);
	return n == -EFAULT || n == -EIO ? n : 0;
}

/*
 * A frame of the page cache, locked so that it stays one. Every client that maps the file finds
 * the same. A store makes it dirty first: writeback takes that state under the same lock.
 */
static int look_up_file(struct hmmdrm_look *l, struct vm_area_struct *vma)
{
	struct file *file = vma->vm_file;
	struct folio *folio = hmmfs_get_device_folio(file->f_mapping,
						     linear_page_index(vma, l->addr));

	if (folio && hmmdrm_frame_device(&folio->page) != l->engine->hd) {
		folio_unlock(folio);
		folio_put(folio);
		folio = NULL;
	}
	if (!folio) {
		l->tried = false;
		return -EAGAIN;
	}
	hmmfs_device_maps(folio);
	if (hmmdrm_rmap_add(&folio->page, l->engine, l->addr)) {
		folio_unlock(folio);
		folio_put(folio);
		return -ENOMEM;
	}
	if (l->write) {
		folio_mark_dirty(folio);
		file_update_time(file);
	}
	hmmdrm_frame_touch(&folio->page);
	l->file = folio;
	l->pfn = hmmdrm_frame_pfn(&folio->page);
	l->writable = l->write;
	return 0;
}

/* The page and its populated neighbours to the device. That it cannot is no error. */
static int migrate_in(struct hmmdrm_look *l)
{
	struct mm_struct *mm = l->engine->client->mm;
	unsigned long bytes = HMMDRM_FAULT_PAGES << PAGE_SHIFT, start;
	struct vm_area_struct *vma;
	int err;

	lock_client(mm);
	vma = vma_lookup(mm, l->addr);
	err = check_vma(vma, l->write);
	if (!err && hmmfs_maps(vma))
		return file_in(l, vma);
	l->movable = !err && !hmmdrm_can_migrate(vma);
	/* A private page of a file becomes one of its own when it is stored to, and alone. */
	if (l->movable && !vma_is_anonymous(vma)) {
		l->movable = l->write;
		bytes = PAGE_SIZE;
	}
	start = l->addr & ~(bytes - 1);
	if (l->movable)
		hmmdrm_to_device(l->engine->hd, vma, max(start, vma->vm_start),
				 min(start + bytes, vma->vm_end), l->addr);
	mmap_read_unlock(mm);
	return err;
}

/*
 * hmm_range_fault() says -EFAULT also for want of memory, which is no reason to end an engine.
 * What the CPU can touch and it cannot, time after time, is not for devices.
 * Locking: the client's mmap_lock.
 */
static int why_not(struct hmmdrm_look *l)
{
	int err = fixup_user_fault(l->engine->client->mm, l->addr, l->write ? FAULT_FLAG_WRITE : 0,
				   NULL);

	if (!err && l->refused++ < BUSY_TRIES)
		return -EAGAIN;
	return err == -ENOMEM ? err : -EFAULT;
}

/* What is there now, faulted in as the CPU would. Locking: the client's mmap_lock. */
static int look_up(struct hmmdrm_look *l, unsigned long *entry)
{
	int err;
	struct hmm_range range = {
		.notifier = &l->engine->client->notifier,
		.notifier_seq = l->seq,
		.start = l->addr,
		.end = l->addr + PAGE_SIZE,
		.hmm_pfns = entry,
		.default_flags = HMM_PFN_REQ_FAULT | (l->write ? HMM_PFN_REQ_WRITE : 0),
		.dev_private_owner = &hmmdrm_owner,
	};

	*entry = 0;
	err = hmm_range_fault(&range);
	return err == -EFAULT ? why_not(l) : err;
}

/*
 * A store to a page of a process that will not leave (pinned): the device has it where it is, and
 * the CPU not, until it faults. One page with two writers' entries would be what the kernel's page
 * table check calls a bug. The event is ours: the sequence must not move for it.
 */
static int take_exclusive(struct hmmdrm_look *l)
{
	struct hmmdrm_client *client = l->engine->client;

	if (hmmdrm_remote_reserve(client, l->addr))
		return -ENOMEM;
	if (hmmdrm_make_exclusive(client->mm, l->addr, client, &l->exclusive))
		return -EAGAIN;
	l->pfn = page_to_pfn(l->exclusive);
	l->writable = l->alone = l->here = true;
	return 0;
}

/*
 * Some kernels take no part of a huge page that is mapped page by page, and cannot move it either.
 * Where nobody counts its writers, CPU and device both have it, as they have a shared page.
 */
static int take(struct hmmdrm_look *l, struct page *page)
{
	bool part = folio_test_large(page_folio(page));
	int err = hmmdrm_can_take(page) ? take_exclusive(l) : -EAGAIN;

	if (err != -EAGAIN)
		return err;
	if (!part && (l->tries++ < BUSY_TRIES || hmmdrm_counts_writers()))
		return err; /* others hold it; in the end they let go */
	if (hmmdrm_counts_writers()) {
		pr_warn_once("hmmdrm: a part of a huge page cannot be stored to\n");
		return l->tries++ < BUSY_TRIES ? -EAGAIN : -EFAULT;
	}
	l->pfn = page_to_pfn(page);
	l->writable = l->here = true;
	return hmmdrm_remote_note(l->engine->client, l->addr, l->pfn);
}

/*
 * Others have a page for a moment: its lock, or a reference in a batch of some CPU's LRU, which
 * migrate_vma_setup() drains. Who pins it says so, mostly, and is not waited for. Nor is a page
 * that would not leave for any wait.
 */
static bool busy_for_now(struct hmmdrm_look *l, struct page *page)
{
	struct folio *folio = page_folio(page);

	return l->movable && !folio_maybe_dma_pinned(folio) && !folio_test_large(folio) &&
	       l->tries++ < BUSY_TRIES;
}

/* -EAGAIN: something changed, look again. */
static int use(struct hmmdrm_look *l, unsigned long entry)
{
	struct page *page = hmm_pfn_to_page(entry);
	bool frame = hmmdrm_is_frame(page), writable = entry & HMM_PFN_WRITE;

	if (!frame && PageAnon(page) && busy_for_now(l, page)) {
		l->tried = false;
		return -EAGAIN;
	}
	if (!frame)
		hmmdrm_count(l->engine->hd, HMMDRM_REMOTE, 1);
	/* To read, it is enough to see it where it is; a store is to be seen. */
	if (!frame && !l->write)
		writable = false;
	if (!frame && PageAnon(page) && writable)
		return take(l, page);
	if (!frame && hmmdrm_remote_note(l->engine->client, l->addr, page_to_pfn(page)))
		return -ENOMEM;
	if (frame && (hmmdrm_frame_device(page) != l->engine->hd || (l->write && !writable))) {
		/*
		 * Another device's, shared after a fork, or read-only until a moment ago: a CPU's
		 * touch settles that. It brings the page home; a second one makes it writable.
		 */
		unsigned int flags = l->write ? FAULT_FLAG_WRITE : 0;
		int err = fixup_user_fault(l->engine->client->mm, l->addr, flags, NULL);

		if (!err && l->write)
			err = fixup_user_fault(l->engine->client->mm, l->addr, flags, NULL);
		l->tried = false;
		return err ? err : -EAGAIN;
	}
	l->pfn = frame ? hmmdrm_frame_pfn(page) : page_to_pfn(page);
	l->writable = writable;
	l->here = !frame;
	return 0;
}

bool hmmdrm_is_usable(const struct hmmdrm_look *l, unsigned long entry, bool write)
{
	struct page *page = entry & HMM_PFN_VALID ? hmm_pfn_to_page(entry) : NULL;

	return page && hmmdrm_is_frame(page) && hmmdrm_frame_device(page) == l->engine->hd &&
	       (!write || entry & HMM_PFN_WRITE);
}

/*
 * The page, if the device has it already, and which of its neighbours it has: they get their
 * entries by the same fault. Locking: the client's mmap_lock. -EAGAIN: it has not.
 */
static int look_around(struct hmmdrm_look *l, const struct vm_area_struct *vma)
{
	unsigned long bytes = HMMDRM_FAULT_PAGES << PAGE_SHIFT, start = l->addr & ~(bytes - 1);
	struct hmm_range range = {
		.notifier = &l->engine->client->notifier,
		.notifier_seq = l->seq,
		.start = max(start, vma->vm_start),
		.end = min(start + bytes, vma->vm_end),
		.hmm_pfns = l->around,
		.dev_private_owner = &hmmdrm_owner,
	};
	unsigned long entry;
	int err;

	memset(l->around, 0, sizeof(l->around));
	err = hmm_range_fault(&range);
	if (err)
		return err;
	entry = l->around[(l->addr - range.start) >> PAGE_SHIFT];
	if (!hmmdrm_is_usable(l, entry, l->write))
		return -EAGAIN;
	l->first = range.start;
	l->nr_around = (range.end - range.start) >> PAGE_SHIFT;
	l->pfn = hmmdrm_frame_pfn(hmm_pfn_to_page(entry));
	l->writable = entry & HMM_PFN_WRITE;
	hmmdrm_frame_touch(hmm_pfn_to_page(entry));
	return 0;
}

/* As the CPU would find it, which gets an entry, too: what happens to that is announced. */
static int look_here(struct hmmdrm_look *l)
{
	unsigned long entry;
	int err = look_up(l, &entry);

	return err ? err : use(l, entry);
}

/* A page that others hold, or for which the device has no frame that can go, stays where it is. */
static int look_at_file(struct hmmdrm_look *l, struct vm_area_struct *vma, bool may_fault)
{
	int err = look_up_file(l, vma);

	return err == -EAGAIN && may_fault && l->tries++ >= BUSY_TRIES ? look_here(l) : err;
}

/* -EAGAIN: it is not there, or something changed. */
static int look_now(struct hmmdrm_look *l, bool may_fault)
{
	struct hmmdrm_client *client = l->engine->client;
	struct vm_area_struct *vma;
	int err;

	l->nr_around = 0;
	l->alone = l->here = false;
	/* Who changes something meanwhile is waited for; what comes later is noted. */
	l->since = READ_ONCE(client->nr_changes);
	l->seq = mmu_interval_read_begin(&client->notifier);
	lock_client(client->mm);
	vma = vma_lookup(client->mm, l->addr);
	err = check_vma(vma, l->write);
	if (!err && hmmfs_maps(vma)) {
		err = look_at_file(l, vma, may_fault);
	} else if (!err && hmmdrm_remote_is_taken(client, l->addr, &l->pfn)) {
		/*
		 * Taken before, for another thread or engine. To take it again would be to take it
		 * from them first, and two that store to one page would do nothing else.
		 */
		l->writable = l->alone = l->write;
		l->here = true;
	} else if (!err) {
		err = look_around(l, vma);
		if (err == -EAGAIN && may_fault)
			err = look_here(l);
	}
	mmap_read_unlock(client->mm);
	return err == -EBUSY ? -EAGAIN : err;
}

int hmmdrm_look(struct hmmdrm_look *l)
{
	int err;

	/* What is there is not migrated again: that would revoke its neighbours' entries. */
	if (!l->tried) {
		err = look_now(l, false);
		if (err != -EAGAIN)
			return err;
		err = migrate_in(l);
		if (err)
			return err;
		l->tried = true;
	}
	return look_now(l, true);
}

void hmmdrm_look_done(struct hmmdrm_look *l)
{
	if (l->exclusive) {
		unlock_page(l->exclusive);
		put_page(l->exclusive);
	}
	if (l->file) {
		folio_unlock(l->file);
		folio_put(l->file);
	}
	l->exclusive = NULL;
	l->file = NULL;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * A device page fault: an engine touches an address of its client that it does not map. The
 * page migrates, or, where it cannot, is mapped where it is. Either entry is made under
 * client->lock, and only if no change of the page was announced since it was looked up.
 *
 * The client's mmap_lock is taken with the engine's held, the same class twice. The order is
 * fixed: an engine's mm is never a client's, and nobody takes an engine's mmap_lock from a
 * client's side.
 */
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hmm.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "compat.h"
#include "hmmdrm.h"
#include "hmmfs/hmmfs.h"

#define MAX_TRIES 100 /* then signals are looked at, and the access is made again */
#define BUSY_TRIES 20 /* of a page that others hold, or that is in swap */
#define BUSY_NOW 4    /* of these at once, and then a wait before each */
#define BUSY_US 500

struct look {
	struct hmmdrm_engine *engine;
	unsigned long addr, seq, since, pfn;
	struct page *exclusive; /* locked and referenced, until its entry is made */
	struct folio *file;     /* a file's frame: likewise */
	unsigned int tries;
	bool write, writable, tried, movable;
	bool alone; /* the page has no writable entry but the one to be made */
	bool here;  /* it is one of the system */
	/* What lies around it, of the same VMA; nr_around 0: not known. */
	unsigned long around[HMMDRM_FAULT_PAGES], first;
	unsigned int nr_around;
};

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
static int file_in(struct look *l, struct vm_area_struct *vma)
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
static int look_up_file(struct look *l, struct vm_area_struct *vma)
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
static int migrate_in(struct look *l)
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
static int why_not(struct look *l)
{
	int err = fixup_user_fault(l->engine->client->mm, l->addr, l->write ? FAULT_FLAG_WRITE : 0,
				   NULL);

	if (!err && l->tries++ < BUSY_TRIES)
		return -EAGAIN;
	return err == -ENOMEM ? err : -EFAULT;
}

/* What is there now, faulted in as the CPU would. Locking: the client's mmap_lock. */
static int look_up(struct look *l, unsigned long *entry)
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
static int take_exclusive(struct look *l)
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
static int take(struct look *l, struct page *page)
{
	int err = hmmdrm_can_take(page) ? take_exclusive(l) : -EAGAIN;

	if (err != -EAGAIN || (!folio_test_large(page_folio(page)) && l->tries++ < BUSY_TRIES))
		return err;
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
static bool busy_for_now(struct look *l, struct page *page)
{
	struct folio *folio = page_folio(page);

	return l->movable && !folio_maybe_dma_pinned(folio) && !folio_test_large(folio) &&
	       l->tries++ < BUSY_TRIES;
}

/* -EAGAIN: something changed, look again. */
static int use(struct look *l, unsigned long entry)
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

static bool is_usable(const struct look *l, unsigned long entry, bool write)
{
	struct page *page = entry & HMM_PFN_VALID ? hmm_pfn_to_page(entry) : NULL;

	return page && hmmdrm_is_frame(page) && hmmdrm_frame_device(page) == l->engine->hd &&
	       (!write || entry & HMM_PFN_WRITE);
}

/*
 * The page, if the device has it already, and which of its neighbours it has: they get their
 * entries by the same fault. Locking: the client's mmap_lock. -EAGAIN: it has not.
 */
static int look_around(struct look *l, const struct vm_area_struct *vma)
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
	if (!is_usable(l, entry, l->write))
		return -EAGAIN;
	l->first = range.start;
	l->nr_around = (range.end - range.start) >> PAGE_SHIFT;
	l->pfn = hmmdrm_frame_pfn(hmm_pfn_to_page(entry));
	l->writable = entry & HMM_PFN_WRITE;
	hmmdrm_frame_touch(hmm_pfn_to_page(entry));
	return 0;
}

/* As the CPU would find it, which gets an entry, too: what happens to that is announced. */
static int look_here(struct look *l)
{
	unsigned long entry;
	int err = look_up(l, &entry);

	return err ? err : use(l, entry);
}

/* A page that others hold, or for which the device has no frame that can go, stays where it is. */
static int look_at_file(struct look *l, struct vm_area_struct *vma, bool may_fault)
{
	int err = look_up_file(l, vma);

	return err == -EAGAIN && may_fault && l->tries++ >= BUSY_TRIES ? look_here(l) : err;
}

/* -EAGAIN: it is not there, or something changed. */
static int look_now(struct look *l, bool may_fault)
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

static int look(struct look *l)
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

static vm_fault_t insert_one(struct vm_area_struct *vma, unsigned long addr, unsigned long pfn,
			     bool writable)
{
	vm_flags_t flags = writable ? vma->vm_flags : vma->vm_flags & ~VM_WRITE;

	return vmf_insert_pfn_prot(vma, addr, pfn, vm_get_page_prot(flags));
}

static bool is_changed(const struct look *l, unsigned long addr)
{
	return hmmdrm_client_changed(l->engine->client, l->since, addr, addr + PAGE_SIZE);
}

/* Locking: client->lock. Takes a page away from the other engines, who fault for it again. */
static void zap_others(const struct look *l)
{
	struct hmmdrm_engine *engine;

	list_for_each_entry (engine, &l->engine->client->engines, link)
		if (engine != l->engine)
			hmmdrm_engine_zap(engine, l->addr, l->addr + PAGE_SIZE);
}

/*
 * Locking: client->lock. An entry that is there (read-only, and this is a store) is replaced.
 * The neighbours share its page table, which is there. The kernel sees no store of an engine: a
 * page of the system is dirty before the first one, and to clean it is announced. The client has it
 * yet, and so the page has its mapping, for no change was announced.
 */
static vm_fault_t insert(struct vm_fault *vmf, const struct look *l)
{
	struct vm_area_struct *vma = vmf->vma;

	if (l->write)
		hmmdrm_engine_zap(l->engine, l->addr, l->addr + PAGE_SIZE);
	if (l->alone)
		zap_others(l);
	if (l->here && l->writable)
		folio_mark_dirty(pfn_folio(l->pfn));
	for (unsigned int i = 0; i < l->nr_around; i++) {
		unsigned long addr = l->first + (i << PAGE_SHIFT), entry = l->around[i];

		if (addr != l->addr && addr >= vma->vm_start && addr < vma->vm_end &&
		    is_usable(l, entry, false) && !is_changed(l, addr))
			insert_one(vma, addr, hmmdrm_frame_pfn(hmm_pfn_to_page(entry)),
				   entry & HMM_PFN_WRITE);
	}
	return insert_one(vma, vmf->address & PAGE_MASK, l->pfn, l->writable);
}

static int nothing(pte_t *pte, unsigned long addr, void *data)
{
	return 0;
}

static void release_page(struct look *l)
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

static vm_fault_t fault_of(int err)
{
	return err == -ENOMEM ? VM_FAULT_OOM : err == -EIO ? VM_FAULT_SIGBUS : VM_FAULT_SIGSEGV;
}

static vm_fault_t resolve(struct vm_fault *vmf, struct look *l)
{
	struct hmmdrm_client *client = l->engine->client;
	vm_fault_t ret;

	for (int i = 0; i < MAX_TRIES && !signal_pending(current); i++) {
		int err = look(l);

		if (err == -EAGAIN) {
			/* No lock is held but the engine's own. */
			if (l->tries > BUSY_NOW)
				usleep_range(BUSY_US, 2 * BUSY_US);
			cond_resched();
			continue;
		}
		if (err)
			return fault_of(err);
		mutex_lock(&client->lock);
		if (is_changed(l, l->addr) && !(hmmdrm_skip_fence & HMMDRM_SKIP_SEQUENCE)) {
			mutex_unlock(&client->lock);
			release_page(l);
			continue;
		}
		if (l->exclusive)
			hmmdrm_remote_taken(client, l->addr, l->pfn);
		ret = insert(vmf, l);
		mutex_unlock(&client->lock);
		release_page(l);
		hmmdrm_count(l->engine->hd, HMMDRM_DEVICE_FAULTS, 1);
		return ret;
	}
	return VM_FAULT_NOPAGE;
}

static vm_fault_t engine_fault(struct vm_fault *vmf, bool write)
{
	struct look l = {
		.engine = vmf->vma->vm_private_data,
		.addr = vmf->pgoff << PAGE_SHIFT,
		.write = write,
	};
	struct mm_struct *mm = l.engine->client->mm;
	vm_fault_t ret;

	/*
	 * Under client->lock no page table may be allocated: reclaim could come back to us
	 * through the notifier.
	 */
	if (apply_to_page_range(vmf->vma->vm_mm, vmf->address & PAGE_MASK, PAGE_SIZE, nothing,
				NULL))
		return VM_FAULT_OOM;
	if (!mmget_not_zero(mm))
		return VM_FAULT_SIGBUS;
	ret = resolve(vmf, &l);
	mmput_async(mm);
	return ret;
}

static vm_fault_t fault(struct vm_fault *vmf)
{
	return engine_fault(vmf, vmf->flags & FAULT_FLAG_WRITE);
}

static vm_fault_t pfn_mkwrite(struct vm_fault *vmf)
{
	vm_fault_t ret = engine_fault(vmf, true);

	return ret ? ret : VM_FAULT_NOPAGE;
}

/* The offset is the address. */
static int mremap(struct vm_area_struct *vma)
{
	return -EINVAL;
}

const struct vm_operations_struct hmmdrm_engine_vm_ops = {
	.fault = fault,
	.pfn_mkwrite = pfn_mkwrite,
	.mremap = mremap,
};

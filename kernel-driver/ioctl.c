// SPDX-License-Identifier: GPL-2.0
/* Every argument is hostile until it is checked. */
#include <drm/drm_device.h>
#include <drm/drm_file.h>
#include <drm/drm_ioctl.h>
#include <drm/hmm_drm.h>
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hmm.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include "hmmdrm.h"
#include "hmmfs/hmmfs.h"

#define BUSY_MS 100
#define BUSY_TRIES 5 /* at least, where one takes as long as that */
#define SNAPSHOT 512ul

struct snapshot {
	unsigned long entry[SNAPSHOT];
	DECLARE_BITMAP(remote, SNAPSHOT);
	DECLARE_BITMAP(shared, SNAPSHOT);
	DECLARE_BITMAP(dirty, SNAPSHOT);
	DECLARE_BITMAP(no_access, SNAPSHOT); /* mapped, and nobody may look */
};

static int query(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct drm_hmm_query *q = data;
	struct hmmdrm_device *hd = hmmdrm_device_get(q->device);

	if (!hmmdrm_client_of(file))
		return -EPERM;
	if (q->flags || q->pad)
		return -EINVAL;
	if (!hd)
		return -ENODEV;
	q->abi = HMM_DRM_ABI;
	q->devices = hmmdrm_devices;
	q->bytes = (u64)hd->nr_frames << PAGE_SHIFT;
	q->resident = (u64)hmmdrm_frames_resident(hd) << PAGE_SHIFT;
	q->page_bytes = PAGE_SIZE;
	return 0;
}

static int stats(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct drm_hmm_stats *s = data;
	struct hmmdrm_device *hd = hmmdrm_device_get(s->device);

	if (!hmmdrm_client_of(file))
		return -EPERM;
	if (s->flags)
		return -EINVAL;
	if (!hd)
		return -ENODEV;
	s->to_device = atomic64_read(&hd->stat[HMMDRM_TO_DEVICE]);
	s->to_system = atomic64_read(&hd->stat[HMMDRM_TO_SYSTEM]);
	s->evicted = atomic64_read(&hd->stat[HMMDRM_EVICTED]);
	s->cpu_faults = atomic64_read(&hd->stat[HMMDRM_CPU_FAULTS]);
	s->device_faults = atomic64_read(&hd->stat[HMMDRM_DEVICE_FAULTS]);
	s->remote = atomic64_read(&hd->stat[HMMDRM_REMOTE]);
	return 0;
}

static int engine_create(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct drm_hmm_engine_create *c = data;
	struct hmmdrm_client *client = hmmdrm_client_of(file);
	struct hmmdrm_device *hd = hmmdrm_device_get(c->device);

	if (!client)
		return -EPERM;
	if (c->flags || c->pad)
		return -EINVAL;
	if (!hd)
		return -ENODEV;
	c->fd = hmmdrm_engine_create(client, hd);
	return c->fd < 0 ? c->fd : 0;
}

/* Widened to whole pages. -EINVAL: empty, or it wraps. */
static int widen(u64 addr, u64 length, unsigned long *start, unsigned long *end)
{
	if (!length || addr + length < addr)
		return -EINVAL;
	if (addr >= TASK_SIZE_MAX || length > TASK_SIZE_MAX - addr)
		return -EFAULT;
	*start = addr & PAGE_MASK;
	*end = PAGE_ALIGN(addr + length);
	return 0;
}

/* Pages of a file. Locking: lets go of mmap_lock meanwhile, for they may have to be read. */
static int migrate_file(struct mm_struct *mm, struct vm_area_struct *vma, struct hmmdrm_device *hd,
			unsigned long start, unsigned long stop)
{
	struct file *file = get_file(vma->vm_file);
	pgoff_t index = linear_page_index(vma, start);
	unsigned long pages = (stop - start) >> PAGE_SHIFT;
	long n;

	mmap_read_unlock(mm);
	n = hd ? hmmfs_to_device(file->f_mapping, index, pages, hd) :
		 hmmfs_to_system(file->f_mapping, index, pages);
	fput(file);
	mmap_read_lock(mm);
	return n < 0 ? n : 0;
}

static int migrate_anonymous(struct vm_area_struct *vma, struct hmmdrm_device *hd,
			     unsigned long start, unsigned long stop, unsigned long *moved)
{
	long n = 0;

	if (hd)
		n = hmmdrm_to_device(hd, vma, start, stop, HMMDRM_ALL_HOLES);
	else if (!(vma->vm_flags & (VM_SPECIAL | VM_HUGETLB)))
		n = hmmdrm_to_system(vma, start, stop, NULL);
	if (n < 0)
		return n;
	*moved += n;
	return 0;
}

/* @moved: how many pages have been taken there from somewhere else, of those that are no file's. */
static int migrate_range(struct mm_struct *mm, struct hmmdrm_device *hd, unsigned long start,
			 unsigned long end, unsigned long *moved)
{
	int err = 0;

	*moved = 0;

	while (!err && start < end) {
		struct vm_area_struct *vma;
		unsigned long stop;

		if (fatal_signal_pending(current))
			return -EINTR;
		/* By pieces: a writer of the address space must not wait for all of it. */
		mmap_read_lock(mm);
		vma = vma_lookup(mm, start);
		err = vma ? 0 : -EFAULT;
		if (!err && hd && !hmmfs_maps(vma))
			err = hmmdrm_can_migrate(vma);
		if (!err) {
			stop = min3(end, vma->vm_end, start + (SNAPSHOT << PAGE_SHIFT));
			if (hmmfs_maps(vma))
				err = migrate_file(mm, vma, hd, start, stop);
			else
				err = migrate_anonymous(vma, hd, start, stop, moved);
			start = stop;
		}
		mmap_read_unlock(mm);
		cond_resched();
	}
	return err;
}

/* A file's frames are in no page table. Locking: mmap_lock. */
static void add_file_page(struct address_space *mapping, pgoff_t index, struct snapshot *s,
			  unsigned long i)
{
	struct folio *folio = filemap_get_folio(mapping, index);

	if (IS_ERR(folio))
		return;
	if (!(s->entry[i] & HMM_PFN_VALID))
		s->entry[i] = page_to_pfn(folio_file_page(folio, index)) | HMM_PFN_VALID;
	if (folio_test_dirty(folio))
		__set_bit(i, s->dirty);
	folio_put(folio);
}

/* What only the mappings know. Locking: mmap_lock. */
static void add_mappings(struct mm_struct *mm, unsigned long start, unsigned long pages,
			 struct snapshot *s)
{
	struct vm_area_struct *vma = NULL;

	bitmap_zero(s->shared, SNAPSHOT);
	bitmap_zero(s->dirty, SNAPSHOT);
	bitmap_zero(s->no_access, SNAPSHOT);
	for (unsigned long i = 0; i < pages; i++) {
		unsigned long addr = start + (i << PAGE_SHIFT);

		if (!vma || addr >= vma->vm_end)
			vma = vma_lookup(mm, addr);
		if (vma && !(vma->vm_flags & (VM_READ | VM_IO | VM_PFNMAP)))
			__set_bit(i, s->no_access);
		if (!vma || !(vma->vm_flags & VM_MAYSHARE))
			continue;
		__set_bit(i, s->shared);
		if (hmmfs_maps(vma))
			add_file_page(vma->vm_file->f_mapping, linear_page_index(vma, addr), s, i);
	}
}

/* What the CPU has lost to a device is there for all that. False: look again. */
static bool add_remote_pages(struct hmmdrm_client *client, const struct hmm_range *range,
			     struct snapshot *s)
{
	bitmap_zero(s->remote, SNAPSHOT);
	if (xa_empty(&client->remote))
		return true;
	for (unsigned long i = 0; i < (range->end - range->start) >> PAGE_SHIFT; i++) {
		bool present = s->entry[i] & HMM_PFN_VALID;
		unsigned long pfn;

		if (!hmmdrm_remote_at(client, range->start + (i << PAGE_SHIFT), present, &pfn))
			continue;
		__set_bit(i, s->remote);
		if (!present)
			s->entry[i] = pfn | HMM_PFN_VALID;
	}
	/* Between the two looks a page may have come back to the CPU. */
	return !mmu_interval_read_retry(&client->notifier, range->notifier_seq);
}

/* What [start, start + pages) maps, without faults. */
static int snapshot(struct hmmdrm_client *client, unsigned long start, unsigned long pages,
		    struct snapshot *s)
{
	unsigned long *entry = s->entry;
	struct hmm_range range = {
		.notifier = &client->notifier,
		.start = start,
		.end = start + (pages << PAGE_SHIFT),
		.hmm_pfns = entry,
		.dev_private_owner = &hmmdrm_owner,
	};
	int err;

	/* Who asks about much of it must not be kept from dying. */
	if (fatal_signal_pending(current))
		return -EINTR;
	do {
		range.notifier_seq = mmu_interval_read_begin(&client->notifier);
		memset(entry, 0, pages * sizeof(*entry));
		mmap_read_lock(client->mm);
		err = hmm_range_fault(&range);
		if (!err)
			add_mappings(client->mm, start, pages, s);
		mmap_read_unlock(client->mm);
		if (!err && !add_remote_pages(client, &range, s))
			err = -EBUSY;
	} while (err == -EBUSY && !fatal_signal_pending(current));
	return err;
}

static int location(unsigned long entry)
{
	struct page *page;

	if (!(entry & HMM_PFN_VALID))
		return DRM_HMM_NOT_POPULATED;
	page = hmm_pfn_to_page(entry);
	return hmmdrm_is_frame(page) ? (int)hmmdrm_frame_device(page)->index : DRM_HMM_SYSTEM;
}

static long count_at(struct hmmdrm_client *client, unsigned long start, unsigned long end,
		     int target, struct snapshot *s)
{
	long n = 0;

	while (start < end) {
		unsigned long pages = min((end - start) >> PAGE_SHIFT, SNAPSHOT);
		int err = snapshot(client, start, pages, s);

		if (err)
			return err;
		for (unsigned long i = 0; i < pages; i++)
			n += location(s->entry[i]) == target;
		start += pages << PAGE_SHIFT;
		cond_resched();
	}
	return n;
}

/* Pages in swap, or that a device has for itself, are not collected: touch them. */
static void fault_in(struct hmmdrm_client *client, unsigned long start, unsigned long end,
		     struct snapshot *s)
{
	while (start < end) {
		unsigned long pages = min((end - start) >> PAGE_SHIFT, SNAPSHOT);

		if (snapshot(client, start, pages, s))
			return;
		for (unsigned long i = 0; i < pages; i++) {
			if ((s->entry[i] & (HMM_PFN_VALID | HMM_PFN_ERROR)) &&
			    !test_bit(i, s->remote))
				continue;
			mmap_read_lock(client->mm);
			fixup_user_fault(client->mm, start + (i << PAGE_SHIFT), 0, NULL);
			mmap_read_unlock(client->mm);
		}
		start += pages << PAGE_SHIFT;
		cond_resched();
	}
}

/* What is still where it was, and why. */
static void note_refused(struct hmmdrm_client *client, unsigned long start, unsigned long end,
			 struct snapshot *s)
{
	for (; start < end; start += SNAPSHOT << PAGE_SHIFT) {
		unsigned long pages = min((end - start) >> PAGE_SHIFT, SNAPSHOT);

		if (snapshot(client, start, pages, s))
			return;
		for (unsigned long i = 0; i < pages; i++)
			if (location(s->entry[i]) == DRM_HMM_SYSTEM)
				hmmdrm_refused_note(client, start + (i << PAGE_SHIFT),
						    s->entry[i] & ~HMM_PFN_FLAGS);
		cond_resched();
	}
}

static long drain(void *unused)
{
	return migrate_device_range(NULL, 0, 0);
}

/*
 * A page that was read lately may be in a batch that some CPU collects for its LRU, referenced, for
 * as long as that CPU has nothing more to add. The core empties those of all CPUs only for pages
 * that are on no LRU yet, but those of its own at each collection, also of nothing.
 */
static void drain_all_cpus(void)
{
	int cpu;

	cpus_read_lock();
	for_each_online_cpu (cpu)
		work_on_cpu(cpu, drain, NULL);
	cpus_read_unlock();
}

static unsigned long evictions(const struct hmmdrm_device *hd)
{
	return hd ? atomic64_read(&hd->stat[HMMDRM_EVICTED]) : 0;
}

static int migrate(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct drm_hmm_migrate *m = data;
	struct hmmdrm_client *client = hmmdrm_client_of(file);
	struct hmmdrm_device *hd = m->target < 0 ? NULL : hmmdrm_device_get(m->target);
	unsigned long start, end, until = jiffies + msecs_to_jiffies(BUSY_MS), moved;
	int err = widen(m->addr, m->length, &start, &end), tries = 0;
	struct snapshot *s;
	long n;

	if (!client)
		return -EPERM;
	if (m->flags || m->target < DRM_HMM_SYSTEM || (m->target >= 0 && !hd))
		return -EINVAL;
	if (err)
		return err;
	s = kvmalloc(sizeof(*s), GFP_KERNEL);
	if (!s)
		return -ENOMEM;
	for (;;) {
		unsigned long evicted = evictions(hd);

		err = migrate_range(client->mm, hd, start, end, &moved);
		/* They need not be looked for, unless one had to go for another. */
		if (!err && moved == (end - start) >> PAGE_SHIFT && evictions(hd) == evicted)
			n = moved;
		else
			n = err ? err : count_at(client, start, end, m->target, s);
		/* Pages that others hold for a moment; those that are pinned stay. */
		if (n < 0 || !hd || n >= min((end - start) >> PAGE_SHIFT, hd->nr_frames) ||
		    (++tries >= BUSY_TRIES && time_after(jiffies, until)) ||
		    signal_pending(current))
			break;
		fault_in(client, start, end, s);
		if (tries == 1)
			drain_all_cpus();
		usleep_range(1000, 2000);
	}
	if (hd && n >= 0 && n < (end - start) >> PAGE_SHIFT)
		note_refused(client, start, end, s);
	kvfree(s);
	if (n < 0)
		return n;
	m->pages = n;
	return 0;
}

static u32 page_flags(struct hmmdrm_client *client, unsigned long addr, const struct snapshot *s,
		      unsigned long i)
{
	unsigned long entry = s->entry[i];
	u32 flags = 0;

	if (entry & HMM_PFN_WRITE)
		flags |= DRM_HMM_PAGE_WRITABLE;
	if (test_bit(i, s->remote))
		flags |= DRM_HMM_PAGE_REMOTE;
	if (test_bit(i, s->shared))
		flags |= DRM_HMM_PAGE_SHARED;
	if (test_bit(i, s->dirty))
		flags |= DRM_HMM_PAGE_DIRTY;
	if (hmmdrm_refused_at(client, addr, entry & ~HMM_PFN_FLAGS))
		flags |= DRM_HMM_PAGE_PINNED;
	return flags;
}

static int copy_status(struct hmmdrm_client *client, const struct drm_hmm_pages *p, u64 first,
		       const struct snapshot *snap, unsigned long pages)
{
	for (unsigned long i = 0; i < pages; i++) {
		unsigned long entry = snap->entry[i];
		struct drm_hmm_page s = { .location = location(entry), .node = -1 };
		u64 to = p->status + (first + i) * p->entry_bytes;

		if (entry & HMM_PFN_ERROR && !test_bit(i, snap->no_access))
			return -EFAULT;
		if (s.location == DRM_HMM_SYSTEM)
			s.node = page_to_nid(hmm_pfn_to_page(entry));
		s.flags = page_flags(client, (p->addr & PAGE_MASK) + ((first + i) << PAGE_SHIFT),
				     snap, i);
		/* What a later caller knows besides is zero. */
		if (copy_to_user(u64_to_user_ptr(to), &s, sizeof(s)) ||
		    clear_user(u64_to_user_ptr(to + sizeof(s)), p->entry_bytes - sizeof(s)))
			return -EFAULT;
	}
	return 0;
}

static int pages(struct drm_device *drm, void *data, struct drm_file *file)
{
	struct drm_hmm_pages *p = data;
	struct hmmdrm_client *client = hmmdrm_client_of(file);
	unsigned long start, end;
	struct snapshot *s;
	int err;

	if (!client)
		return -EPERM;
	if (p->flags || p->entry_bytes < sizeof(struct drm_hmm_page) ||
	    p->entry_bytes > PAGE_SIZE || p->pages > TASK_SIZE_MAX >> PAGE_SHIFT)
		return -EINVAL;
	err = widen(p->addr, p->pages << PAGE_SHIFT, &start, &end);
	if (err)
		return err;
	end = start + (p->pages << PAGE_SHIFT);
	s = kvmalloc(sizeof(*s), GFP_KERNEL);
	if (!s)
		return -ENOMEM;
	for (u64 done = 0; !err && done < p->pages;) {
		unsigned long n = min_t(u64, p->pages - done, SNAPSHOT);

		err = snapshot(client, start + (done << PAGE_SHIFT), n, s);
		if (!err)
			err = copy_status(client, p, done, s, n);
		done += n;
		if (fatal_signal_pending(current))
			err = -EINTR;
	}
	kvfree(s);
	return err;
}

const struct drm_ioctl_desc hmmdrm_ioctls[] = {
	DRM_IOCTL_DEF_DRV(HMM_QUERY, query, DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(HMM_MIGRATE, migrate, DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(HMM_PAGES, pages, DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(HMM_ENGINE_CREATE, engine_create, DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(HMM_STATS, stats, DRM_RENDER_ALLOW),
};

const int hmmdrm_nr_ioctls = ARRAY_SIZE(hmmdrm_ioctls);

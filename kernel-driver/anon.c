// SPDX-License-Identifier: GPL-2.0
/*
 * Anonymous pages to a device and home, in batches (Documentation/mm/hmm.rst, "Migration to
 * and from device memory"). Collecting raises the client's notifier, which takes the pages
 * out of every engine: nothing is copied while a device can still store to it.
 */
#include <linux/highmem.h>
#include <linux/hugetlb.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/slab.h>

#include "compat.h"
#include "hmmdrm.h"

#define STOCK_ORDER 5

struct batch {
	unsigned long src[HMMDRM_BATCH], dst[HMMDRM_BATCH];
	struct page *held[HMMDRM_BATCH];
	unsigned int nr_held;
};

/*
 * Collecting splits huge pages. One that another is splitting is passed over, and some 6.12 then
 * keep a reference to it for good: it never splits, is mapped page by page, and they do not move
 * that. So ours go one at a time. Locking: inside the client's mmap_lock, outside client->lock.
 */
static DEFINE_MUTEX(collect_lock);

static int collect(struct migrate_vma *args)
{
	bool alone = !(hmmdrm_skip_fence & HMMDRM_SKIP_COLLECT);
	int err;

	if (alone)
		mutex_lock(&collect_lock);
	err = migrate_vma_setup(args);
	if (alone)
		mutex_unlock(&collect_lock);
	return err;
}

int hmmdrm_can_migrate(struct vm_area_struct *vma)
{
	if (!(vma->vm_flags & VM_READ))
		return -EFAULT;
	if (vma->vm_flags & (VM_SPECIAL | VM_SHARED | VM_HUGETLB))
		return -EOPNOTSUPP;
	if (!vma_is_anonymous(vma) && !(vma->vm_flags & VM_WRITE))
		return -EOPNOTSUPP;
	return 0;
}

/* From another device, by way of a page that both can copy. */
static int copy_across(struct page *dpage, struct page *spage)
{
	struct page *bounce = alloc_page(GFP_HIGHUSER);
	int err;

	if (!bounce)
		return -ENOMEM;
	err = hmmdrm_copy_from_device(bounce, spage);
	if (!err)
		err = hmmdrm_copy_to_device(dpage, bounce);
	__free_page(bounce);
	return err;
}

/*
 * A frame for one page that was collected; 0 to leave it where it is. @taken counts the promises
 * that were used: a frame that is given back at once is free, and not promised any more.
 */
static unsigned long to_frame(struct hmmdrm_device *hd, unsigned long src, unsigned long *taken)
{
	struct page *spage = migrate_pfn_to_page(src), *dpage;
	bool across = spage && hmmdrm_is_frame(spage);

	if (across && hmmdrm_frame_device(spage) == hd)
		return 0;
	dpage = hmmdrm_frame_alloc(hd);
	++*taken;
	if (across ? copy_across(dpage, spage) : hmmdrm_copy_to_device(dpage, spage)) {
		unlock_page(dpage);
		put_page(dpage);
		return 0;
	}
	return migrate_pfn(page_to_pfn(dpage)) | (src & MIGRATE_PFN_WRITE ? MIGRATE_PFN_WRITE : 0);
}

/*
 * migrate_vma_pages() takes a page out of the swap cache and then, in some 6.12, goes on as if it
 * were there: the frame lands in the swap cache's tree, with a reference that nobody drops. A
 * reference too many makes it stop in between; the page can go the next time.
 */
static void hold_swapped(struct batch *b, unsigned long src)
{
	struct page *spage = migrate_pfn_to_page(src);

	if (!spage || !folio_test_swapcache(page_folio(spage)))
		return;
	get_page(spage);
	b->held[b->nr_held++] = spage;
}

/* How many of the promised frames were used. */
static unsigned long to_frames(struct hmmdrm_device *hd, struct migrate_vma *args,
			       unsigned long only_hole, struct batch *b)
{
	unsigned long taken = 0;

	b->nr_held = 0;
	for (unsigned long i = 0; i < args->npages; i++) {
		unsigned long addr = args->start + (i << PAGE_SHIFT);
		bool hole = !migrate_pfn_to_page(args->src[i]);

		args->dst[i] = 0;
		if (!(args->src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		if (hole && only_hole != HMMDRM_ALL_HOLES && addr != only_hole)
			continue;
		args->dst[i] = to_frame(hd, args->src[i], &taken);
		if (args->dst[i])
			hold_swapped(b, args->src[i]);
	}
	return taken;
}

/*
 * Nobody sees a device store. So a page that was on one is dirty, and none that may be discarded
 * (MADV_FREE): the frame's flags go with it when it comes home.
 */
static void may_be_stored_to(struct page *dpage)
{
	struct folio *folio = page_folio(dpage);

	folio_set_swapbacked(folio);
	folio_set_dirty(folio);
}

/* Locking: the frames'. How many pages went. */
static unsigned long moved(const struct migrate_vma *args)
{
	unsigned long n = 0;

	for (unsigned long i = 0; i < args->npages; i++) {
		if (!args->dst[i] || !(args->src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		may_be_stored_to(migrate_pfn_to_page(args->dst[i]));
		n++;
	}
	return n;
}

static long batch_to_device(struct hmmdrm_device *hd, struct vm_area_struct *vma,
			    unsigned long start, unsigned long end, unsigned long only_hole,
			    struct batch *b)
{
	unsigned long pages = (end - start) >> PAGE_SHIFT;
	struct migrate_vma args = {
		.vma = vma,
		.start = start,
		.end = end,
		.src = b->src,
		.dst = b->dst,
		.pgmap_owner = &hmmdrm_owner,
		.flags = MIGRATE_VMA_SELECT_SYSTEM | MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
	};
	int err = hmmdrm_frames_reserve(hd, pages);
	long n;

	if (err)
		return err;
	err = collect(&args);
	if (err) {
		hmmdrm_frames_unreserve(hd, pages);
		return err;
	}
	hmmdrm_frames_unreserve(hd, pages - to_frames(hd, &args, only_hole, b));
	migrate_vma_pages(&args);
	n = moved(&args);
	hmmdrm_count(hd, HMMDRM_TO_DEVICE, n);
	migrate_vma_finalize(&args);
	for (unsigned int i = 0; i < b->nr_held; i++)
		put_page(b->held[i]);
	return n;
}

/* Pages of a file that a private mapping has not copied yet are copied first. */
static int make_anonymous(struct vm_area_struct *vma, unsigned long start, unsigned long end)
{
	int err = 0;

	if (vma_is_anonymous(vma))
		return 0;
	for (; !err && start < end; start += PAGE_SIZE)
		err = fixup_user_fault(vma->vm_mm, start, FAULT_FLAG_WRITE, NULL);
	return err;
}

long hmmdrm_to_device(struct hmmdrm_device *hd, struct vm_area_struct *vma, unsigned long start,
		      unsigned long end, unsigned long only_hole)
{
	unsigned long batch = min_t(unsigned long, HMMDRM_BATCH, hd->nr_frames) << PAGE_SHIFT;
	struct batch *b = kvmalloc(sizeof(*b), GFP_KERNEL);
	long n = b ? make_anonymous(vma, start, end) : -ENOMEM;

	for (bool again = false; n >= 0 && start < end;) {
		unsigned long stop = min(start + batch, end);
		long more = batch_to_device(hd, vma, start, stop, only_hole, b);

		n = more < 0 ? more : n + more;
		again = !again && b->nr_held;
		if (!again)
			start = stop;
	}
	kvfree(b);
	return n;
}

/* Pages of the system for what was collected, taken from the allocator all at once. */
struct supply {
	struct page **page;
	unsigned int n;
};

/* Who has asked for certain nodes gets each page from where it belongs instead. */
static bool has_policy(const struct vm_area_struct *vma)
{
#ifdef CONFIG_NUMA
	return vma->vm_policy || current->mempolicy;
#else
	return false;
#endif
}

/* Many that lie together cost as much as one, if there are any at hand. */
static bool stock_some(struct supply *s, unsigned int order)
{
	const gfp_t gfp = (GFP_HIGHUSER_MOVABLE & ~__GFP_RECLAIM) | __GFP_NOWARN;
	struct page *page = alloc_pages(gfp, order);

	if (!page)
		return false;
	split_page(page, order);
	for (unsigned int i = 0; i < 1u << order; i++)
		s->page[s->n++] = page + i;
	return true;
}

static void stock(struct supply *s, struct page **room, const struct migrate_vma *args)
{
	unsigned int order;

	s->page = room;
	s->n = 0;
	if (has_policy(args->vma))
		return;
	for (order = STOCK_ORDER; order >= 2; order--)
		while (args->cpages - s->n >= 1ul << order && stock_some(s, order))
			;
	memset(room + s->n, 0, (args->cpages - s->n) * sizeof(*room));
	if (s->n < args->cpages)
		s->n = hmmdrm_alloc_pages(GFP_HIGHUSER_MOVABLE, args->cpages, room);
}

static void give_back(struct supply *s)
{
	while (s->n)
		__free_page(s->page[--s->n]);
}

/* A page of the system for one frame that was collected; 0 to leave it. */
static unsigned long to_page(struct vm_area_struct *vma, unsigned long addr, unsigned long src,
			     struct supply *s)
{
	struct page *dpage = migrate_pfn_to_page(src), *spage;

	if (!dpage || !(src & MIGRATE_PFN_MIGRATE))
		return 0;
	spage = s->n ? s->page[--s->n] : alloc_page_vma(GFP_HIGHUSER_MOVABLE, vma, addr);
	if (!spage)
		return 0;
	if (hmmdrm_copy_from_device(spage, dpage)) {
		__free_page(spage);
		return 0;
	}
	__SetPageLocked(spage);
	return migrate_pfn(page_to_pfn(spage)) | (src & MIGRATE_PFN_WRITE ? MIGRATE_PFN_WRITE : 0);
}

/* What was collected, all of one device or of several. How many pages came home. */
static unsigned long bring_home(struct migrate_vma *args, struct page **room)
{
	unsigned long n = 0;
	struct supply s;

	stock(&s, room, args);
	for (unsigned long i = 0; i < args->npages; i++)
		args->dst[i] = to_page(args->vma, args->start + (i << PAGE_SHIFT), args->src[i],
				       &s);
	give_back(&s);
	migrate_vma_pages(args);
	for (unsigned long i = 0; i < args->npages; i++) {
		if (!args->dst[i] || !(args->src[i] & MIGRATE_PFN_MIGRATE))
			continue;
		hmmdrm_count(hmmdrm_frame_device(migrate_pfn_to_page(args->src[i])),
			     HMMDRM_TO_SYSTEM, 1);
		n++;
	}
	migrate_vma_finalize(args);
	return n;
}

static long batch_to_system(struct vm_area_struct *vma, unsigned long start, unsigned long end,
			    struct page *fault_page, struct batch *b)
{
	struct migrate_vma args = {
		.vma = vma,
		.start = start,
		.end = end,
		.src = b->src,
		.dst = b->dst,
		.pgmap_owner = &hmmdrm_owner,
		.flags = MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
		.fault_page = fault_page,
	};
	int err = collect(&args);

	return err || !args.cpages ? err : (long)bring_home(&args, b->held);
}

long hmmdrm_to_system(struct vm_area_struct *vma, unsigned long start, unsigned long end,
		      struct page *fault_page)
{
	struct batch *b = kvmalloc(sizeof(*b), GFP_KERNEL);
	long n = b ? 0 : -ENOMEM;

	while (n >= 0 && start < end) {
		unsigned long stop = min(start + ((unsigned long)HMMDRM_BATCH << PAGE_SHIFT), end);
		long more = batch_to_system(vma, start, stop, fault_page, b);

		n = more < 0 ? more : n + more;
		start = stop;
	}
	kvfree(b);
	return n;
}

/* A CPU touches a frame: it comes home, and its neighbours with it. */
vm_fault_t hmmdrm_migrate_to_ram(struct vm_fault *vmf)
{
	unsigned long bytes = HMMDRM_FAULT_PAGES << PAGE_SHIFT;
	unsigned long addr = vmf->address & PAGE_MASK;
	unsigned long start = max(addr & ~(bytes - 1), vmf->vma->vm_start);
	unsigned long end = min((addr & ~(bytes - 1)) + bytes, vmf->vma->vm_end);
	unsigned long src[HMMDRM_FAULT_PAGES], dst[HMMDRM_FAULT_PAGES];
	unsigned long wanted = (addr - start) >> PAGE_SHIFT;
	struct page *room[HMMDRM_FAULT_PAGES];
	struct migrate_vma args = {
		.vma = vmf->vma,
		.start = start,
		.end = end,
		.src = src,
		.dst = dst,
		.pgmap_owner = &hmmdrm_owner,
		.flags = MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
		.fault_page = vmf->page,
	};
	bool collected;

	hmmdrm_count(hmmdrm_frame_device(vmf->page), HMMDRM_CPU_FAULTS, 1);
	if (migrate_vma_setup(&args))
		return VM_FAULT_SIGBUS;
	/* Someone else has it in hand: the access is made again. */
	if (!args.cpages)
		return 0;
	collected = src[wanted] & MIGRATE_PFN_MIGRATE;
	bring_home(&args, room);
	return collected && !dst[wanted] ? VM_FAULT_OOM : 0;
}

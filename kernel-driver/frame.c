// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory as the kernel sees it: a struct page for each frame, which no CPU can read.
 * The driver keeps an LRU of its own: pgmap lies where the page's lru would be.
 */
#include <linux/highmem.h>
#include <linux/ioport.h>
#include <linux/memcontrol.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "hmmdrm.h"

/*
 * What a page was before: the kernel's allocator takes that away from its own pages, and nobody
 * from ours. A frame that was dirty as an anonymous page would be so as a file's, untold.
 */
#define STALE_FLAGS (PAGE_FLAGS_CHECK_AT_PREP & ~BIT(PG_reserved))
#define EVICT_PAGES 64u
#define EVICT_TRIES 16 /* in vain, one after another */

int hmmdrm_owner;

/* The one place that turns pages into frames and back. */
static unsigned long frame_of(const struct hmmdrm_device *hd, const struct page *page)
{
	return page_to_pfn(page) - hd->first_pfn;
}

static struct page *page_of(const struct hmmdrm_device *hd, unsigned long frame)
{
	return pfn_to_page(hd->first_pfn + frame);
}

bool hmmdrm_is_frame(const struct page *page)
{
	return is_device_private_page(page) && hmmdrm_pgmap(page)->owner == &hmmdrm_owner;
}

struct hmmdrm_device *hmmdrm_frame_device(const struct page *page)
{
	return container_of(hmmdrm_pgmap(page), struct hmmdrm_device, pagemap);
}

/* The last reference is gone. May be called with a page table lock held. */
static void frame_freed(hmmdrm_freed_t *freed)
{
	struct page *page = hmmdrm_freed_page(freed);
	struct hmmdrm_device *hd = hmmdrm_frame_device(page);
	unsigned long flags;

	WARN_ON_ONCE(!list_empty(&hd->frames[frame_of(hd, page)].rmap) &&
		     !(hmmdrm_skip_fence & HMMDRM_SKIP_REVOKE));
	spin_lock_irqsave(&hd->lock, flags);
	list_move(&hd->frames[frame_of(hd, page)].link, &hd->free);
	hd->nr_free++;
	spin_unlock_irqrestore(&hd->lock, flags);
}

static const struct dev_pagemap_ops pagemap_ops = {
	HMMDRM_PAGE_FREE(frame_freed),
	.migrate_to_ram = hmmdrm_migrate_to_ram,
};

int hmmdrm_frames_init(struct hmmdrm_device *hd)
{
	unsigned long bytes = hd->nr_frames << PAGE_SHIFT;
	struct resource *res;
	void *mapped;

	spin_lock_init(&hd->lock);
	INIT_LIST_HEAD(&hd->free);
	INIT_LIST_HEAD(&hd->lru);
	hd->frames = vcalloc(hd->nr_frames, sizeof(*hd->frames));
	if (!hd->frames)
		return -ENOMEM;
	res = request_free_mem_region(&iomem_resource, bytes, "hmm_drm");
	if (IS_ERR(res)) {
		vfree(hd->frames);
		return PTR_ERR(res);
	}
	hd->pagemap.type = MEMORY_DEVICE_PRIVATE;
	/* The resource is rounded up to a memory section. */
	hd->resource = res;
	hd->pagemap.range.start = res->start;
	hd->pagemap.range.end = res->start + bytes - 1;
	hd->pagemap.nr_range = 1;
	hd->pagemap.ops = &pagemap_ops;
	hd->pagemap.owner = &hmmdrm_owner;
	mapped = memremap_pages(&hd->pagemap, numa_node_id());
	if (IS_ERR(mapped)) {
		release_mem_region(res->start, resource_size(res));
		vfree(hd->frames);
		return PTR_ERR(mapped);
	}
	hd->first_pfn = PHYS_PFN(res->start);
	for (unsigned long i = 0; i < hd->nr_frames; i++) {
		INIT_LIST_HEAD(&hd->frames[i].rmap);
		list_add_tail(&hd->frames[i].link, &hd->free);
	}
	hd->nr_free = hd->nr_frames;
	return 0;
}

void hmmdrm_frames_exit(struct hmmdrm_device *hd)
{
	memunmap_pages(&hd->pagemap);
	release_mem_region(hd->resource->start, resource_size(hd->resource));
	vfree(hd->frames);
}

static bool promise(struct hmmdrm_device *hd, unsigned long pages)
{
	unsigned long flags;
	bool enough;

	spin_lock_irqsave(&hd->lock, flags);
	enough = hd->nr_free >= pages;
	if (enough)
		hd->nr_free -= pages;
	spin_unlock_irqrestore(&hd->lock, flags);
	return enough;
}

int hmmdrm_frames_reserve(struct hmmdrm_device *hd, unsigned long pages)
{
	if (pages > hd->nr_frames)
		return -ENOMEM;
	for (int in_vain = 0; !promise(hd, pages);) {
		if (hmmdrm_evict(hd, max_t(unsigned long, pages, EVICT_PAGES)))
			in_vain = 0; /* for others, if it was not enough */
		else if (++in_vain == EVICT_TRIES || fatal_signal_pending(current))
			return -ENOMEM;
		else
			schedule_timeout_killable(1);
	}
	return 0;
}

void hmmdrm_frames_unreserve(struct hmmdrm_device *hd, unsigned long pages)
{
	unsigned long flags;

	spin_lock_irqsave(&hd->lock, flags);
	hd->nr_free += pages;
	spin_unlock_irqrestore(&hd->lock, flags);
}

struct page *hmmdrm_frame_alloc(struct hmmdrm_device *hd)
{
	struct hmmdrm_frame *frame;
	unsigned long flags;
	struct page *page;

	spin_lock_irqsave(&hd->lock, flags);
	frame = list_first_entry(&hd->free, struct hmmdrm_frame, link);
	list_move_tail(&frame->link, &hd->lru);
	spin_unlock_irqrestore(&hd->lock, flags);
	page = page_of(hd, frame - hd->frames);
	hmmdrm_clear_flags(page, STALE_FLAGS);
	hmmdrm_page_init(page, &hd->pagemap);
	return page;
}

int hmmdrm_copy_to_device(struct page *dpage, struct page *spage)
{
	struct hmmdrm_device *hd = hmmdrm_frame_device(dpage);

	return hd->ops->copy_to_device(hd, frame_of(hd, dpage), spage);
}

int hmmdrm_copy_from_device(struct page *spage, struct page *dpage)
{
	struct hmmdrm_device *hd = hmmdrm_frame_device(dpage);

	return hd->ops->copy_from_device(hd, spage, frame_of(hd, dpage));
}

unsigned long hmmdrm_frame_pfn(struct page *dpage)
{
	struct hmmdrm_device *hd = hmmdrm_frame_device(dpage);

	return hd->ops->frame_pfn(hd, frame_of(hd, dpage));
}

struct list_head *hmmdrm_frame_rmap(struct page *dpage)
{
	struct hmmdrm_device *hd = hmmdrm_frame_device(dpage);

	return &hd->frames[frame_of(hd, dpage)].rmap;
}

/*
 * Nobody need hold the page: one without references is free, or will be as soon as frame_freed()
 * has the lock, and must stay where it is.
 */
void hmmdrm_frame_touch(struct page *dpage)
{
	struct hmmdrm_device *hd = hmmdrm_frame_device(dpage);
	unsigned long flags;

	spin_lock_irqsave(&hd->lock, flags);
	if (page_count(dpage))
		list_move_tail(&hd->frames[frame_of(hd, dpage)].link, &hd->lru);
	spin_unlock_irqrestore(&hd->lock, flags);
}

struct page *hmmdrm_frame_get_of(struct hmmdrm_device *hd, unsigned long frame,
				 struct mem_cgroup *memcg)
{
	struct page *page = page_of(hd, frame % hd->nr_frames);
	bool its;

	if (!get_page_unless_zero(page))
		return NULL;
	rcu_read_lock();
	its = folio_memcg(page_folio(page)) == memcg;
	rcu_read_unlock();
	if (its)
		return page;
	put_page(page);
	return NULL;
}

unsigned int hmmdrm_frames_oldest(struct hmmdrm_device *hd, unsigned long *pfn, unsigned int max)
{
	struct hmmdrm_frame *frame;
	unsigned long flags;
	unsigned int n = 0;

	spin_lock_irqsave(&hd->lock, flags);
	list_for_each_entry (frame, &hd->lru, link) {
		if (n == max)
			break;
		pfn[n++] = hd->first_pfn + (frame - hd->frames);
	}
	spin_unlock_irqrestore(&hd->lock, flags);
	return n;
}

unsigned long hmmdrm_frames_resident(struct hmmdrm_device *hd)
{
	return hd->nr_frames - READ_ONCE(hd->nr_free);
}

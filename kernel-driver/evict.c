// SPDX-License-Identifier: GPL-2.0
/* Frames go home by what the device knows of them, without anybody's addresses. */
#include <linux/highmem.h>
#include <linux/memcontrol.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include "hmmdrm.h"
#include "hmmfs/hmmfs.h"

#define EVICT_BATCH 16u
#define PATIENCE_MS 10000

/*
 * A frame whose page went home a moment ago, and that another one who wanted to evict it holds a
 * reference to. Its charge went with the page.
 */
static bool is_left(struct page *dpage)
{
	return !mem_cgroup_disabled() && !folio_memcg(page_folio(dpage));
}

static unsigned long home_page(struct hmmdrm_device *hd, unsigned long src)
{
	struct page *dpage = migrate_pfn_to_page(src), *spage;

	if (!dpage || !(src & MIGRATE_PFN_MIGRATE) || is_left(dpage))
		return 0;
	/* Now that it is locked: it may have become a file's. */
	if (!folio_test_anon(page_folio(dpage)))
		return 0;
	/* Not from what reclaim keeps for itself, where this may be called from. */
	spage = alloc_page(GFP_HIGHUSER_MOVABLE | __GFP_NOMEMALLOC | __GFP_NOWARN);
	if (!spage)
		return 0;
	lock_page(spage);
	if (hmmdrm_copy_from_device(spage, dpage)) {
		unlock_page(spage);
		put_page(spage);
		return 0;
	}
	hmmdrm_count(hd, HMMDRM_EVICTED, 1);
	return migrate_pfn(page_to_pfn(spage));
}

/* A guess without a lock; hmmfs looks again. */
static bool is_file_frame(unsigned long pfn)
{
	struct folio *folio = page_folio(pfn_to_page(pfn));

	return READ_ONCE(folio->mapping) && !folio_test_anon(folio);
}

static unsigned long evict_pages(struct hmmdrm_device *hd, const unsigned long *pfn, unsigned int n)
{
	unsigned long src[EVICT_BATCH], dst[EVICT_BATCH], gone = 0;

	for (unsigned int i = 0; i < n; i++) {
		src[i] = dst[i] = 0;
		if (is_file_frame(pfn[i])) {
			if (!hmmfs_evict_frame(pfn_to_page(pfn[i]))) {
				hmmdrm_count(hd, HMMDRM_EVICTED, 1);
				gone++;
			}
			continue;
		}
		migrate_device_range(&src[i], pfn[i], 1);
		dst[i] = home_page(hd, src[i]);
	}
	migrate_device_pages(src, dst, n);
	for (unsigned int i = 0; i < n; i++) {
		bool went = dst[i] && (src[i] & MIGRATE_PFN_MIGRATE);

		gone += went;
		migrate_device_finalize(&src[i], &dst[i], 1);
		/* Who is busy is tried last the next time. */
		if (!went)
			hmmdrm_frame_touch(pfn_to_page(pfn[i]));
	}
	return gone;
}

static unsigned long evict_batch(struct hmmdrm_device *hd, unsigned int max)
{
	unsigned long pfn[EVICT_BATCH];

	return evict_pages(hd, pfn, hmmdrm_frames_oldest(hd, pfn, min(max, EVICT_BATCH)));
}

/* Once around at most, from where the last one stopped: there is no LRU for each group. */
unsigned long hmmdrm_evict_group(struct hmmdrm_device *hd, struct mem_cgroup *memcg,
				 unsigned long pages, bool files)
{
	unsigned long pfn[EVICT_BATCH], hand = READ_ONCE(hd->hand), gone = 0;

	for (unsigned long left = hd->nr_frames; left && gone < pages;) {
		unsigned int n = 0;

		for (; left && n < EVICT_BATCH; left--) {
			struct page *page = hmmdrm_frame_get_of(hd, hand++, memcg);

			if (!page)
				continue;
			/* Nor is writeback waited for, which may wait for memory. */
			if (!is_file_frame(page_to_pfn(page)) ||
			    (files && !folio_test_writeback(page_folio(page))))
				pfn[n++] = page_to_pfn(page);
			put_page(page);
		}
		gone += evict_pages(hd, pfn, n);
		cond_resched();
	}
	WRITE_ONCE(hd->hand, hand % hd->nr_frames);
	return gone;
}

unsigned long hmmdrm_evict(struct hmmdrm_device *hd, unsigned long pages)
{
	unsigned long gone = 0;

	for (unsigned long tried = 0; gone < pages && tried < 2 * pages; tried += EVICT_BATCH) {
		gone += evict_batch(hd, min_t(unsigned long, pages - gone, EVICT_BATCH));
		cond_resched();
	}
	return gone;
}

/* No client is left to bring anything here. */
void hmmdrm_evict_all(void)
{
	for (unsigned int i = 0; i < hmmdrm_devices; i++) {
		struct hmmdrm_device *hd = hmmdrm_device_get(i);
		unsigned long until = jiffies + msecs_to_jiffies(PATIENCE_MS);

		while (hmmdrm_frames_resident(hd) && time_before(jiffies, until))
			if (!hmmdrm_evict(hd, hd->nr_frames))
				schedule_timeout_uninterruptible(1);
		if (hmmdrm_frames_resident(hd))
			pr_warn("hmm_drm: device %u keeps %lu pages\n", i,
				hmmdrm_frames_resident(hd));
	}
}

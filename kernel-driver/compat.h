/* SPDX-License-Identifier: GPL-2.0 */
/* What differs between the kernels that are built against; nothing else asks for a version. */
#ifndef HMMDRM_COMPAT_H
#define HMMDRM_COMPAT_H

#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/page_table_check.h>
#include <linux/rmap.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 14, 0)
#define HMMDRM_DRIVER_DATE .date = "20261121",
#else
#define HMMDRM_DRIVER_DATE
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 14, 0)
static inline struct dev_pagemap *hmmdrm_pgmap(const struct page *page)
{
	return page->pgmap;
}
#else
static inline struct dev_pagemap *hmmdrm_pgmap(const struct page *page)
{
	return page_pgmap(page);
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 19, 0)
#define HMMDRM_PAGE_FREE(fn) .page_free = (fn)
typedef struct page hmmdrm_freed_t;
static inline struct page *hmmdrm_freed_page(hmmdrm_freed_t *page)
{
	return page;
}

static inline void hmmdrm_page_init(struct page *page, struct dev_pagemap *pgmap)
{
	zone_device_page_init(page);
}
#else
#define HMMDRM_PAGE_FREE(fn) .folio_free = (fn)
typedef struct folio hmmdrm_freed_t;
static inline struct page *hmmdrm_freed_page(hmmdrm_freed_t *folio)
{
	return &folio->page;
}

static inline void hmmdrm_page_init(struct page *page, struct dev_pagemap *pgmap)
{
	zone_device_page_init(page, pgmap, 0);
}
#endif

/* Fills empty places of @page; how many are full then. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 14, 0)
#define hmmdrm_alloc_pages(gfp, n, page) alloc_pages_bulk_array(gfp, n, page)
#else
#define hmmdrm_alloc_pages(gfp, n, page) alloc_pages_bulk(gfp, n, page)
#endif

/* Does the kernel stop for a page of a process that two have writable entries of? */
static inline bool hmmdrm_counts_writers(void)
{
#ifdef CONFIG_PAGE_TABLE_CHECK
	return !static_branch_likely(&page_table_check_disabled);
#else
	return false;
#endif
}

/* Locking: none; nobody else has the page. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 18, 0)
static inline void hmmdrm_clear_flags(struct page *page, unsigned long flags)
{
	page->flags &= ~flags;
}
#else
static inline void hmmdrm_clear_flags(struct page *page, unsigned long flags)
{
	page->flags.f &= ~flags;
}
#endif

/*
 * hmmdrm_make_exclusive(): one page for a device alone: locked and referenced. 0 or -errno. Only if
 * hmmdrm_can_take() it: for a part of a huge page the older takes all of it, or nothing.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0)
static inline bool hmmdrm_can_take(struct page *page)
{
	return !folio_test_large(page_folio(page));
}

static inline int hmmdrm_make_exclusive(struct mm_struct *mm, unsigned long addr, void *owner,
					struct page **page)
{
	int n;

	*page = NULL;
	n = make_device_exclusive_range(mm, addr, addr + PAGE_SIZE, page, owner);
	return n == 1 && *page ? 0 : n < 0 ? n : -EBUSY;
}
#else
static inline bool hmmdrm_can_take(struct page *page)
{
	return true;
}

static inline int hmmdrm_make_exclusive(struct mm_struct *mm, unsigned long addr, void *owner,
					struct page **page)
{
	struct folio *folio;
	struct page *got = make_device_exclusive(mm, addr, owner, &folio);

	*page = IS_ERR(got) ? NULL : got;
	return PTR_ERR_OR_ZERO(got);
}
#endif

#endif /* HMMDRM_COMPAT_H */

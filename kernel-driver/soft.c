// SPDX-License-Identifier: GPL-2.0
/* A device in software: its memory is RAM that only engines map. */
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/vmalloc.h>

#include "hmmdrm.h"

static void soft_exit(struct hmmdrm_device *hd)
{
	struct page **ram = hd->provider;

	for (unsigned long i = 0; ram && i < hd->nr_frames; i++)
		if (ram[i])
			__free_page(ram[i]);
	vfree(ram);
	hd->provider = NULL;
}

static int soft_init(struct hmmdrm_device *hd)
{
	struct page **ram = vcalloc(hd->nr_frames, sizeof(*ram));

	if (!ram)
		return -ENOMEM;
	hd->provider = ram;
	for (unsigned long i = 0; i < hd->nr_frames; i++) {
		ram[i] = alloc_page(GFP_HIGHUSER | __GFP_ZERO);
		if (!ram[i]) {
			soft_exit(hd);
			return -ENOMEM;
		}
		cond_resched();
	}
	return 0;
}

static int soft_copy_to_device(struct hmmdrm_device *hd, unsigned long frame, struct page *spage)
{
	struct page **ram = hd->provider;

	if (spage)
		copy_highpage(ram[frame], spage);
	else
		clear_highpage(ram[frame]);
	return 0;
}

static int soft_copy_from_device(struct hmmdrm_device *hd, struct page *spage, unsigned long frame)
{
	struct page **ram = hd->provider;

	copy_highpage(spage, ram[frame]);
	return 0;
}

static unsigned long soft_frame_pfn(struct hmmdrm_device *hd, unsigned long frame)
{
	struct page **ram = hd->provider;

	return page_to_pfn(ram[frame]);
}

const struct hmmdrm_device_ops hmmdrm_soft_ops = {
	.init = soft_init,
	.exit = soft_exit,
	.copy_to_device = soft_copy_to_device,
	.copy_from_device = soft_copy_from_device,
	.frame_pfn = soft_frame_pfn,
};

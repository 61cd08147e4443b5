/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a device must be able to do. Frames are numbered from 0; a struct page stands for
 * each, but only frame.c knows which. All may sleep, except frame_pfn().
 */
#ifndef HMMDRM_PROVIDER_H
#define HMMDRM_PROVIDER_H

struct hmmdrm_device;
struct page;

struct hmmdrm_device_ops {
	/* Make hd->nr_frames frames of device memory; 0 or -errno. */
	int (*init)(struct hmmdrm_device *hd);
	void (*exit)(struct hmmdrm_device *hd);
	/* One page each way. @spage NULL: zeros. */
	int (*copy_to_device)(struct hmmdrm_device *hd, unsigned long frame, struct page *spage);
	int (*copy_from_device)(struct hmmdrm_device *hd, struct page *spage, unsigned long frame);
	/* What an engine's page table entry of the frame holds. */
	unsigned long (*frame_pfn)(struct hmmdrm_device *hd, unsigned long frame);
};

extern const struct hmmdrm_device_ops hmmdrm_soft_ops;

#endif /* HMMDRM_PROVIDER_H */

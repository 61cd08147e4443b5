// SPDX-License-Identifier: GPL-2.0
/* The devices of the module. */
#include <linux/sizes.h>
#include <linux/slab.h>

#include "hmmdrm.h"

unsigned int hmmdrm_devices;
static struct hmmdrm_device *device[HMMDRM_MAX_DEVICES];

struct hmmdrm_device *hmmdrm_device_get(unsigned int index)
{
	return index < hmmdrm_devices ? device[index] : NULL;
}

static int device_add(unsigned long bytes)
{
	struct hmmdrm_device *hd = kzalloc(sizeof(*hd), GFP_KERNEL);
	int err;

	if (!hd)
		return -ENOMEM;
	hd->index = hmmdrm_devices;
	hd->ops = &hmmdrm_soft_ops;
	hd->nr_frames = bytes >> PAGE_SHIFT;
	err = hd->ops->init(hd);
	if (err)
		goto free;
	err = hmmdrm_frames_init(hd);
	if (err)
		goto exit;
	device[hmmdrm_devices++] = hd;
	return 0;
exit:
	hd->ops->exit(hd);
free:
	kfree(hd);
	return err;
}

int hmmdrm_devices_init(unsigned int devices, unsigned long bytes)
{
	int err = 0;

	/* The kernel maps struct pages for no less than 2 MiB. */
	if (!devices || devices > HMMDRM_MAX_DEVICES || !bytes || bytes % SZ_2M)
		return -EINVAL;
	while (!err && hmmdrm_devices < devices)
		err = device_add(bytes);
	if (err)
		hmmdrm_devices_exit();
	return err;
}

void hmmdrm_devices_exit(void)
{
	while (hmmdrm_devices) {
		struct hmmdrm_device *hd = device[--hmmdrm_devices];

		hmmdrm_frames_exit(hd);
		hd->ops->exit(hd);
		kfree(hd);
	}
}

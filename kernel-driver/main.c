// SPDX-License-Identifier: GPL-2.0
/* The module: one render node for all of its devices. */
#include <drm/drm_drv.h>
#include <drm/drm_file.h>
#include <drm/drm_ioctl.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/sizes.h>

#include "compat.h"
#include "hmmdrm.h"
#include "hmmfs/hmmfs.h"

static unsigned int devices = 1;
module_param(devices, uint, 0444);
MODULE_PARM_DESC(devices, "how many devices in software (1)");

static unsigned long mib = 64;
module_param(mib, ulong, 0444);
MODULE_PARM_DESC(mib, "memory of each, in MiB (64)");

#ifdef HMMDRM_SELFTEST
unsigned int hmmdrm_skip_fence;
module_param_named(skip_fence, hmmdrm_skip_fence, uint, 0644);
MODULE_PARM_DESC(skip_fence, "fences to leave out, a mask: what tests must notice");
#endif

static const struct file_operations fops = {
	.owner = THIS_MODULE,
	.open = drm_open,
	.release = drm_release,
	.unlocked_ioctl = drm_ioctl,
	.compat_ioctl = drm_compat_ioctl,
	.poll = drm_poll,
	.read = drm_read,
	.llseek = noop_llseek,
	.fop_flags = FOP_UNSIGNED_OFFSET,
};

static struct drm_driver driver = {
	.driver_features = DRIVER_RENDER,
	.name = "hmm",
	.desc = "heterogeneous memory migration",
	HMMDRM_DRIVER_DATE.major = 1,
	.minor = 0,
	.fops = &fops,
	.open = hmmdrm_client_open,
	.postclose = hmmdrm_client_postclose,
	.ioctls = hmmdrm_ioctls,
};

static struct platform_device *platform;
static struct drm_device *drm;

static int register_node(void)
{
	int err;

	platform = platform_device_register_simple("hmm_drm", PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(platform))
		return PTR_ERR(platform);
	driver.num_ioctls = hmmdrm_nr_ioctls;
	drm = drm_dev_alloc(&driver, &platform->dev);
	if (IS_ERR(drm)) {
		err = PTR_ERR(drm);
		goto platform;
	}
	err = drm_dev_register(drm, 0);
	if (!err)
		return 0;
	drm_dev_put(drm);
platform:
	platform_device_unregister(platform);
	return err;
}

static int __init hmmdrm_init(void)
{
	int err;

	if (mib > (ULONG_MAX / SZ_1M))
		return -EINVAL;
	err = hmmdrm_devices_init(devices, mib * SZ_1M);
	if (err)
		return err;
	err = hmmdrm_pressure_init();
	if (err)
		goto devices;
	err = hmmfs_init();
	if (err)
		goto pressure;
	err = register_node();
	if (!err)
		return 0;
	hmmfs_exit();
pressure:
	hmmdrm_pressure_exit();
devices:
	hmmdrm_devices_exit();
	return err;
}

/* Nobody has the node open or hmmfs mounted, so the last close has brought everything home. */
static void __exit hmmdrm_exit(void)
{
	drm_dev_unregister(drm);
	drm_dev_put(drm);
	platform_device_unregister(platform);
	hmmfs_exit();
	hmmdrm_pressure_exit();
	hmmdrm_evict_all();
	hmmdrm_devices_exit();
}

module_init(hmmdrm_init);
module_exit(hmmdrm_exit);
MODULE_DESCRIPTION("Heterogeneous memory migration");
MODULE_LICENSE("GPL");

// SPDX-License-Identifier: GPL-2.0
/*
 * Gives the kernel memory that the firmware did not tell it of, as a driver of memory devices
 * does: from when it is loaded until it is unloaded.
 */
#include <linux/memory_hotplug.h>
#include <linux/module.h>

static unsigned long start, size;
static int node;
module_param(start, ulong, 0444);
module_param(size, ulong, 0444);
module_param(node, int, 0444);
MODULE_PARM_DESC(start, "physical address");
MODULE_PARM_DESC(size, "bytes, whole blocks of memory");
MODULE_PARM_DESC(node, "NUMA node that it belongs to");

static int __init hotplug_init(void)
{
	int err = add_memory(node, start, size, MHP_NONE);

	/* The loader of newer kernels keeps -EEXIST for a module that is there. */
	return err == -EEXIST ? -EADDRINUSE : err;
}

static void __exit hotplug_exit(void)
{
	int err = remove_memory(start, size);

	if (err)
		pr_err("hotplug: the memory stays: %d\n", err);
}

module_init(hotplug_init);
module_exit(hotplug_exit);
MODULE_DESCRIPTION("Memory that comes and goes");
MODULE_LICENSE("GPL");

// SPDX-License-Identifier: GPL-2.0
/*
 * One mistake of each kind that the tests in the virtual machine are to notice; the parameter
 * says which one loading this makes.
 */
#include <linux/bug.h>
#include <linux/irqflags.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/string.h>

static char *what = "warn";
module_param(what, charp, 0444);
MODULE_PARM_DESC(what, "warn, leak, lockorder, freed or wedge");

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);

static void leak(void)
{
	int i;

	/* Several, since a stale pointer to one may be left on a stack. */
	for (i = 0; i < 16; i++)
		if (!kmalloc(128, GFP_KERNEL))
			return;
}

static void lock_order(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);
	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
}

static void use_freed(void)
{
	char *bytes = kmalloc(64, GFP_KERNEL);

	if (!bytes)
		return;
	OPTIMIZER_HIDE_VAR(bytes);
	kfree(bytes);
	WRITE_ONCE(bytes[8], 1);
}

static void spin(void *unused)
{
	local_irq_disable();
	for (;;)
		cpu_relax();
}

static int __init selftest_init(void)
{
	if (!strcmp(what, "warn"))
		WARN_ON(1);
	else if (!strcmp(what, "leak"))
		leak();
	else if (!strcmp(what, "lockorder"))
		lock_order();
	else if (!strcmp(what, "freed"))
		use_freed();
	else if (!strcmp(what, "wedge"))
		on_each_cpu(spin, NULL, 0);
	else
		return -EINVAL;
	return 0;
}

static void __exit selftest_exit(void)
{
}

module_init(selftest_init);
module_exit(selftest_exit);
MODULE_DESCRIPTION("Mistakes on request");
MODULE_LICENSE("GPL");

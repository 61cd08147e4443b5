// SPDX-License-Identifier: GPL-2.0
/* Warns when it is loaded, so that the tests can be seen to notice. */
#include <linux/bug.h>
#include <linux/module.h>

static int __init selftest_init(void)
{
	WARN_ON(1);
	return 0;
}

static void __exit selftest_exit(void)
{
}

module_init(selftest_init);
module_exit(selftest_exit);
MODULE_DESCRIPTION("A warning");
MODULE_LICENSE("GPL");

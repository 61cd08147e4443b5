// SPDX-License-Identifier: MIT
/* Launches whose arguments are not of the kind that the kernel has: refused, and no harm done. */
#include "file/kernel.h"

#include <CL/cl.h>
#include <CUnit/Basic.h>

static struct hmm *h;
static char at[64];

/* Sent: a pointer and two ints. */
static int launch(const char *source)
{
	struct kernel k;

	CU_ASSERT_EQUAL_FATAL(kernel_open(&k, h, 0, source, "f"), 0);
	return kernel_run(&k, 1, at, 1, 2);
}

static void test_kinds(void)
{
	struct hmm_device_info before, after;

	CU_ASSERT_EQUAL_FATAL(hmm_device_info(h, 0, &before), 0);
	CU_ASSERT_EQUAL(launch("kernel void f(global char *p, int a, int b) { *p = a + b; }"), 0);
	CU_ASSERT_EQUAL(at[0], 3);
	CU_ASSERT_EQUAL(launch("kernel void f(ulong p, int a, int b) { }"), CL_INVALID_ARG_VALUE);
	CU_ASSERT_EQUAL(launch("kernel void f(local int *p, int a, int b) { *p = a + b; }"),
			CL_INVALID_ARG_VALUE);
	CU_ASSERT_EQUAL(launch("kernel void f(global int *p, global int *q, int b) { *p = *q; }"),
			CL_INVALID_ARG_VALUE);
	CU_ASSERT_EQUAL(launch("kernel void f(global int *p, int a, local int *q) { *q = *p; }"),
			CL_INVALID_ARG_VALUE);
	CU_ASSERT_EQUAL_FATAL(hmm_device_info(h, 0, &after), 0);
	CU_ASSERT_EQUAL(before.engine_pid, after.engine_pid);
}

int main(void)
{
	unsigned int failed;

	if (hmm_open(&h, NULL) || CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	CU_add_test(CU_add_suite("kinds", NULL, NULL), "kinds of arguments", test_kinds);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	hmm_close(h);
	return failed ? 1 : 0;
}

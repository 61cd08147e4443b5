// SPDX-License-Identifier: MIT
/* The engine's check of requests: good ones pass, damaged and random ones do not crash. */
#include "engine/cl_wire.h"

#include <CUnit/Basic.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 200000

static uint32_t make_launch(char *to)
{
	struct cl_wire_launch l = { .kernel = 1, .dims = 1, .n_args = 2, .global = { 8, 1, 1 } };
	struct cl_wire_arg pointer = { CL_WIRE_ARG_POINTER, 0, 0x1000 };
	struct cl_wire_arg value = { CL_WIRE_ARG_VALUE, 5, 0 };

	memcpy(to, &l, sizeof(l));
	memcpy(to + sizeof(l), &pointer, sizeof(pointer));
	memcpy(to + sizeof(l) + sizeof(pointer), &value, sizeof(value));
	memset(to + sizeof(l) + 2 * sizeof(value), 0, 8);
	return sizeof(l) + 2 * sizeof(value) + 8;
}

static void test_launch(void)
{
	_Alignas(8) char m[512];
	uint32_t n = make_launch(m);
	struct cl_wire_launch *l = (void *)m;

	CU_ASSERT_EQUAL(cl_wire_check(CL_WIRE_LAUNCH, m, n), 0);
	for (uint32_t i = 0; i < n; i++)
		CU_ASSERT_NOT_EQUAL(cl_wire_check(CL_WIRE_LAUNCH, m, i), 0);
	CU_ASSERT_NOT_EQUAL(cl_wire_check(CL_WIRE_LAUNCH, m, n + 8), 0);
	/* Several, of which each is looked at. */
	CU_ASSERT_EQUAL(make_launch(m + n), n);
	CU_ASSERT_EQUAL(cl_wire_check(CL_WIRE_LAUNCH, m, 2 * n), 0);
	for (uint32_t i = n + 1; i < 2 * n; i++)
		CU_ASSERT_NOT_EQUAL(cl_wire_check(CL_WIRE_LAUNCH, m, i), 0);
	((struct cl_wire_launch *)(void *)(m + n))->dims = 0;
	CU_ASSERT_NOT_EQUAL(cl_wire_check(CL_WIRE_LAUNCH, m, 2 * n), 0);
	l->n_args = UINT32_MAX;
	CU_ASSERT_NOT_EQUAL(cl_wire_check(CL_WIRE_LAUNCH, m, n), 0);
	l->n_args = 2;
	l->dims = 4;
	CU_ASSERT_NOT_EQUAL(cl_wire_check(CL_WIRE_LAUNCH, m, n), 0);
	l->dims = 1;
	l->flags = CL_WIRE_HAS_LOCAL; /* but it is zero */
	CU_ASSERT_NOT_EQUAL(cl_wire_check(CL_WIRE_LAUNCH, m, n), 0);
}

static void test_strings(void)
{
	struct {
		struct cl_wire_build b;
		char text[8];
	} build = { { 4, 4, 0, 0 }, "-DX=1234" };
	struct {
		struct cl_wire_kernel k;
		char name[4];
	} kernel = { { 1, 4 }, "name" };

	CU_ASSERT_EQUAL(cl_wire_check(CL_WIRE_BUILD, &build, sizeof(build)), 0);
	build.b = (struct cl_wire_build){ 2, 2, 4, 0 };
	CU_ASSERT_EQUAL(cl_wire_check(CL_WIRE_BUILD, &build, sizeof(build)), 0);
	build.b.folder_length = 3;
	CU_ASSERT_NOT_EQUAL(cl_wire_check(CL_WIRE_BUILD, &build, sizeof(build)), 0);
	build.b.folder_length = 4;
	build.text[6] = 0;
	CU_ASSERT_NOT_EQUAL(cl_wire_check(CL_WIRE_BUILD, &build, sizeof(build)), 0);
	build.b = (struct cl_wire_build){ UINT32_MAX, 9, 0, 0 };
	CU_ASSERT_NOT_EQUAL(cl_wire_check(CL_WIRE_BUILD, &build, sizeof(build)), 0);
	CU_ASSERT_EQUAL(cl_wire_check(CL_WIRE_KERNEL, &kernel, sizeof(kernel)), 0);
	kernel.name[1] = 0;
	CU_ASSERT_NOT_EQUAL(cl_wire_check(CL_WIRE_KERNEL, &kernel, sizeof(kernel)), 0);
	kernel.k.name_length = UINT32_MAX;
	CU_ASSERT_NOT_EQUAL(cl_wire_check(CL_WIRE_KERNEL, &kernel, sizeof(kernel)), 0);
	CU_ASSERT_NOT_EQUAL(cl_wire_check(99, &kernel, sizeof(kernel)), 0);
	CU_ASSERT_NOT_EQUAL(cl_wire_check(CL_WIRE_RELEASE, &kernel, 4), 0);
}

/* Payloads stand at the end of their allocation, so that a sanitizer sees each overrun. */
static void test_noise(void)
{
	unsigned int accepted = 0;

	srand(1);
	for (int i = 0; i < ROUNDS; i++) {
		_Alignas(8) char m[512];
		uint32_t n = make_launch(m);
		char *exact;

		for (int flips = rand() % 4; flips >= 0; flips--)
			m[rand() % (int)n] = (char)rand();
		n = (uint32_t)rand() % (n + 1);
		exact = malloc(n ? n : 1);
		memcpy(exact, m, n);
		for (uint32_t op = 0; op < 8; op++)
			accepted += !cl_wire_check(op, exact, n);
		free(exact);
	}
	CU_ASSERT(accepted > 0 && accepted < ROUNDS);
}

int main(void)
{
	CU_pSuite s;
	unsigned int failed;

	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	s = CU_add_suite("wire", NULL, NULL);
	CU_add_test(s, "launches", test_launch);
	CU_add_test(s, "strings", test_strings);
	CU_add_test(s, "noise", test_noise);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed ? 1 : 0;
}

// SPDX-License-Identifier: MIT
/*
 * What the engine accepts from its control socket, against a second opinion that is
 * written differently: per bit, per boundary, and with noise.
 */
#include "engine/engine.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const struct engine_range windows[] = {
	{ 0x10000, 0x2ac000000000 },
	{ 0x2bc000000000, 0x7ffc00000000 },
	{ 0x7ffc00021000, 0x7ffffffff000 },
};
#define N_WINDOWS (sizeof(windows) / sizeof(windows[0]))

static const struct hmm_engine_msg valid = {
	.magic = HMM_ENGINE_MAGIC,
	.op = HMM_ENGINE_MAP_FILE,
	.start = 0x7f0000000000,
	.length = 0x200000,
	.offset = 0x1000,
	.prot = PROT_READ | PROT_WRITE,
};

static int check(const struct hmm_engine_msg *m, bool has_fd)
{
	return engine_check_msg(m, sizeof(*m), has_fd, windows, N_WINDOWS);
}

/* Sums that cannot wrap. */
static bool good_range(const struct hmm_engine_msg *m)
{
	unsigned __int128 end = (unsigned __int128)m->start + m->length;

	if (m->start % 4096 || m->length % 4096 || m->offset % 4096 || end == m->start)
		return false;
	for (size_t i = 0; i < N_WINDOWS; i++)
		if (m->start >= windows[i].start && end <= windows[i].end)
			return true;
	return false;
}

static bool acceptable(const struct hmm_engine_msg *m, bool has_fd)
{
	if (m->magic != HMM_ENGINE_MAGIC)
		return false;
	if (m->op == HMM_ENGINE_CONNECT)
		return has_fd;
	if (m->op == HMM_ENGINE_QUIT)
		return !has_fd;
	if (m->op == HMM_ENGINE_UNMAP_FILE)
		return !has_fd && good_range(m);
	return m->op == HMM_ENGINE_MAP_FILE && has_fd && good_range(m) &&
	       (m->prot == PROT_READ || m->prot == (PROT_READ | PROT_WRITE));
}

static bool agrees(const struct hmm_engine_msg *m, bool has_fd)
{
	return check(m, has_fd) == (acceptable(m, has_fd) ? 0 : -EINVAL);
}

static void test_operations(void)
{
	struct hmm_engine_msg m = valid;

	for (uint32_t op = 0; op < 1000; op++) {
		m.op = op;
		CU_ASSERT(agrees(&m, true) && agrees(&m, false));
	}
	m.op = UINT32_MAX;
	CU_ASSERT_EQUAL(check(&m, true), -EINVAL);
}

static void test_bit_flips(void)
{
	struct hmm_engine_msg m;

	for (size_t bit = 0; bit < 8 * sizeof(m); bit++) {
		m = valid;
		((unsigned char *)&m)[bit / 8] ^= (unsigned char)(1u << bit % 8);
		CU_ASSERT(agrees(&m, true) && agrees(&m, false));
	}
}

static void test_boundaries(void)
{
	uint64_t edge[16 * N_WINDOWS + 8];
	struct hmm_engine_msg m = valid;
	size_t n = 0;

	for (size_t i = 0; i < N_WINDOWS; i++)
		for (int d = -1; d <= 1; d++) {
			edge[n++] = windows[i].start + (uint64_t)d * 4096;
			edge[n++] = windows[i].end + (uint64_t)d * 4096;
			edge[n++] = windows[i].end - windows[i].start + (uint64_t)d * 4096;
			edge[n++] = windows[i].start + (uint64_t)d;
		}
	edge[n++] = 0;
	edge[n++] = 4096;
	edge[n++] = UINT64_MAX;
	edge[n++] = UINT64_MAX - 4095;
	edge[n++] = 1ul << 63;
	for (size_t s = 0; s < n; s++)
		for (size_t l = 0; l < n; l++) {
			m.start = edge[s];
			m.length = edge[l];
			if (!agrees(&m, true))
				CU_FAIL("a range at the edge");
			m.length = edge[l] - edge[s];
			if (!agrees(&m, true))
				CU_FAIL("a range from edge to edge");
		}
	CU_PASS("edges");
}

/* A short message is all there is: nothing behind it may be looked at. */
static void test_sizes(void)
{
	char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CU_ASSERT_FATAL(p != MAP_FAILED && !mprotect(p + 4096, 4096, PROT_NONE));
	for (size_t size = 0; size < sizeof(valid); size++) {
		char *at = p + 4096 - size;

		memcpy(at, &valid, size);
		CU_ASSERT_EQUAL(engine_check_msg((struct hmm_engine_msg *)(void *)at, size, true,
						 windows, N_WINDOWS),
				-EINVAL);
	}
	for (size_t size = sizeof(valid) + 1; size < 300; size++)
		CU_ASSERT_EQUAL(engine_check_msg(&valid, size, true, windows, N_WINDOWS), -EINVAL);
	CU_ASSERT_EQUAL(engine_check_msg(&valid, SIZE_MAX, true, windows, N_WINDOWS), -EINVAL);
	CU_ASSERT_EQUAL(engine_check_msg(&valid, sizeof(valid), true, windows, 0), -EINVAL);
	CU_ASSERT_EQUAL(check(&valid, true), 0);
	munmap(p, 8192);
}

/* Noise alone is always refused, so most of it wears a good head and whole pages. */
static void test_noise(void)
{
	struct hmm_engine_msg m;
	unsigned long accepted = 0, wrong = 0;

	srand(7);
	for (unsigned long i = 0; i < 2000000; i++) {
		for (size_t n = 0; n < sizeof(m); n++)
			((unsigned char *)&m)[n] = (unsigned char)(rand() >> 7);
		if (i % 8)
			m.magic = HMM_ENGINE_MAGIC;
		if (i % 4)
			m.op = (uint32_t)rand() % 8;
		if (i % 2) {
			m.start &= 0x7ffffffff000;
			m.length &= 0xfffffff000;
			m.offset &= ~4095ul;
			m.prot &= 7;
		}
		accepted += !check(&m, i % 3 == 0);
		wrong += !agrees(&m, i % 3 == 0);
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT(accepted > 10000); /* or the noise showed nothing */
}

int main(void)
{
	unsigned int failures;
	CU_pSuite s;

	CU_initialize_registry();
	s = CU_add_suite("wire", NULL, NULL);
	CU_add_test(s, "every operation", test_operations);
	CU_add_test(s, "every bit of a valid message", test_bit_flips);
	CU_add_test(s, "edges of windows", test_boundaries);
	CU_add_test(s, "every size", test_sizes);
	CU_add_test(s, "noise", test_noise);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failures ? 1 : 0;
}

// SPDX-License-Identifier: MIT
/* fuzz [CALLS]: each wrong argument by itself, random ones, and other processes' calls. */
#include "fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define KERNEL 0xffff888000000000ul /* an address of the kernel's */

unsigned long fuzz_calls = 100000;

int call(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg) ? -errno : 0;
}

static int do_migrate(uint64_t addr, uint64_t length, int32_t target, uint32_t flags)
{
	struct drm_hmm_migrate m = { addr, length, target, flags, 0 };

	return call(node, DRM_IOCTL_HMM_MIGRATE, &m);
}

static int do_pages(uint64_t addr, uint64_t pages, void *to, uint32_t entry_bytes, uint32_t flags)
{
	struct drm_hmm_pages p = { addr, pages, (uintptr_t)to, entry_bytes, flags };

	return call(node, DRM_IOCTL_HMM_PAGES, &p);
}

static void wrong_queries(void)
{
	struct drm_hmm_query q = { .device = 2 };
	struct drm_hmm_stats s = { .device = 2 };

	CU_ASSERT_EQUAL(call(node, DRM_IOCTL_HMM_QUERY, &q), -ENODEV);
	CU_ASSERT_EQUAL(call(node, DRM_IOCTL_HMM_STATS, &s), -ENODEV);
	q.device = s.device = ~0u;
	CU_ASSERT_EQUAL(call(node, DRM_IOCTL_HMM_QUERY, &q), -ENODEV);
	CU_ASSERT_EQUAL(call(node, DRM_IOCTL_HMM_STATS, &s), -ENODEV);
	q = (struct drm_hmm_query){ .flags = 1 };
	CU_ASSERT_EQUAL(call(node, DRM_IOCTL_HMM_QUERY, &q), -EINVAL);
	q = (struct drm_hmm_query){ .pad = 1 };
	CU_ASSERT_EQUAL(call(node, DRM_IOCTL_HMM_QUERY, &q), -EINVAL);
	s = (struct drm_hmm_stats){ .flags = 1u << 31 };
	CU_ASSERT_EQUAL(call(node, DRM_IOCTL_HMM_STATS, &s), -EINVAL);
}

/* What every call shares: its number, its size, its pointer. */
static void wrong_calls(void)
{
	struct {
		struct drm_hmm_query q;
		char more[64];
	} grown = { { 0 }, "what a later version may have" };
	uint32_t small[2] = { 0, 0 };
	static const unsigned long all[] = { DRM_IOCTL_HMM_QUERY, DRM_IOCTL_HMM_MIGRATE,
					     DRM_IOCTL_HMM_PAGES, DRM_IOCTL_HMM_ENGINE_CREATE,
					     DRM_IOCTL_HMM_STATS };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		CU_ASSERT_EQUAL(call(node, all[i], NULL), -EFAULT);
		CU_ASSERT_EQUAL(call(node, all[i], (void *)KERNEL), -EFAULT);
		CU_ASSERT_EQUAL(call(node, all[i], (void *)~0ul), -EFAULT);
	}
	CU_ASSERT_EQUAL(call(node, DRM_IOWR(DRM_COMMAND_BASE + 5, small), small), -EINVAL);
	CU_ASSERT_EQUAL(call(node, DRM_IOWR(DRM_COMMAND_BASE + DRM_HMM_QUERY, grown), &grown), 0);
	CU_ASSERT_EQUAL(grown.q.abi, HMM_DRM_ABI);
	CU_ASSERT_STRING_EQUAL(grown.more, "what a later version may have");
	CU_ASSERT_EQUAL(call(node, DRM_IOWR(DRM_COMMAND_BASE + DRM_HMM_QUERY, small), small), 0);
	CU_ASSERT(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, node, 0) == MAP_FAILED &&
		  errno == ENODEV);
}

static void wrong_migrations(void)
{
	char *p = map_anonymous(2 * PAGE);
	uint64_t at = (uintptr_t)p;

	CU_ASSERT_EQUAL(do_migrate(at, 0, 0, 0), -EINVAL);
	CU_ASSERT_EQUAL(do_migrate(at, -at, 0, 0), -EINVAL); /* ends at 2^64 */
	CU_ASSERT_EQUAL(do_migrate(at, ~0ul, 0, 0), -EINVAL);
	CU_ASSERT_EQUAL(do_migrate(~0ul, 1, 0, 0), -EINVAL);
	CU_ASSERT_EQUAL(do_migrate(KERNEL, PAGE, 0, 0), -EFAULT);
	CU_ASSERT_EQUAL(do_migrate(1ul << 47, PAGE, 0, 0), -EFAULT);
	CU_ASSERT_EQUAL(do_migrate(0, PAGE, 0, 0), -EFAULT);
	CU_ASSERT_EQUAL(do_migrate(at, 1ul << 46, 0, 0), -EFAULT);
	CU_ASSERT_EQUAL(do_migrate(at, PAGE, 2, 0), -EINVAL);
	CU_ASSERT_EQUAL(do_migrate(at, PAGE, INT32_MAX, 0), -EINVAL);
	CU_ASSERT_EQUAL(do_migrate(at, PAGE, -2, 0), -EINVAL);
	CU_ASSERT_EQUAL(do_migrate(at, PAGE, INT32_MIN, 0), -EINVAL);
	CU_ASSERT_EQUAL(do_migrate(at, PAGE, 0, 1), -EINVAL);
	CU_ASSERT_EQUAL(do_migrate(at, PAGE, 0, 1u << 31), -EINVAL);
	/* One byte is a page, two bytes may be two. */
	CU_ASSERT_EQUAL(migrate(p + 5, 1, 0), 1);
	CU_ASSERT_EQUAL(migrate(p + PAGE - 1, 2, 1), 2);
	mprotect(p, PAGE, PROT_NONE);
	CU_ASSERT_EQUAL(do_migrate(at, PAGE, 0, 0), -EFAULT);
	munmap(p, 2 * PAGE);
	CU_ASSERT_EQUAL(do_migrate(at, PAGE, DRM_HMM_SYSTEM, 0), -EFAULT);
}

static void wrong_statuses(void)
{
	struct drm_hmm_page status[2] = { 0 };
	struct drm_hmm_page *constant = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1,
					     0);
	char *p = map_anonymous(PAGE);
	uint64_t at = (uintptr_t)p;

	p[0] = 1;
	CU_ASSERT_EQUAL(do_pages(at, 1, status, sizeof(status[0]), 0), 0);
	CU_ASSERT_EQUAL(do_pages(at, 0, status, sizeof(status[0]), 0), -EINVAL);
	CU_ASSERT_EQUAL(do_pages(at, ~0ul, status, sizeof(status[0]), 0), -EINVAL);
	CU_ASSERT_EQUAL(do_pages(at, 1ul << 52, status, sizeof(status[0]), 0), -EINVAL);
	CU_ASSERT_EQUAL(do_pages(at, 1ul << 34, status, sizeof(status[0]), 0), -EFAULT);
	CU_ASSERT_EQUAL(do_pages(KERNEL, 1, status, sizeof(status[0]), 0), -EFAULT);
	CU_ASSERT_EQUAL(do_pages(0, 1, status, sizeof(status[0]), 0), -EFAULT);
	CU_ASSERT_EQUAL(do_pages(at, 1, NULL, sizeof(status[0]), 0), -EFAULT);
	CU_ASSERT_EQUAL(do_pages(at, 1, (void *)KERNEL, sizeof(status[0]), 0), -EFAULT);
	CU_ASSERT_EQUAL(do_pages(at, 1, constant, sizeof(status[0]), 0), -EFAULT);
	CU_ASSERT_EQUAL(do_pages(at, 1, status, 0, 0), -EINVAL);
	CU_ASSERT_EQUAL(do_pages(at, 1, status, sizeof(status[0]) - 1, 0), -EINVAL);
	CU_ASSERT_EQUAL(do_pages(at, 1, status, ~0u, 0), -EINVAL);
	CU_ASSERT_EQUAL(do_pages(at, 1, status, sizeof(status[0]), 1), -EINVAL);
	/* What a later caller has more of is zero. */
	memset(status, 0xff, sizeof(status));
	CU_ASSERT_EQUAL(do_pages(at, 1, status, 2 * sizeof(status[0]), 0), 0);
	CU_ASSERT_EQUAL(status[0].location, DRM_HMM_SYSTEM);
	CU_ASSERT(!status[1].location && !status[1].node && !status[1].flags && !status[1].pad);
	munmap(p, PAGE);
	munmap(constant, PAGE);
}

static int do_create(uint32_t device, uint32_t flags, uint32_t pad)
{
	struct drm_hmm_engine_create c = { .device = device, .flags = flags, .pad = pad };
	int err = call(node, DRM_IOCTL_HMM_ENGINE_CREATE, &c);

	if (!err)
		close(c.fd);
	return err;
}

static void wrong_engines(void)
{
	CU_ASSERT_EQUAL(do_create(0, 0, 0), 0);
	CU_ASSERT_EQUAL(do_create(2, 0, 0), -ENODEV);
	CU_ASSERT_EQUAL(do_create(~0u, 0, 0), -ENODEV);
	CU_ASSERT_EQUAL(do_create(0, 1, 0), -EINVAL);
	CU_ASSERT_EQUAL(do_create(0, 0, 1), -EINVAL);
}

int main(int argc, char **argv)
{
	unsigned int failures;
	CU_pSuite s;

	if (argc > 2 && !strcmp(argv[1], "--after-exec"))
		return after_exec(atoi(argv[2]));
	if (argc > 1)
		fuzz_calls = strtoul(argv[1], NULL, 0);
	setvbuf(stdout, NULL, _IONBF, 0);
	if (client_open() || CU_initialize_registry())
		return 1;
	s = CU_add_suite("hostile callers", NULL, NULL);
	CU_add_test(s, "any call", wrong_calls);
	CU_add_test(s, "queries", wrong_queries);
	CU_add_test(s, "migrations", wrong_migrations);
	CU_add_test(s, "statuses", wrong_statuses);
	CU_add_test(s, "engines", wrong_engines);
	add_other_tests(s);
	add_random_tests(s);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failures || resident(0) || resident(1) ? 1 : 0;
}

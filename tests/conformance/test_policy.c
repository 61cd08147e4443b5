// SPDX-License-Identifier: MIT
/* HMM_MIGRATE: off, explicit, fault. Each in a child, for the first handle decides. */
#include "conformance/conf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* How the first open answers; on success the handle is h. */
static int open_with(const char *policy)
{
	setenv("HMM_MIGRATE", policy, 1);
	return hmm_open(&h, &options);
}

/* The kernel driver decides about faults itself, and says so. */
static bool is_refused(const char *policy)
{
	return options.backend && !strcmp(options.backend, "drm") &&
	       open_with(policy) == -EOPNOTSUPP;
}

static int device_reads(const char *p)
{
	char c = 0;
	long got = hmm_device_read(h, 0, p, &c, 1);

	return got == 1 ? c : (int)got;
}

static char *map_shared(int fd)
{
	char *p = MAP_FAILED;

	if (fd >= 0 && !ftruncate(fd, PAGE))
		p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

/* A page of a file, each byte @value. */
static char *map_file(char value)
{
	int fd = memfd_create("policy", MFD_CLOEXEC);
	void *p = NULL;

	if (fd < 0 || ftruncate(fd, PAGE) || pwrite(fd, &value, 1, 0) != 1 ||
	    hmm_map_file(h, fd, 0, PAGE, PROT_READ | PROT_WRITE, 0, &p))
		return NULL;
	close(fd);
	return p;
}

static int child_off(void *unused)
{
	static const char constant[] = "constant";
	char *p = map_pages(8 * PAGE, 7), *shared = map_shared(memfd_create("off", MFD_CLOEXEC));
	char *file;
	struct hmm_stats s = { .sz = sizeof(s) };

	(void)unused;
	if (is_refused("off"))
		return 0;
	if (!shared || open_with("off"))
		return 1;
	if (hmm_migrate(h, p, 8 * PAGE, 0, 0) || where(p) != HMM_SYSTEM)
		return 2;
	if (hmm_migrate(h, p, 8 * PAGE, HMM_SYSTEM, 0) != 8)
		return 3;
	if (device_reads(p) != -EFAULT || where(p) != HMM_SYSTEM)
		return 4;
	/* What the device can map or copy where it is, it does. */
	shared[0] = 9;
	if (device_reads(shared) != 9 || device_reads(constant) != 'c')
		return 5;
	file = map_file(5);
	if (!file || device_reads(file) != -EFAULT || hmm_migrate(h, file, PAGE, 0, 0) ||
	    file[0] != 5 || device_reads(file) != -EFAULT)
		return 8;
	munmap(p + PAGE, PAGE);
	if (hmm_migrate(h, p, 8 * PAGE, 0, 0) != -EFAULT)
		return 6;
	hmm_stats(h, -1, &s);
	hmm_close(h);
	return s.pages_to_device || !all_bytes(p, PAGE, 7) ? 7 : 0;
}

static int child_explicit(void *unused)
{
	char *p = map_pages(8 * PAGE, 7), *file;

	(void)unused;
	if (is_refused("explicit"))
		return 0;
	if (open_with("explicit"))
		return 1;
	if (device_reads(p) != -EFAULT || where(p) != HMM_SYSTEM)
		return 2;
	if (hmm_migrate(h, p, 4 * PAGE, 0, 0) != 4 || device_reads(p) != 7 || where(p) != 0)
		return 3;
	if (device_reads(p + 4 * PAGE) != -EFAULT || where(p + 4 * PAGE) != HMM_SYSTEM)
		return 4;
	p[0]++; /* the CPU has no other way */
	if (where(p) != HMM_SYSTEM || device_reads(p) != -EFAULT)
		return 5;
	file = map_file(5);
	if (!file || device_reads(file) != -EFAULT || hmm_migrate(h, file, PAGE, 0, 0) != 1 ||
	    device_reads(file) != 5)
		return 7;
	file[0]++;
	if (where(file) != HMM_SYSTEM || device_reads(file) != -EFAULT)
		return 8;
	hmm_close(h);
	return p[0] == 8 && all_bytes(p + 1, 8 * PAGE - 1, 7) ? 0 : 6;
}

static int child_fault(void *policy)
{
	char *p = map_pages(PAGE, 7);

	if (open_with(policy) || device_reads(p) != 7 || where(p) != 0)
		return 1;
	hmm_close(h);
	return 0;
}

static int child_nonsense(void *unused)
{
	(void)unused;
	return open_with("sometimes") == -EINVAL && open_with("OFF") == -EINVAL ? 0 : 1;
}

static void off(void)
{
	CU_ASSERT_EQUAL(in_child(child_off, NULL), 0);
}

static void explicit(void)
{
	CU_ASSERT_EQUAL(in_child(child_explicit, NULL), 0);
}

static void fault(void)
{
	CU_ASSERT_EQUAL(in_child(child_fault, "fault"), 0);
	CU_ASSERT_EQUAL(in_child(child_fault, ""), 0);
}

static void nonsense(void)
{
	CU_ASSERT_EQUAL(in_child(child_nonsense, NULL), 0);
}

void add_policy_suite(void)
{
	CU_pSuite s = CU_add_suite("HMM_MIGRATE", NULL, NULL);

	CU_add_test(s, "off", off);
	CU_add_test(s, "explicit", explicit);
	CU_add_test(s, "fault", fault);
	CU_add_test(s, "nonsense", nonsense);
}

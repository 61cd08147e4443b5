// SPDX-License-Identifier: MIT
/*
 * Anonymous pages on a device of the driver: life, death, and what a process does meanwhile.
 *
 *   anonymous [huge | turns]	huge pages only, or how two engines take turns with a pinned page
 */
#include "anonymous.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEVICE_BYTES (16 * MIB) /* as the module is loaded */

bool all(const char *p, size_t n, int value)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != (char)value)
			return false;
	return true;
}

static void query(void)
{
	struct drm_hmm_query q = { 0 };

	CU_ASSERT_EQUAL(ioctl(node, DRM_IOCTL_HMM_QUERY, &q), 0);
	CU_ASSERT_EQUAL(q.abi, HMM_DRM_ABI);
	CU_ASSERT_EQUAL(q.devices, 2);
	CU_ASSERT_EQUAL(q.bytes, DEVICE_BYTES);
	CU_ASSERT_EQUAL(q.resident, 0);
}

static void one_page(void)
{
	char *p = map_anonymous(PAGE);
	struct engine e;
	uint64_t value = 0;

	CU_ASSERT_EQUAL_FATAL(engine_start(&e, 0, p, PAGE), 0);
	p[5] = 42;
	CU_ASSERT_EQUAL(where(p), DRM_HMM_SYSTEM);
	CU_ASSERT_EQUAL(migrate(p, PAGE, 0), 1);
	CU_ASSERT_EQUAL(where(p), 0);
	CU_ASSERT_EQUAL(resident(0), PAGE);
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_LOAD, p + 5, 1, &value), 0);
	CU_ASSERT_EQUAL(value, 42);
	CU_ASSERT_EQUAL(where(p), 0);
	value = 43;
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_STORE, p + 5, 1, &value), 0);
	CU_ASSERT_EQUAL(where(p), 0);
	/* The CPU touches it. */
	CU_ASSERT_EQUAL(p[5], 43);
	CU_ASSERT_EQUAL(where(p), DRM_HMM_SYSTEM);
	CU_ASSERT_EQUAL(resident(0), 0);
	/* The device touches it. */
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_LOAD, p + 5, 1, &value), 0);
	CU_ASSERT_EQUAL(where(p), 0);
	CU_ASSERT_EQUAL(migrate(p, PAGE, 1), 1);
	CU_ASSERT_EQUAL(where(p), 1);
	CU_ASSERT_EQUAL(migrate(p, PAGE, DRM_HMM_SYSTEM), 1);
	CU_ASSERT_EQUAL(where(p), DRM_HMM_SYSTEM);
	CU_ASSERT_EQUAL(p[5], 43);
	engine_end(&e);
	munmap(p, PAGE);
}

static void many_pages(void)
{
	char *p = map_anonymous(4 * MIB);

	memset(p, 7, 4 * MIB);
	CU_ASSERT_EQUAL(migrate(p, 4 * MIB, 0), 1024);
	CU_ASSERT_EQUAL(resident(0), 4 * MIB);
	CU_ASSERT(all(p, 2 * MIB, 7));
	CU_ASSERT_EQUAL(resident(0), 2 * MIB);
	CU_ASSERT_EQUAL(migrate(p, 4 * MIB, DRM_HMM_SYSTEM), 1024);
	CU_ASSERT(all(p, 4 * MIB, 7));
	/* Never touched. */
	CU_ASSERT_EQUAL(madvise(p, 4 * MIB, MADV_DONTNEED), 0);
	CU_ASSERT_EQUAL(migrate(p, 4 * MIB, DRM_HMM_SYSTEM), 0);
	CU_ASSERT_EQUAL(migrate(p, 4 * MIB, 0), 1024);
	CU_ASSERT(all(p, 4 * MIB, 0));
	munmap(p, 4 * MIB);
	CU_ASSERT_EQUAL(resident(0), 0);
}

static void mappings(void)
{
	char *p = map_anonymous(2 * MIB), *q;

	memset(p, 9, 2 * MIB);
	CU_ASSERT_EQUAL(migrate(p, 2 * MIB, 0), 512);
	madvise(p, MIB, MADV_DONTNEED);
	CU_ASSERT_EQUAL(resident(0), MIB);
	CU_ASSERT(all(p, MIB, 0) && all(p + MIB, MIB, 9));
	CU_ASSERT(migrate(p, 2 * MIB, 0) == 512);
	q = mremap(p, 2 * MIB, 4 * MIB, MREMAP_MAYMOVE);
	CU_ASSERT_FATAL(q != MAP_FAILED);
	CU_ASSERT_EQUAL(where(q + MIB), 0);
	CU_ASSERT(all(q, MIB, 0) && all(q + MIB, MIB, 9) && all(q + 2 * MIB, 2 * MIB, 0));
	CU_ASSERT_EQUAL(migrate(q, MIB, 0), 256);
	CU_ASSERT_EQUAL(mprotect(q, MIB, PROT_READ), 0);
	CU_ASSERT(all(q, MIB, 0));
	munmap(q, 4 * MIB);
	CU_ASSERT_EQUAL(resident(0), 0);
}

static void forks(void)
{
	char *p = map_anonymous(MIB);
	int status, pid;

	memset(p, 5, MIB);
	CU_ASSERT_EQUAL(migrate(p, MIB, 0), 256);
	pid = fork();
	if (!pid) {
		if (migrate(p, PAGE, 0) != -EPERM)
			_exit(1);
		if (!all(p, MIB / 2, 5))
			_exit(2);
		memset(p, 6, MIB);
		_exit(!all(p, MIB, 6));
	}
	waitpid(pid, &status, 0);
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT(all(p, MIB, 5));
	munmap(p, MIB);
	CU_ASSERT_EQUAL(resident(0), 0);
}

static void eviction(void)
{
	size_t n = 3 * DEVICE_BYTES;
	char *p = map_anonymous(n);
	struct engine e;
	uint64_t value;
	long got;

	CU_ASSERT_EQUAL_FATAL(engine_start(&e, 0, p, n), 0);
	for (size_t i = 0; i < n; i += PAGE)
		p[i] = (char)(i / PAGE);
	got = migrate(p, n, 0);
	CU_ASSERT(got > 0 && got <= (long)(DEVICE_BYTES / PAGE));
	for (size_t i = 0; i < n; i += 16 * PAGE) {
		CU_ASSERT_EQUAL_FATAL(engine_do(&e, ENGINE_LOAD, p + i, 1, &value), 0);
		CU_ASSERT_EQUAL(value, (unsigned char)(i / PAGE));
	}
	for (size_t i = 0; i < n; i += PAGE)
		CU_ASSERT_EQUAL_FATAL(p[i], (char)(i / PAGE));
	engine_end(&e);
	munmap(p, n);
	CU_ASSERT_EQUAL(resident(0), 0);
}

static void remote(void)
{
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct engine e;
	uint64_t value = 0;

	p[0] = 3;
	CU_ASSERT_EQUAL_FATAL(engine_start(&e, 0, p, PAGE), 0);
	CU_ASSERT_EQUAL(migrate(p, PAGE, 0), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_LOAD, p, 1, &value), 0);
	CU_ASSERT_EQUAL(value, 3);
	value = 4;
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_STORE, p, 1, &value), 0);
	CU_ASSERT_EQUAL(p[0], 4);
	CU_ASSERT_EQUAL(where(p), DRM_HMM_SYSTEM);
	CU_ASSERT_EQUAL(page_flags(p),
			DRM_HMM_PAGE_WRITABLE | DRM_HMM_PAGE_REMOTE | DRM_HMM_PAGE_SHARED);
	engine_end(&e);
	CU_ASSERT_EQUAL(page_flags(p), DRM_HMM_PAGE_WRITABLE | DRM_HMM_PAGE_SHARED);
	munmap(p, PAGE);
}

/* A page that a pipe holds cannot move: the device gets it where it is, and the CPU loses it. */
static void pinned(void)
{
	char *p = map_anonymous(PAGE), c = 0;
	struct iovec part = { .iov_base = p, .iov_len = PAGE };
	uint64_t value = 8;
	struct engine e;
	int ends[2];

	CU_ASSERT_EQUAL_FATAL(engine_start(&e, 0, p, PAGE), 0);
	CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
	p[0] = 7;
	CU_ASSERT_EQUAL(vmsplice(ends[1], &part, 1, 0), PAGE);
	CU_ASSERT_EQUAL(migrate(p, PAGE, 0), 0);
	CU_ASSERT_EQUAL(page_flags(p), DRM_HMM_PAGE_WRITABLE | DRM_HMM_PAGE_PINNED);
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_STORE, p, 1, &value), 0);
	CU_ASSERT_EQUAL(where(p), DRM_HMM_SYSTEM);
	CU_ASSERT_EQUAL(page_flags(p), DRM_HMM_PAGE_REMOTE);
	CU_ASSERT_EQUAL(migrate(p, PAGE, DRM_HMM_SYSTEM), 1);
	/* Less protection takes nothing back. */
	CU_ASSERT_EQUAL(mprotect(p, PAGE, PROT_READ), 0);
	CU_ASSERT_EQUAL(page_flags(p), DRM_HMM_PAGE_REMOTE);
	CU_ASSERT_EQUAL(mprotect(p, PAGE, PROT_READ | PROT_WRITE), 0);
	CU_ASSERT_EQUAL(p[0], 8);
	CU_ASSERT_EQUAL(where(p), DRM_HMM_SYSTEM);
	CU_ASSERT_EQUAL(page_flags(p) & DRM_HMM_PAGE_REMOTE, 0);
	/* The pipe has the page itself, so what the device stored. */
	CU_ASSERT(read(ends[0], &c, 1) == 1 && c == 8);
	close(ends[0]);
	close(ends[1]);
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_LOAD, p, 1, &value), 0);
	CU_ASSERT_EQUAL(where(p), 0);
	CU_ASSERT_EQUAL(madvise(p, PAGE, MADV_DONTNEED), 0);
	CU_ASSERT_EQUAL(where(p), DRM_HMM_NOT_POPULATED);
	engine_end(&e);
	munmap(p, PAGE);
}

static uint64_t faults_of(unsigned int device)
{
	struct drm_hmm_stats s = { .device = device };

	return ioctl(node, DRM_IOCTL_HMM_STATS, &s) ? 0 : s.device_faults;
}

/* Of two engines that store to a pinned page, one has an entry at a time: each turn is a fault. */
static void in_turns(void)
{
	char *p = map_anonymous(PAGE), c;
	struct iovec part = { .iov_base = p, .iov_len = PAGE };
	struct engine e[2];
	int ends[2];

	for (unsigned int i = 0; i < 2; i++)
		CU_ASSERT_EQUAL_FATAL(engine_start(&e[i], i, p, PAGE), 0);
	CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
	p[0] = 7;
	CU_ASSERT_EQUAL(vmsplice(ends[1], &part, 1, 0), PAGE);
	for (unsigned int i = 0; i < 8; i++) {
		uint64_t before = faults_of(i % 2), value = i;

		CU_ASSERT_EQUAL(engine_do(&e[i % 2], ENGINE_STORE, p, 1, &value), 0);
		CU_ASSERT(faults_of(i % 2) > before);
		CU_ASSERT_EQUAL(page_flags(p), DRM_HMM_PAGE_REMOTE);
	}
	CU_ASSERT(read(ends[0], &c, 1) == 1 && c == 7);
	for (unsigned int i = 0; i < 2; i++) {
		engine_end(&e[i]);
		close(ends[i]);
	}
	CU_ASSERT_EQUAL(p[0], 7);
	munmap(p, PAGE);
}

/* fork() gives a page back to the CPU that a device had for itself: a copy for each who stores. */
static void pinned_and_forked(void)
{
	char *p = map_anonymous(PAGE), c = 0;
	struct iovec part = { .iov_base = p, .iov_len = PAGE };
	int ends[2], go[2], status, pid;
	uint64_t value = 8;
	struct engine e;

	CU_ASSERT_EQUAL_FATAL(engine_start(&e, 0, p, PAGE), 0);
	CU_ASSERT_FATAL(!pipe(ends) && !pipe(go));
	p[0] = 7;
	CU_ASSERT_EQUAL(vmsplice(ends[1], &part, 1, 0), PAGE);
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_STORE, p, 1, &value), 0);
	CU_ASSERT_EQUAL(page_flags(p), DRM_HMM_PAGE_REMOTE);
	pid = fork();
	if (!pid)
		_exit(read(go[0], &c, 1) != 1 || p[0] != 8);
	value = 9;
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_STORE, p, 1, &value), 0);
	CU_ASSERT_EQUAL(write(go[1], "", 1), 1);
	waitpid(pid, &status, 0);
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT_EQUAL(p[0], 9);
	for (int i = 0; i < 2; i++) {
		close(ends[i]);
		close(go[i]);
	}
	engine_end(&e);
	munmap(p, PAGE);
}

static void invalid_accesses(void)
{
	char *p = map_anonymous(2 * PAGE);
	struct engine e;

	CU_ASSERT_EQUAL_FATAL(engine_start(&e, 0, p, 2 * PAGE), 0);
	p[0] = 1;
	munmap(p + PAGE, PAGE);
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_LOAD, p + PAGE, 1, NULL), -SIGSEGV);
	munmap(e.shared, PAGE);
	CU_ASSERT_EQUAL_FATAL(engine_start(&e, 0, p, PAGE), 0);
	mprotect(p, PAGE, PROT_READ);
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_LOAD, p, 1, NULL), 0);
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_STORE, p, 1, NULL), -SIGSEGV);
	munmap(e.shared, PAGE);
	CU_ASSERT_EQUAL(p[0], 1);
	munmap(p, PAGE);
}

static void wrong_arguments(void)
{
	struct drm_hmm_migrate m = { 0 };
	struct drm_hmm_pages g = { 0 };
	struct drm_hmm_engine_create c = { .device = 9 };
	char *p = map_anonymous(2 * PAGE);

	CU_ASSERT_EQUAL(migrate(p, 0, 0), -EINVAL);
	CU_ASSERT_EQUAL(migrate(p, SIZE_MAX, 0), -EINVAL);
	CU_ASSERT_EQUAL(migrate(p, PAGE, 2), -EINVAL);
	CU_ASSERT_EQUAL(migrate(p, PAGE, -2), -EINVAL);
	CU_ASSERT_EQUAL(migrate((void *)(1ul << 62), PAGE, 0), -EFAULT);
	munmap(p + PAGE, PAGE);
	CU_ASSERT_EQUAL(migrate(p, 2 * PAGE, 0), -EFAULT);
	m = (struct drm_hmm_migrate){ .addr = (uintptr_t)p, .length = PAGE, .flags = 1 };
	CU_ASSERT(ioctl(node, DRM_IOCTL_HMM_MIGRATE, &m) == -1 && errno == EINVAL);
	g = (struct drm_hmm_pages){ .addr = (uintptr_t)p, .pages = 1, .entry_bytes = 16 };
	CU_ASSERT(ioctl(node, DRM_IOCTL_HMM_PAGES, &g) == -1 && errno == EFAULT);
	CU_ASSERT(ioctl(node, DRM_IOCTL_HMM_ENGINE_CREATE, &c) == -1 && errno == ENODEV);
	/* A client cannot be its own engine. */
	c = (struct drm_hmm_engine_create){ 0 };
	CU_ASSERT_EQUAL(ioctl(node, DRM_IOCTL_HMM_ENGINE_CREATE, &c), 0);
	CU_ASSERT(mmap(p, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, c.fd, (off_t)(uintptr_t)p) ==
			  MAP_FAILED &&
		  errno == EPERM);
	close(c.fd);
}

static void add_tests(void)
{
	CU_pSuite s = CU_add_suite("anonymous pages", NULL, NULL);
	CU_add_test(s, "query", query);
	CU_add_test(s, "one page's life", one_page);
	CU_add_test(s, "many pages", many_pages);
	CU_add_test(s, "munmap, MADV_DONTNEED, mremap, mprotect", mappings);
	CU_add_test(s, "fork", forks);
	CU_add_test(s, "three times the device's memory", eviction);
	CU_add_test(s, "shared memory is mapped remotely", remote);
	CU_add_test(s, "a pinned page", pinned);
	CU_add_test(s, "a pinned page, and two engines", in_turns);
	CU_add_test(s, "a pinned page, and fork", pinned_and_forked);
	CU_add_test(s, "accesses that cannot be", invalid_accesses);
	CU_add_test(s, "wrong arguments", wrong_arguments);
}

int main(int argc, char **argv)
{
	unsigned int failures;

	if (client_open() || CU_initialize_registry())
		return 1;
	if (argc < 2)
		add_tests();
	if (argc < 2 || strcmp(argv[1], "huge") == 0)
		add_huge_tests(CU_add_suite("huge pages", NULL, NULL));
	else
		CU_add_test(CU_add_suite("pinned", NULL, NULL), argv[1], in_turns);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failures ? 1 : 0;
}

// SPDX-License-Identifier: MIT
/* Every kind of memory that a pointer can point to. */
#include "api/api.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int data[50000] = { 1, 2, 3 };
static char bss[200000];
static const char constant[] = "read-only text";

static void check_moves(char *p, size_t n, int value)
{
	CU_ASSERT(hmm_migrate(h, p, n, 0, 0) >= (long)(n / PAGE));
	/* Not the ends: their pages hold what the test itself touches. */
	CU_ASSERT_EQUAL(where(p + n / 2), 0);
	CU_ASSERT(all_bytes(p, n, value));
}

static void heap(void)
{
	char *small = malloc(100), *large = malloc(MIB), *brk = sbrk(MIB);

	memset(small, 1, 100);
	memset(large, 2, MIB);
	memset(brk, 3, MIB);
	CU_ASSERT(hmm_migrate(h, small, 100, 0, 0) >= 1);
	CU_ASSERT(all_bytes(small, 100, 1));
	check_moves(large, MIB, 2);
	check_moves(brk, MIB, 3);
	free(small);
	free(large);
}

static void globals(void)
{
	int value = 0;

	memset(bss, 4, sizeof(bss));
	check_moves(bss, sizeof(bss), 4);
	CU_ASSERT(hmm_migrate(h, data, sizeof(data), 0, 0) > 0);
	CU_ASSERT(data[0] == 1 && data[1] == 2 && data[2] == 3);
	data[1] = 77;
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, &data[1], &value, sizeof(value)), sizeof(value));
	CU_ASSERT_EQUAL(value, 77);
	value = 78;
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, &data[1], &value, sizeof(value)), sizeof(value));
	CU_ASSERT_EQUAL(data[1], 78);
}

struct other {
	_Atomic(char *) stack;
	_Atomic int stop, bad;
};

static void *keep_stack(void *arg)
{
	struct other *o = arg;
	volatile char mine[100000];

	memset((char *)(uintptr_t)mine, 0x33, sizeof(mine));
	atomic_store(&o->stack, (char *)(uintptr_t)mine);
	while (!atomic_load(&o->stop))
		usleep(500);
	for (size_t i = 0; i < sizeof(mine); i++)
		if (mine[i] != 0x33)
			atomic_store(&o->bad, 1);
	return NULL;
}

static void stacks(void)
{
	struct other o = { 0 };
	char mine[200000], value = 0;
	long n;
	pthread_t t;

	pthread_create(&t, NULL, keep_stack, &o);
	while (!atomic_load(&o.stack))
		usleep(100);
	for (int i = 0; i < 20; i++) {
		CU_ASSERT(hmm_migrate(h, o.stack, 100000, 0, 0) >= 20);
		usleep(1000);
	}
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, o.stack + 50, &value, 1), 1);
	CU_ASSERT_EQUAL(value, 0x33);
	atomic_store(&o.stop, 1);
	pthread_join(t, NULL);
	CU_ASSERT_EQUAL(o.bad, 0);

	memset(mine, 9, sizeof(mine));
	CU_ASSERT(hmm_migrate(h, mine, sizeof(mine), 0, 0) > 40);
	CU_ASSERT(all_bytes(mine, sizeof(mine), 9));
	/* This very frame, and what is below it; above it the stack may end. */
	n = hmm_migrate(h, (char *)__builtin_frame_address(0) - 4 * PAGE, 4 * PAGE + 1, 0, 0);
	if (n < 0)
		printf("(errno %ld) ", -n);
	CU_ASSERT(n >= 0);
	CU_ASSERT(all_bytes(mine, sizeof(mine), 9));
}

static void shared_mappings(void)
{
	int fd = memfd_create("shared", MFD_CLOEXEC);
	struct hmm_page_status s;
	char *p, buffer[16];

	CU_ASSERT_FATAL(!ftruncate(fd, 16 * PAGE));
	p = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	strcpy(p, "by the CPU");
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p, buffer, 11), 11);
	CU_ASSERT_STRING_EQUAL(buffer, "by the CPU");
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + PAGE, "by a device", 12), 12);
	CU_ASSERT_STRING_EQUAL(p + PAGE, "by a device");
	CU_ASSERT_EQUAL(pread(fd, buffer, 12, PAGE), 12);
	CU_ASSERT_STRING_EQUAL(buffer, "by a device");
	CU_ASSERT_EQUAL(hmm_query(h, p, 1, &s), 1);
	CU_ASSERT_EQUAL(s.flags & (HMM_PAGE_SHARED | HMM_PAGE_REMOTE),
			HMM_PAGE_SHARED | HMM_PAGE_REMOTE);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, PAGE, 0, 0), -EOPNOTSUPP);
	munmap(p, 16 * PAGE);
	close(fd);
}

static void read_only(void)
{
	char buffer[32] = "";
	char *p = map_pages(8 * PAGE, 5);

	CU_ASSERT_EQUAL(hmm_device_read(h, 0, constant, buffer, sizeof(constant)),
			sizeof(constant));
	CU_ASSERT_STRING_EQUAL(buffer, constant);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, (char *)(uintptr_t)constant, "x", 1), -EFAULT);
	mprotect(p, 8 * PAGE, PROT_READ);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 8 * PAGE, 0, 0), 8);
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p, buffer, 4), 4);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p, "x", 1), -EFAULT);
	CU_ASSERT(all_bytes(p, 8 * PAGE, 5));
	munmap(p, 8 * PAGE);
}

static void locked(void)
{
	char *p = map_pages(8 * PAGE, 6);

	if (mlock(p, 8 * PAGE)) {
		printf("(skipped: mlock is refused) ");
	} else {
		CU_ASSERT_EQUAL(hmm_migrate(h, p, 8 * PAGE, 0, 0), 8);
		CU_ASSERT(all_bytes(p, 8 * PAGE, 6));
	}
	munmap(p, 8 * PAGE);
}

static void huge_pages(void)
{
	size_t n = 4 * MIB;
	char *p = mmap(NULL, n + 2 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);
	char *a = (char *)(((uintptr_t)p + 2 * MIB - 1) & ~(2 * MIB - 1));

	madvise(a, n, MADV_HUGEPAGE);
	memset(a, 8, n);
	CU_ASSERT_EQUAL(hmm_migrate(h, a, n, 0, 0), (long)(n / PAGE));
	a[MIB]++; /* one page out of a huge one */
	CU_ASSERT_EQUAL(a[MIB], 9);
	a[MIB]--;
	CU_ASSERT(all_bytes(a, n, 8));
	CU_ASSERT_EQUAL(hmm_migrate(h, a, n, 0, 0), (long)(n / PAGE));
	CU_ASSERT_EQUAL(hmm_migrate(h, a, n, HMM_SYSTEM, 0), (long)(n / PAGE));
	CU_ASSERT(all_bytes(a, n, 8));
	munmap(p, n + 2 * MIB);
}

static void never_migratable(void)
{
	char *p = mmap(NULL, 2 * MIB, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	if (p == MAP_FAILED) {
		printf("(hugetlb skipped: none reserved) ");
	} else {
		CU_ASSERT_EQUAL(hmm_migrate(h, p, 2 * MIB, 0, 0), -EOPNOTSUPP);
		munmap(p, 2 * MIB);
	}
	/* The handle itself lies in memory of the runtime. */
	CU_ASSERT_EQUAL(hmm_migrate(h, h, 1, 0, 0), -EOPNOTSUPP);
}

void add_memory_suite(void)
{
	CU_pSuite s = CU_add_suite("memory", suite_open, suite_close);

	CU_add_test(s, "heap", heap);
	CU_add_test(s, ".data and .bss", globals);
	CU_add_test(s, "stacks", stacks);
	CU_add_test(s, "shared mappings are mapped remotely", shared_mappings);
	CU_add_test(s, "read-only memory", read_only);
	CU_add_test(s, "mlocked memory", locked);
	CU_add_test(s, "transparent huge pages", huge_pages);
	CU_add_test(s, "memory that can never migrate", never_migratable);
}

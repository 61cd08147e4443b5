// SPDX-License-Identifier: MIT
/* Kinds of mappings, and what becomes of their pages when a part changes. */
#include "conformance/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

/* A file of @bytes, each @value, that goes with its descriptor. */
static int new_file(size_t bytes, int value)
{
	char path[] = "/tmp/hmm-conformance-XXXXXX";
	int fd = mkstemp(path);
	char *fill = malloc(bytes);

	CU_ASSERT_FATAL(fd >= 0);
	unlink(path);
	memset(fill, value, bytes);
	CU_ASSERT_EQUAL_FATAL(write(fd, fill, bytes), (long)bytes);
	free(fill);
	return fd;
}

static void private_file(void)
{
	int fd = new_file(16 * PAGE, 8);
	char *p = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0), c;

	CU_ASSERT_FATAL(p != MAP_FAILED);
	p[0] = 1;
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 16 * PAGE, 0, 0), 16);
	CU_ASSERT_EQUAL(where(p + PAGE), 0);
	c = 9;
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + PAGE, &c, 1), 1);
	CU_ASSERT(p[0] == 1 && p[1] == 8 && p[PAGE] == 9 && p[PAGE + 1] == 8);
	CU_ASSERT(all_bytes(p + 2 * PAGE, 14 * PAGE, 8));
	/* What is private does not reach the file. */
	CU_ASSERT(pread(fd, &c, 1, 0) == 1 && c == 8);
	CU_ASSERT(pread(fd, &c, 1, PAGE) == 1 && c == 8);
	munmap(p, 16 * PAGE);
	close(fd);
}

static void shared_file(void)
{
	int fd = new_file(4 * PAGE, 8);
	char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), c = 9;
	char *ro = mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, fd, 0);

	CU_ASSERT_FATAL(p != MAP_FAILED && ro != MAP_FAILED);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, PAGE, 0, 0), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + 2 * PAGE - 1, "ab", 2), 2);
	CU_ASSERT(p[2 * PAGE - 1] == 'a' && ro[2 * PAGE] == 'b');
	CU_ASSERT(pread(fd, &c, 1, 2 * PAGE) == 1 && c == 'b');
	c = 'z';
	CU_ASSERT_EQUAL(pwrite(fd, &c, 1, 3 * PAGE), 1);
	CU_ASSERT(hmm_device_read(h, 0, ro + 3 * PAGE, &c, 1) == 1 && c == 'z');
	CU_ASSERT(hmm_device_read(h, 1, p + 3 * PAGE, &c, 1) == 1 && c == 'z');
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, ro, &c, 1), -EFAULT);
	CU_ASSERT_EQUAL(ro[0], 8);
	CU_ASSERT(page_flags(p) & HMM_PAGE_SHARED);
	munmap(p, 4 * PAGE);
	munmap(ro, 4 * PAGE);
	close(fd);
}

/* Nobody but the kernel has a descriptor of such a mapping; it gives one to CAP_SYS_ADMIN. */
static bool kernel_opens(const char *p, size_t n)
{
	char path[80];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)p,
		 (unsigned long)p + n);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void shared_anonymous(void)
{
	char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char c = 0;

	strcpy(p, "shared");
	CU_ASSERT_EQUAL(hmm_migrate(h, p, PAGE, 0, 0), -EOPNOTSUPP);
	if (kernel_opens(p, 4 * PAGE)) {
		CU_ASSERT(hmm_device_read(h, 0, p, &c, 1) == 1 && c == 's');
		CU_ASSERT_EQUAL(hmm_device_write(h, 1, p, "S", 1), 1);
		CU_ASSERT_STRING_EQUAL(p, "Shared");
	} else {
		CU_ASSERT_EQUAL(hmm_device_read(h, 0, p, &c, 1), -EFAULT);
		CU_ASSERT_EQUAL(hmm_device_write(h, 1, p, "S", 1), -EFAULT);
		CU_ASSERT_STRING_EQUAL(p, "shared");
	}
	munmap(p, 4 * PAGE);
}

static void kernel_pages(void)
{
	char *vdso = (char *)getauxval(AT_SYSINFO_EHDR), c;

	if (!vdso) {
		printf("(skipped: no vdso) ");
		return;
	}
	CU_ASSERT_EQUAL(hmm_migrate(h, vdso, PAGE, 0, 0), -EOPNOTSUPP);
	c = vdso[1];
	CU_ASSERT_EQUAL(c, 'E');
	/* Read or refused, but the device lives on. */
	CU_ASSERT(hmm_device_read(h, 0, vdso, &c, 1) >= -EFAULT);
	CU_ASSERT_EQUAL(hmm_device_count(h), 2);
}

/* What is left of a mapping after a hole was cut in it keeps its bytes and its place. */
static void hole(void)
{
	char *p = map_pages(MIB, 5), c;

	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), PAGES(MIB));
	munmap(p + MIB / 4, MIB / 2);
	CU_ASSERT_EQUAL(where(p), 0);
	CU_ASSERT_EQUAL(where(p + MIB - 1), 0);
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p + MIB / 4, &c, 1), -EFAULT);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, HMM_SYSTEM, 0), -EFAULT);
	CU_ASSERT(all_bytes(p, MIB / 4, 5));
	CU_ASSERT(all_bytes(p + MIB - MIB / 4, MIB / 4, 5));
	munmap(p, MIB);
}

/* Another mapping at the place of one whose pages were on the device. */
static void replaced(void)
{
	char *p = map_pages(MIB, 5), c;

	for (int i = 0; i < 50; i++) {
		CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, i % 2, 0), PAGES(MIB));
		CU_ASSERT_PTR_EQUAL(mmap(p, MIB, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
				    p);
		CU_ASSERT(hmm_device_read(h, i % 2, p + MIB / 2, &c, 1) == 1 && c == 0);
		CU_ASSERT(all_bytes(p, MIB, 0));
		memset(p, i + 1, MIB);
		CU_ASSERT(hmm_device_read(h, i % 2, p + 1, &c, 1) == 1 && c == (char)(i + 1));
	}
	munmap(p, MIB);
}

/* By a mapping of other kind: no page of the old one may be seen through it. */
static void replaced_by_shared(void)
{
	char *p = map_pages(MIB, 5), c;
	int fd = memfd_create("new", MFD_CLOEXEC);

	CU_ASSERT_FATAL(!ftruncate(fd, MIB));
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), PAGES(MIB));
	CU_ASSERT_PTR_EQUAL(mmap(p, MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0), p);
	CU_ASSERT(hmm_device_read(h, 0, p, &c, 1) == 1 && c == 0);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p, "x", 1), 1);
	CU_ASSERT(pread(fd, &c, 1, 0) == 1 && c == 'x');
	/* And back: the device must not go on to write to the file. */
	CU_ASSERT_PTR_EQUAL(mmap(p, MIB, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			    p);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p, "y", 1), 1);
	CU_ASSERT_EQUAL(p[0], 'y');
	CU_ASSERT(pread(fd, &c, 1, 0) == 1 && c == 'x');
	munmap(p, MIB);
	close(fd);
}

/* What is not tracked comes and goes without a word: each time the device has what is there. */
static void replaced_by_constants(void)
{
	int fd = new_file(4 * PAGE, 8);
	char *p = map_pages(4 * PAGE, 5), c;

	for (int i = 0; i < 50; i++) {
		if (i % 2)
			CU_ASSERT_EQUAL(hmm_migrate(h, p, 4 * PAGE, 0, 0), 4);
		CU_ASSERT(hmm_device_read(h, 0, p + PAGE, &c, 1) == 1 && c == 5);
		CU_ASSERT_PTR_EQUAL(mmap(p, 4 * PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0),
				    p);
		CU_ASSERT(hmm_device_read(h, 0, p + PAGE, &c, 1) == 1 && c == 8);
		CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + PAGE, &c, 1), -EFAULT);
		CU_ASSERT_PTR_EQUAL(mmap(p, 4 * PAGE, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
				    p);
		memset(p, 5, 4 * PAGE);
	}
	munmap(p, 4 * PAGE);
	close(fd);
}

static void grows_and_moves(void)
{
	char *p = map_pages(MIB, 5), *q;

	for (size_t n = 2; n <= 16; n *= 2) {
		CU_ASSERT_EQUAL(hmm_migrate(h, p, n * MIB / 2, 0, 0) > 0, 1);
		q = mremap(p, n * MIB / 2, n * MIB, MREMAP_MAYMOVE);
		CU_ASSERT_FATAL(q != MAP_FAILED);
		p = q;
		CU_ASSERT(all_bytes(p, MIB, 5));
		CU_ASSERT(all_bytes(p + n * MIB / 2, n * MIB / 2, 0));
	}
	CU_ASSERT(hmm_migrate(h, p, MIB, 1, 0) == PAGES(MIB));
	p = mremap(p, 16 * MIB, MIB, 0);
	CU_ASSERT_EQUAL(where(p), 1);
	CU_ASSERT(all_bytes(p, MIB, 5));
	munmap(p, MIB);
}

static void left_behind(void)
{
	char *p = map_pages(MIB, 5), *q;

	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), PAGES(MIB));
	q = mremap(p, MIB, MIB, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	if (q == MAP_FAILED) {
		printf("(skipped: MREMAP_DONTUNMAP errno %d) ", errno);
	} else {
		CU_ASSERT(all_bytes(q, MIB, 5));
		CU_ASSERT(all_bytes(p, MIB, 0));
		munmap(q, MIB);
	}
	munmap(p, MIB);
}

static void no_access(void)
{
	char *p = map_pages(MIB, 5), c, four[4];

	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), PAGES(MIB));
	mprotect(p, MIB, PROT_NONE);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, HMM_SYSTEM, 0) < -1000, 0); /* home or refused */
	mprotect(p, MIB, PROT_READ | PROT_WRITE);
	CU_ASSERT(all_bytes(p, MIB, 5));
	mprotect(p, MIB, PROT_NONE);
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p, &c, 1), -EFAULT);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), -EFAULT);
	mprotect(p, MIB, PROT_READ);
	CU_ASSERT(hmm_device_read(h, 0, p, &c, 1) == 1 && c == 5);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p, "x", 1), -EFAULT);
	mprotect(p, MIB, PROT_READ | PROT_WRITE);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p, "x", 1), 1);
	CU_ASSERT(p[0] == 'x' && all_bytes(p + 1, MIB - 1, 5));
	/* Nor do resident pages keep what they once allowed. */
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), PAGES(MIB));
	mprotect(p + PAGE, PAGE, PROT_READ);
	mprotect(p + 2 * PAGE, PAGE, PROT_NONE);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + PAGE - 2, "yyyy", 4), 2);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + PAGE, "y", 1), -EFAULT);
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p + 2 * PAGE - 1, four, 4), 1);
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p + 2 * PAGE, four, 4), -EFAULT);
	munmap(p, MIB);
}

static void break_shrinks(void)
{
	char *p = sbrk(MIB), *again;

	CU_ASSERT_FATAL(p != (void *)-1);
	memset(p, 5, MIB);
	CU_ASSERT(hmm_migrate(h, p, MIB, 0, 0) >= PAGES(MIB));
	if (sbrk(0) != p + MIB) {
		printf("(skipped: the break moved) ");
		return;
	}
	sbrk(-(long)MIB);
	again = sbrk(MIB);
	if (again == p) /* whole pages of it are new */
		CU_ASSERT(all_bytes(p + PAGE, MIB - 2 * PAGE, 0));
}

/* A part of a huge page was protected for a while: since then it is mapped page by page. */
static void huge_page_parts(void)
{
	const size_t huge = 2 * MIB;
	char *map = map_pages(2 * huge, 0);
	char *p = (char *)(((uintptr_t)map + huge - 1) & ~(huge - 1));

	CU_ASSERT_EQUAL(madvise(p, huge, MADV_HUGEPAGE), 0);
	memset(p, 8, huge);
	CU_ASSERT_EQUAL(mprotect(p + MIB, PAGE, PROT_READ), 0);
	CU_ASSERT_EQUAL(mprotect(p + MIB, PAGE, PROT_READ | PROT_WRITE), 0);
	CU_ASSERT_EQUAL(hmm_migrate(h, p + PAGE, PAGE, 0, 0), 1);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, huge, 0, 0), PAGES(huge));
	CU_ASSERT(all_bytes(p, huge, 8));
	munmap(map, 2 * huge);
}

static void discarded_kinds(void)
{
	char *p = map_pages(MIB, 5);

	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), PAGES(MIB));
	/* May discard what was written before, and may not return anything else. */
	if (!madvise(p, MIB, MADV_FREE))
		for (size_t i = 0; i < MIB; i += PAGE)
			CU_ASSERT(all_bytes(p + i, PAGE, 5) || all_bytes(p + i, PAGE, 0));
	memset(p, 6, MIB);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), PAGES(MIB));
	madvise(p, MIB, MADV_PAGEOUT);
	madvise(p, MIB, MADV_COLD);
	CU_ASSERT(all_bytes(p, MIB, 6));
	munmap(p, MIB);
}

/* What is stored after the advice stays: it is only of what was there before. */
static void stored_after_free(void)
{
	char *p = map_pages(32 * PAGE, 7);

	for (int i = 1; i <= 20; i++) {
		CU_ASSERT_EQUAL(hmm_migrate(h, p, 32 * PAGE, 0, 0), 32);
		memset(p + 8 * PAGE, i, 16 * PAGE);
		CU_ASSERT_EQUAL(madvise(p + 8 * PAGE, 8 * PAGE, MADV_FREE), 0);
		memset(p + 8 * PAGE, i + 100, 8 * PAGE);
		usleep(1000);
		CU_ASSERT(all_bytes(p + 8 * PAGE, 8 * PAGE, i + 100));
		CU_ASSERT_EQUAL(hmm_migrate(h, p + 8 * PAGE, 8 * PAGE, 1, 0), 8);
		CU_ASSERT(all_bytes(p + 8 * PAGE, 8 * PAGE, i + 100));
		CU_ASSERT(all_bytes(p + 16 * PAGE, 8 * PAGE, i));
	}
	munmap(p, 32 * PAGE);
}

/* Runs that were touched and runs that were not, to the device, changed there, and home. */
static void mixed_runs(void)
{
	char *p = map_pages(192 * PAGE, 0);
	const char c = 5;

	for (int i = 0; i < 192; i++)
		if (i / 24 % 2)
			memset(p + i * PAGE, i, PAGE);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 192 * PAGE, 0, 0), 192);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + 2 * PAGE, &c, 1), 1);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + 30 * PAGE, &c, 1), 1);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 192 * PAGE, HMM_SYSTEM, 0), 192);
	for (int i = 0; i < 192; i++) {
		CU_ASSERT(p[i * PAGE] == (i == 2 || i == 30 ? c : i / 24 % 2 ? (char)i : 0));
		CU_ASSERT(all_bytes(p + i * PAGE + 1, PAGE - 1, i / 24 % 2 ? (char)i : 0));
	}
	munmap(p, 192 * PAGE);
}

/* A device's memory is no file of the application's. */
static void file_size_limit(void)
{
	struct rlimit old, none;

	CU_ASSERT_FATAL(!getrlimit(RLIMIT_FSIZE, &old));
	none = (struct rlimit){ PAGE, old.rlim_max };
	CU_ASSERT_FATAL(!setrlimit(RLIMIT_FSIZE, &none));
	mixed_runs();
	CU_ASSERT_FATAL(!setrlimit(RLIMIT_FSIZE, &old));
}

void add_vma_suite(void)
{
	CU_pSuite s = CU_add_suite_with_setup_and_teardown("kinds of mappings", NULL, NULL,
							   conf_set_up, conf_tear_down);

	CU_add_test(s, "private file mappings", private_file);
	CU_add_test(s, "shared file mappings", shared_file);
	CU_add_test(s, "shared anonymous mappings", shared_anonymous);
	CU_add_test(s, "pages of the kernel's", kernel_pages);
	CU_add_test(s, "a hole in a mapping", hole);
	CU_add_test(s, "a mapping replaced", replaced);
	CU_add_test(s, "replaced by a shared one, and back", replaced_by_shared);
	CU_add_test(s, "replaced by a read-only one, and back", replaced_by_constants);
	CU_add_test(s, "mremap that grows, moves and shrinks", grows_and_moves);
	CU_add_test(s, "mremap that leaves the mapping behind", left_behind);
	CU_add_test(s, "access that is taken and given", no_access);
	CU_add_test(s, "the break shrinks", break_shrinks);
	CU_add_test(s, "parts of a huge page", huge_page_parts);
	CU_add_test(s, "MADV_FREE and MADV_PAGEOUT", discarded_kinds);
	CU_add_test(s, "stores after MADV_FREE", stored_after_free);
	CU_add_test(s, "runs of touched and untouched pages", mixed_runs);
	CU_add_test(s, "the same under a limit of file sizes", file_size_limit);
}

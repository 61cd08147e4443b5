// SPDX-License-Identifier: MIT
/* What /proc says of pages on a device. To look must not move them. */
#include "answers.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGES 16

unsigned int count_pagemap(const char *p, size_t pages, uint64_t bit)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	unsigned int n = 0;

	for (size_t i = 0; i < pages; i++) {
		uint64_t entry = 0;

		if (pread(fd, &entry, 8, (off_t)((uintptr_t)p / PAGE + i) * 8) != 8)
			return ~0u;
		n += !!(entry & bit);
	}
	close(fd);
	return n;
}

/* Anonymous pages there look swapped; a file's are in no page table. */
static void pagemap(void)
{
	char *p = take(PAGES);

	CU_ASSERT_EQUAL(count_pagemap(p, PAGES, PAGEMAP_PRESENT), 0);
	CU_ASSERT_EQUAL(count_pagemap(p, PAGES, PAGEMAP_SWAPPED), hmmfs_folder ? 0 : PAGES);
	CU_ASSERT(all_at(p, PAGES, 0));
	CU_ASSERT(intact(p, PAGES));
	CU_ASSERT_EQUAL(count_pagemap(p, PAGES, PAGEMAP_PRESENT), PAGES);
	unmap(p, PAGES);
}

/* Kilobytes of @field in the part of smaps about the mapping at @p, or -1. */
static long smaps_field(const char *p, const char *field)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	size_t room = 0;
	bool here = false;
	char *line = NULL, *end;
	long value = -1;

	while (getline(&line, &room, f) > 0) {
		unsigned long start = strtoul(line, &end, 16);

		if (*end == '-')
			here = start == (uintptr_t)p;
		else if (here && !strncmp(line, field, strlen(field)))
			value = strtol(line + strlen(field), NULL, 10);
	}
	free(line);
	fclose(f);
	return value;
}

static void smaps(void)
{
	char *p = take(PAGES);

	CU_ASSERT_EQUAL(smaps_field(p, "Size:"), (long)(PAGES * PAGE / 1024));
	CU_ASSERT_EQUAL(smaps_field(p, "Rss:"), hmmfs_folder ? 0 : (long)(PAGES * PAGE / 1024));
	CU_ASSERT_EQUAL(smaps_field(p, "Swap:"), 0);
	CU_ASSERT(all_at(p, PAGES, 0));
	CU_ASSERT(intact(p, PAGES));
	CU_ASSERT_EQUAL(smaps_field(p, "Rss:"), (long)(PAGES * PAGE / 1024));
	unmap(p, PAGES);
}

/* The line of numa_maps about the mapping at @p. */
static void numa_line(const char *p, char *to, size_t bytes)
{
	FILE *f = fopen("/proc/self/numa_maps", "r");

	to[0] = 0;
	while (f && fgets(to, (int)bytes, f))
		if (strtoul(to, NULL, 16) == (uintptr_t)p)
			break;
	if (f)
		fclose(f);
}

/* Its pages are of no node as long as they are on the device. */
static void numa_maps(void)
{
	char *p = take(PAGES), line[512];

	numa_line(p, line, sizeof(line));
	CU_ASSERT_EQUAL(strtoul(line, NULL, 16), (uintptr_t)p);
	CU_ASSERT(!strstr(line, " N0=") && !strstr(line, " N1="));
	CU_ASSERT(all_at(p, PAGES, 0));
	CU_ASSERT(intact(p, PAGES));
	numa_line(p, line, sizeof(line));
	CU_ASSERT(strstr(line, " N0=") || strstr(line, " N1="));
	unmap(p, PAGES);
}

/* Soft-dirty and referenced bits are taken from pages that have none. */
static void clear_refs(void)
{
	char *p = take(PAGES);
	int fd = open("/proc/self/clear_refs", O_WRONLY);

	CU_ASSERT_EQUAL(write(fd, "1", 1), 1);
	CU_ASSERT_EQUAL(write(fd, "4", 1), 1);
	close(fd);
	CU_ASSERT(all_at(p, PAGES, 0));
	CU_ASSERT(intact(p, PAGES));
	unmap(p, PAGES);
}

/* Another way to read them: it brings them home, as a load does. */
static void proc_mem(void)
{
	static char copy[PAGES * PAGE];
	char *p = take(PAGES);
	int fd = open("/proc/self/mem", O_RDWR);

	CU_ASSERT_EQUAL(pread(fd, copy, sizeof(copy), (off_t)(uintptr_t)p), (ssize_t)sizeof(copy));
	CU_ASSERT(intact(copy, PAGES));
	CU_ASSERT(all_at(p, PAGES, DRM_HMM_SYSTEM));
	close(fd);
	unmap(p, PAGES);
}

void add_proc_tests(CU_pSuite s)
{
	CU_add_test(s, "pagemap", pagemap);
	CU_add_test(s, "smaps", smaps);
	CU_add_test(s, "numa_maps", numa_maps);
	CU_add_test(s, "clear_refs", clear_refs);
	CU_add_test(s, "/proc/self/mem", proc_mem);
}

// SPDX-License-Identifier: MIT
/* Memory of the machine goes and comes while pages are on a device. */
#include "answers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGES 64
#define MANY 2048
#define APART 64 /* a touch brings home what is around it, too */
#define ALL (PAGES + APART + MANY)
#define MEMORY "/sys/devices/system/memory/"
#define MPOL_PREFERRED 1

/* The module's parameters: what the machine has beside the memory that its firmware tells of. */
struct range {
	unsigned long start, size;
	unsigned int node;
};

static bool machine_has(struct range *r)
{
	const char *more = getenv("HMM_MORE_MEMORY");

	return more && sscanf(more, "%lx %lx %u", &r->start, &r->size, &r->node) == 3;
}

static int plug(const struct range *r)
{
	char module[256], arguments[128];
	int fd, err;

	snprintf(module, sizeof(module), "%s/hotplug.ko", getenv("HMM_MODULES"));
	snprintf(arguments, sizeof(arguments), "start=%#lx size=%#lx node=%u", r->start, r->size,
		 r->node);
	fd = open(module, O_RDONLY);
	if (fd < 0)
		return -errno;
	err = syscall(SYS_finit_module, fd, arguments, 0) ? -errno : 0;
	close(fd);
	return err;
}

static int unplug(void)
{
	return syscall(SYS_delete_module, "hotplug", 0) ? -errno : 0;
}

/* How many of its blocks took @state; -1: the kernel does not know one of them. */
static int set_state(const struct range *r, const char *state)
{
	unsigned long bytes = 0, block;
	FILE *f = fopen(MEMORY "block_size_bytes", "r");
	char name[128];
	int done = 0;

	if (!f || fscanf(f, "%lx", &bytes) != 1)
		abort();
	fclose(f);
	for (block = r->start / bytes; block < (r->start + r->size) / bytes; block++) {
		snprintf(name, sizeof(name), MEMORY "memory%lu/state", block);
		if (access(name, F_OK))
			return -1;
		done += put(name, state);
	}
	return done;
}

/*
 * Are the pages that are mapped here of @r? A file's never are: hmmfs asks for none of a movable
 * zone, since what stands for a page on a device cannot be moved.
 */
static bool all_in(const struct range *r, const char *p, size_t pages)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	size_t n = 0;

	for (size_t i = 0; i < pages; i++) {
		uint64_t entry = 0, at;

		if (pread(fd, &entry, 8, (off_t)(((uintptr_t)p / PAGE + i) * 8)) != 8)
			abort();
		at = (entry & ((1ull << 55) - 1)) * PAGE;
		n += (entry & PAGEMAP_PRESENT) && at >= r->start && at - r->start < r->size;
	}
	close(fd);
	return n == (hmmfs_folder ? 0 : pages);
}

/* A device's addresses are taken, and that is what who wants to add memory there is told. */
static void check_taken(const struct range *more)
{
	struct range r = { .node = more->node };
	FILE *f = fopen("/proc/iomem", "r");
	unsigned long end;
	char line[256];
	int devices = 0;

	while (f && fgets(line, sizeof(line), f)) {
		if (!strstr(line, ": hmm_drm") || sscanf(line, "%lx-%lx", &r.start, &end) != 2)
			continue;
		r.size = end + 1 - r.start;
		CU_ASSERT(end < more->start || r.start >= more->start + more->size);
		CU_ASSERT_EQUAL(plug(&r), -EADDRINUSE);
		devices++;
	}
	if (f)
		fclose(f);
	CU_ASSERT_EQUAL(devices, 2);
}

/* Pages of the new memory go to the device, and come home to it. */
static void use(const struct range *more, struct engine *e, char *early, char *late)
{
	unsigned long mask = 1ul << more->node;
	uint64_t value = 0;

	CU_ASSERT_EQUAL(syscall(SYS_set_mempolicy, MPOL_PREFERRED, &mask, 64), 0);
	CU_ASSERT_EQUAL(engine_do(e, ENGINE_LOAD, early + 5 * PAGE, 1, &value), 0);
	CU_ASSERT_EQUAL(value, (unsigned char)early[5 * PAGE]);
	CU_ASSERT(intact(early, PAGES));
	CU_ASSERT(all_in(more, early, PAGES));
	CU_ASSERT_EQUAL(migrate(early, PAGES * PAGE, 0), PAGES);

	memset(late, 1, MANY * PAGE);
	CU_ASSERT(all_in(more, late, MANY));
	fill(late, MANY);
	CU_ASSERT(all_at(late, MANY, 0));
	CU_ASSERT(intact(late, MANY));
	CU_ASSERT(all_in(more, late, MANY));
	/* An engine's stores: to pages that it fetches from there, and that go back there. */
	CU_ASSERT_EQUAL(engine_do(e, ENGINE_FILL, late, PAGE, &(uint64_t){ 0x5a }), 0);
	CU_ASSERT_EQUAL(where(late), 0);
	CU_ASSERT_EQUAL(late[7], 0x5a);
	CU_ASSERT(all_in(more, late, 1));
	fill(late, MANY);
	CU_ASSERT_EQUAL(migrate(late, MANY / 2 * PAGE, DRM_HMM_SYSTEM), MANY / 2);
	CU_ASSERT_EQUAL(syscall(SYS_set_mempolicy, 0, NULL, 0), 0);
}

static void new_memory(void)
{
	char *early = map(ALL), *late = early + (PAGES + APART) * PAGE;
	long total = look_up("/proc/meminfo", "MemTotal:"), kib;
	struct range more;
	struct engine e;

	CU_ASSERT_FATAL(machine_has(&more));
	kib = (long)(more.size / 1024);
	CU_ASSERT_EQUAL_FATAL(engine_start(&e, 0, early, ALL * PAGE), 0);
	fill(early, PAGES);
	check_taken(&more);
	CU_ASSERT_EQUAL_FATAL(plug(&more), 0);
	CU_ASSERT(set_state(&more, "online_movable") > 0);
	CU_ASSERT_EQUAL(look_up("/proc/meminfo", "MemTotal:"), total + kib);
	CU_ASSERT(all_at(early, PAGES, 0));
	use(&more, &e, early, late);

	/* And goes, with pages on it and on the device. */
	CU_ASSERT(set_state(&more, "offline") > 0);
	CU_ASSERT_EQUAL(look_up("/proc/meminfo", "MemTotal:"), total);
	CU_ASSERT_EQUAL(unplug(), 0);
	CU_ASSERT_EQUAL(set_state(&more, "online"), -1);
	CU_ASSERT(all_at(early, PAGES, 0));
	CU_ASSERT(intact(early, PAGES));
	CU_ASSERT(intact(late, MANY));
	CU_ASSERT_EQUAL(migrate(late, MANY * PAGE, 0), MANY);
	CU_ASSERT(intact(late, MANY));
	engine_end(&e);
	unmap(early, ALL);
	CU_ASSERT_EQUAL(resident(0), 0);
}

/* A block of memory that was there from the start goes and comes. */
static void old_memory(void)
{
	char *p = take(PAGES), name[64];
	int moved = 0;

	for (int i = 63; i >= 0 && !moved; i--) {
		snprintf(name, sizeof(name), MEMORY "memory%d/state", i);
		if (access(name, W_OK) || !put(name, "offline"))
			continue;
		CU_ASSERT(put(name, "online_movable") || put(name, "online"));
		moved++;
	}
	if (!moved)
		skipped("memory off and on", "no block can be emptied");
	CU_ASSERT(all_at(p, PAGES, 0));
	CU_ASSERT(intact(p, PAGES));
	CU_ASSERT_EQUAL(migrate(p, PAGES * PAGE, 0), PAGES);
	unmap(p, PAGES);
	CU_ASSERT_EQUAL(resident(0), 0);
}

void add_hotplug_tests(CU_pSuite s)
{
	CU_add_test(s, "memory comes and goes", new_memory);
	CU_add_test(s, "memory goes and comes", old_memory);
}

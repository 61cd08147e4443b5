// SPDX-License-Identifier: MIT
/*
 * What it costs to move a page: the driver's ioctls, those of the kernel's own test driver,
 * lib/test_hmm.c, or of floor/floor.c, which does nothing but what the core wants done. The best of
 * several rounds, in nanoseconds a page; with an emulator that counts (run.sh --icount) these are
 * instructions.
 *
 *   cost hmm_drm|test_hmm|floor
 *
 * Prints one line: to the device, home, and home by the CPU's touch. What the test driver's call to
 * the device costs has the copy in it that it makes of what is there then, for its caller.
 */
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGES 1024ul
#define BYTES (PAGES * PAGE)
#define ROUNDS 5

/* The test driver's calls; it installs no header. */
struct mirror_call {
	uint64_t addr, buffer, pages, done, faults;
};
#define MIRROR_TO_DEVICE _IOWR('H', 2, struct mirror_call)
#define MIRROR_TO_SYSTEM _IOWR('H', 3, struct mirror_call)
#define FLOOR_PREPARE _IO('H', 15)

static bool ours, floors;
static int mirror;
static char *buffer;

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static unsigned long move_by(unsigned long call, char *p)
{
	struct mirror_call c = {
		.addr = (uintptr_t)p,
		.buffer = (uintptr_t)buffer,
		.pages = PAGES,
	};

	return ioctl(mirror, call, &c) ? 0 : c.done;
}

/* To the device, or home; all of it. */
static void move(char *p, bool to_device)
{
	unsigned long moved;

	if (ours)
		moved = migrate(p, BYTES, to_device ? 0 : DRM_HMM_SYSTEM);
	else
		moved = move_by(to_device ? MIRROR_TO_DEVICE : MIRROR_TO_SYSTEM, p);
	if (moved != PAGES) {
		fprintf(stderr, "not all of it moved: %ld pages, errno %d\n", (long)moved, errno);
		exit(1);
	}
}

static void least(uint64_t *best, uint64_t began)
{
	uint64_t cost = (now() - began) / PAGES;

	if (!*best || cost < *best)
		*best = cost;
}

static void prepare(void)
{
	if (floors && ioctl(mirror, FLOOR_PREPARE))
		exit(1);
}

static void measure(char *p, uint64_t best[3])
{
	uint64_t began;

	memset(p, 1, BYTES);
	prepare();
	began = now();
	move(p, true);
	least(&best[0], began);
	began = now();
	move(p, false);
	least(&best[1], began);
	move(p, true);
	prepare();
	began = now();
	for (size_t at = 0; at < BYTES; at += PAGE)
		if (*(volatile char *)(p + at) != 1)
			abort();
	least(&best[2], began);
}

int main(int argc, char **argv)
{
	uint64_t best[3] = { 0 };
	char *p = map_anonymous(BYTES);

	ours = argc > 1 && !strcmp(argv[1], "hmm_drm");
	floors = argc > 1 && !strcmp(argv[1], "floor");
	buffer = map_anonymous(BYTES);
	madvise(p, BYTES, MADV_NOHUGEPAGE);
	memset(buffer, 0, BYTES);
	if (ours && client_open())
		return 1;
	mirror = ours ? -1 : open(floors ? "/dev/hmm_floor" : "/dev/hmm_dmirror0", O_RDWR);
	if (!ours && mirror < 0)
		return 1;
	for (int i = 0; i < ROUNDS; i++)
		measure(p, best);
	printf("%lu %lu %lu\n", (unsigned long)best[0], (unsigned long)best[1],
	       (unsigned long)best[2]);
	return 0;
}

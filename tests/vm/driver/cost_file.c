// SPDX-License-Identifier: MIT
/*
 * What it costs to write a file's pages back that a device made dirty, or the CPU. The least of
 * several rounds, in nanoseconds a page: with an emulator that counts (run.sh --icount) these are
 * instructions.
 *
 *   cost_file hmmfs|plain FILE STAT
 *
 * STAT is /sys/block/DISK/stat of the disk below. Prints one line: instructions a page, writes to
 * the disk, pages that came home.
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

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* How many writes the disk has seen: the fifth number. */
static unsigned long writes(const char *name)
{
	FILE *f = fopen(name, "r");
	unsigned long n = 0;

	if (!f || fscanf(f, "%*u %*u %*u %*u %lu", &n) != 1)
		exit(3);
	fclose(f);
	return n;
}

static uint64_t homings(void)
{
	struct drm_hmm_stats s = { .device = 0 };

	return ioctl(node, DRM_IOCTL_HMM_STATS, &s) ? 0 : s.to_system;
}

static char *make(const char *name)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	static char zeros[BYTES];

	if (fd < 0 || write(fd, zeros, BYTES) != (ssize_t)BYTES || fsync(fd))
		exit(4);
	return mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

int main(int argc, char **argv)
{
	uint64_t least = 0, began, cost, value, home;
	unsigned long disk, least_disk = ~0ul;
	struct engine e;
	bool ours;
	char *p;

	if (argc < 4)
		return 2;
	ours = !strcmp(argv[1], "hmmfs");
	p = make(argv[2]);
	if (p == MAP_FAILED || (ours && (client_open() || engine_start(&e, 0, p, BYTES))))
		return 2;
	home = ours ? homings() : 0;
	for (uint64_t i = 1; i <= ROUNDS; i++) {
		value = i;
		if (ours && engine_do(&e, ENGINE_FILL, p, BYTES, &value))
			return 5;
		if (!ours)
			memset(p, (int)i, BYTES);
		if (ours && resident(0) != BYTES)
			return 6;
		disk = writes(argv[3]);
		began = now();
		if (msync(p, BYTES, MS_SYNC))
			return 7;
		cost = (now() - began) / PAGES;
		disk = writes(argv[3]) - disk;
		least = !least || cost < least ? cost : least;
		least_disk = disk < least_disk ? disk : least_disk;
	}
	home = ours ? homings() - home : 0;
	printf("%lu %lu %lu\n", (unsigned long)least, least_disk, (unsigned long)home);
	if (ours)
		engine_end(&e);
	return 0;
}

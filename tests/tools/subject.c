// SPDX-License-Identifier: MIT
/*
 * subject MODE: what hmmctl's tests look at.
 *   hold   64 of 256 pages are on the device, in the middle; until standard input ends
 *   once   those pages go to the device and are read by the CPU; ends
 *   pass   the same without hmm_close(), by exit()
 *   storm  the same 2000 times
 *   file   a file of 1024 pages, mapped: 64 pages go to the device twice, are read by the CPU and by
 *          the device, 16 are stored to and synchronised, all go, and are evicted: first those 16,
 *          for they were advised so. Then 256 pages of memory go twice and are read by the CPU.
 */
#include <hmm/hmm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096ul
#define PAGES 256
#define FIRST 96
#define MOVED 64
#define FILE_PAGES 1024
#define STORED 16

static char *memory;

static int away(struct hmm *h)
{
	return hmm_migrate(h, memory + FIRST * PAGE, MOVED * PAGE, 0, 0) == MOVED ? 0 : 1;
}

static void touch(void)
{
	for (size_t i = 0; i < PAGES; i++)
		(void)*(volatile char *)(memory + i * PAGE);
}

static int move(struct hmm *h, char *p, size_t pages)
{
	return hmm_migrate(h, p, pages * PAGE, 0, 0) == (long)pages ? 0 : 1;
}

/* Device memory is 4096 pages: what comes last pushes the file out. */
static int push_out(struct hmm *h)
{
	char *p = mmap(NULL, 4096 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);

	return p == MAP_FAILED || move(h, p, 4096) || munmap(p, 4096 * PAGE);
}

static int file(struct hmm *h)
{
	int fd = memfd_create("subject", MFD_CLOEXEC);
	char *p, byte;
	void *at;

	if (fd < 0 || ftruncate(fd, FILE_PAGES * PAGE) ||
	    hmm_map_file(h, fd, 0, FILE_PAGES * PAGE, PROT_READ | PROT_WRITE, 0, &at))
		return 1;
	p = at;
	if (move(h, p + FIRST * PAGE, MOVED) || move(h, p + FIRST * PAGE, MOVED))
		return 1;
	for (size_t i = 0; i < MOVED; i++)
		(void)*(volatile char *)(p + (FIRST + i) * PAGE);
	if (hmm_device_read(h, 0, p, &byte, 1) != 1)
		return 1;
	memset(p + FIRST * PAGE, 1, STORED * PAGE);
	if (hmm_sync(h, p, FILE_PAGES * PAGE, 0) || move(h, p, FILE_PAGES) ||
	    hmm_advise(h, p + FIRST * PAGE, STORED * PAGE, HMM_ADVICE_EVICT_FIRST, 0) ||
	    push_out(h) || hmm_unmap(h, p, FILE_PAGES * PAGE))
		return 1;
	printf("file %lx\n", (unsigned long)p);
	return move(h, memory, PAGES) || move(h, memory, PAGES);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "once";
	int times = strcmp(mode, "storm") != 0 ? 1 : 2000, err = 0;
	struct hmm *h;
	char byte;

	/* Between two pages without access: else the kernel may make one mapping of ours and
	 * another. */
	memory = mmap(NULL, (PAGES + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return 77;
	memory += PAGE;
	if (mprotect(memory, PAGES * PAGE, PROT_READ | PROT_WRITE) || hmm_open(&h, NULL))
		return 77;
	memset(memory, 1, PAGES * PAGE);
	if (!strcmp(mode, "file")) {
		err = file(h);
		touch();
		times = 0;
	}
	for (int i = 0; !err && i < times; i++) {
		err = away(h);
		if (strcmp(mode, "hold") != 0)
			touch();
	}
	printf("ready %lx\n", (unsigned long)memory);
	fflush(stdout);
	if (!strcmp(mode, "hold"))
		while (read(0, &byte, 1) > 0)
			;
	if (strcmp(mode, "pass") != 0)
		hmm_close(h);
	exit(err);
}

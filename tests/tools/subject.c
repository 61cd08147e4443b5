// SPDX-License-Identifier: MIT
/*
 * subject MODE: what hmmctl's tests look at.
 *   hold   64 of 256 pages are on the device, in the middle; until standard input ends
 *   once   those pages go to the device and are read by the CPU; ends
 *   pass   the same without hmm_close(), by exit()
 *   storm  the same 2000 times
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

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "once";
	int times = strcmp(mode, "storm") != 0 ? 1 : 2000, err = 0;
	struct hmm *h;
	char byte;

	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	if (memory == MAP_FAILED || hmm_open(&h, NULL))
		return 77;
	memset(memory, 1, PAGES * PAGE);
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

// SPDX-License-Identifier: MIT
/*
 * What fences of hmmfs prevent, looked for where it shows every time.
 *
 *   fence uptodate FILE SECONDS	a page is read while it goes to a device and comes home
 *   fence unmap FILE	a page that the CPU has mapped goes to a device
 *   fence hole FILE SECONDS	pages are written back while their file gets a hole
 *   fence mark FILE LOWER	pages are dropped, and used anew, while they go to a device
 */
#include "engine.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define READERS 2
#define HOLE_PAGES 64
#define MARK_PAGES 32
#define EXT4_SHUTDOWN _IOR('X', 125, uint32_t)
#define WORD 0x0123456789abcdefull

static int file;
static char *base;
static _Atomic int stop;
static _Atomic unsigned long reads, wrong, moves;

/* A frame is never uptodate; from one that seems so, read() copies what the CPU cannot address. */
static void *reader(void *unused)
{
	while (!stop) {
		uint64_t word = 0;

		if (pread(file, &word, sizeof(word), 0) != sizeof(word) || word != WORD)
			wrong++;
		reads++;
	}
	return unused;
}

static int uptodate(int seconds)
{
	time_t end = time(NULL) + seconds;
	pthread_t t[READERS];

	for (int i = 0; i < READERS; i++)
		pthread_create(&t[i], NULL, reader, NULL);
	while (!wrong && time(NULL) < end) {
		migrate(base, PAGE, 0);
		moves++;
	}
	stop = 1;
	for (int i = 0; i < READERS; i++)
		pthread_join(t[i], NULL);
	printf("%lu reads, %lu migrations, %lu wrong\n", (unsigned long)reads, (unsigned long)moves,
	       (unsigned long)wrong);
	return wrong || !moves;
}

/* No page table has an entry of a file's frame: not even one that looks swapped. */
static int unmap(void)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry = 0;
	long n = migrate(base, PAGE, 0);

	if (n != 1 || pread(fd, &entry, 8, (off_t)((uintptr_t)base / PAGE * 8)) != 8)
		return 2;
	/* The CPU's touch mends it: the kernel would complain of it at the end. */
	printf("entry %#lx, word %#lx\n", (unsigned long)entry,
	       (unsigned long)*(volatile uint64_t *)base);
	return entry >> 62 != 0;
}

static void *flush(void *unused)
{
	while (!stop)
		sync_file_range(file, 0, 0, SYNC_FILE_RANGE_WRITE);
	return unused;
}

/* Whoever is late in writing would fill the hole again with what was there. */
static int hole(int seconds)
{
	static char data[HOLE_PAGES * PAGE], there[HOLE_PAGES * PAGE], none[HOLE_PAGES * PAGE];
	time_t end = time(NULL) + seconds;
	pthread_t t;

	memset(data, 1, sizeof(data));
	pthread_create(&t, NULL, flush, NULL);
	while (!wrong && time(NULL) < end) {
		bool failed = pwrite(file, data, sizeof(data), 0) != (ssize_t)sizeof(data) ||
			      fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
					sizeof(data)) ||
			      fsync(file) || posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) ||
			      pread(file, there, sizeof(there), 0) != (ssize_t)sizeof(there);

		moves++;
		wrong += failed || memcmp(there, none, sizeof(there)) != 0;
	}
	stop = 1;
	pthread_join(t, NULL);
	printf("%lu holes, %lu wrong\n", (unsigned long)moves, (unsigned long)wrong);
	return wrong || !moves;
}

static void run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/*
 * What was freed last is what the CPU allocates next: the page is dropped, is a pipe's (whose pages
 * are of the same kind), and is the file's again.
 */
static void *reuse(void *at)
{
	static char other[PAGE];
	uint64_t word;
	int ends[2];

	run_on(1);
	memset(other, 0xee, PAGE);
	if (pipe(ends))
		return NULL;
	usleep(10000);
	posix_fadvise(file, *(off_t *)at, PAGE, POSIX_FADV_DONTNEED);
	if (write(ends[1], other, PAGE) != (ssize_t)PAGE)
		stop = 1;
	close(ends[0]);
	close(ends[1]);
	if (pread(file, &word, sizeof(word), *(off_t *)at) < 0)
		reads++;
	return NULL;
}

/* What cannot be read is an error, or was read before: never what the memory held last. */
static int mark(const char *lower)
{
	int below = open(lower, O_RDONLY);
	uint32_t now = 2;
	uint64_t word = WORD;
	pthread_t t;

	run_on(1);
	for (off_t at = 0; at < MARK_PAGES * (off_t)PAGE; at += PAGE)
		if (pwrite(file, &word, 8, at) != 8)
			return 2;
	run_on(0);
	base = mmap(NULL, MARK_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (base == MAP_FAILED || fsync(file) || posix_fadvise(file, 0, 0, POSIX_FADV_RANDOM) ||
	    ioctl(below, EXT4_SHUTDOWN, &now))
		return 2;
	/* The first is mapped. */
	for (off_t at = PAGE; at < MARK_PAGES * (off_t)PAGE; at += PAGE) {
		pthread_create(&t, NULL, reuse, &at);
		moves += migrate(base + at, PAGE, 0) == 1;
		pthread_join(t, NULL);
		wrong += pread(file, &word, 8, at) == 8 && word != WORD;
	}
	printf("%lu migrations, %lu unreadable, %lu wrong, last %#lx\n", (unsigned long)moves,
	       (unsigned long)reads, (unsigned long)wrong, (unsigned long)word);
	return stop || !moves ? 2 : wrong != 0;
}

int main(int argc, char **argv)
{
	const uint64_t word = WORD;

	if (argc < 3)
		return 2;
	file = open(argv[2], O_RDWR | O_CREAT | O_TRUNC, 0644);
	if (file < 0 || ftruncate(file, PAGE) || pwrite(file, &word, 8, 0) != 8 || client_open())
		return 2;
	base = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (base == MAP_FAILED || *(volatile uint64_t *)base != WORD)
		return 2;
	if (strcmp(argv[1], "hole") == 0)
		return hole(argc > 3 ? atoi(argv[3]) : 2);
	if (strcmp(argv[1], "mark") == 0)
		return argc > 3 ? mark(argv[3]) : 2;
	return strcmp(argv[1], "unmap") == 0 ? unmap() : uptodate(argc > 3 ? atoi(argv[3]) : 2);
}

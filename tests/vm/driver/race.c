// SPDX-License-Identifier: MIT
/*
 * No increment is lost: the CPU and two engines each add to words of their own in the same
 * pages, by ordinary loads and stores, while another thread moves the pages about. With a file
 * on hmmfs a third counts by pread() and pwrite(), a fourth calls fsync(), and in the end every
 * count must be in the lower file. With ENGINES, nobody counts but so many engines, and one alone
 * keeps its pages: nothing else makes a page dirty that writeback has wrongly taken for clean.
 *
 *   race SECONDS PAGES [FILE LOWER [ENGINES]]
 *
 * With HMM_TEST_FAULTS set all of them may be short of memory (the caller makes the kernel do
 * that): system calls are then made again, and no increment is lost for it.
 */
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static char *base;
static size_t length;
static _Atomic int stop;
static volatile uint64_t cpu_rounds, moves, call_rounds, syncs;
static _Atomic uint64_t short_of_memory;
static int file = -1;

/* An error that the caller's tries may end in; anything else is the end. */
static void may_fail(bool faults)
{
	if (!faults || (errno != ENOMEM && errno != EIO))
		abort();
	short_of_memory++;
}

static void *cpu_counts(void *unused)
{
	fail_sometimes();
	while (!stop) {
		for (size_t at = 0; at < length; at += PAGE)
			++*(volatile uint64_t *)(base + at);
		cpu_rounds++;
	}
	return unused;
}

static void *mover(void *unused)
{
	unsigned int seed = 7;

	fail_sometimes();
	while (!stop) {
		size_t first = (size_t)rand_r(&seed) % (length / PAGE);
		size_t n = 1 + (size_t)rand_r(&seed) % (length / PAGE - first);

		if (migrate(base + first * PAGE, n * PAGE, rand_r(&seed) % 3 - 1) == -ENOMEM)
			short_of_memory++;
		moves++;
	}
	return unused;
}

static void *calls_count(void *unused)
{
	bool faults = fail_sometimes();

	while (!stop) {
		for (size_t at = 0; at < length; at += PAGE) {
			uint64_t n;

			while (pread(file, &n, sizeof(n), (off_t)at + 24) != sizeof(n))
				may_fail(faults);
			n++;
			while (pwrite(file, &n, sizeof(n), (off_t)at + 24) != sizeof(n))
				may_fail(faults);
		}
		call_rounds++;
	}
	return unused;
}

static void *syncer(void *unused)
{
	bool faults = fail_sometimes();

	while (!stop) {
		if (fsync(file))
			may_fail(faults);
		syncs++;
	}
	return unused;
}

/* Which of them there are. */
static void *(*threads[4])(void *);

static void choose(bool cpu, int engines)
{
	int n = 0;

	if (cpu || engines > 1)
		threads[n++] = mover;
	if (cpu)
		threads[n++] = cpu_counts;
	if (file >= 0)
		threads[n++] = syncer;
	if (file >= 0 && cpu)
		threads[n++] = calls_count;
}

static long check(const char *from, size_t word, uint64_t want)
{
	long lost = 0;

	for (size_t at = 0; at < length; at += PAGE) {
		uint64_t got = *(const volatile uint64_t *)(from + at + word);

		if (got != want)
			lost += labs((long)(want - got));
	}
	return lost;
}

static long check_all(const char *from, const uint64_t *rounds)
{
	return check(from, 0, cpu_rounds) + check(from, 8, rounds[0]) + check(from, 16, rounds[1]) +
	       check(from, 24, call_rounds);
}

/* Everybody comes round, also where that takes longer than there is time for. */
static void run(int seconds, const struct engine *e, int engines, bool cpu)
{
	sleep((unsigned int)seconds);
	for (int i = 0; i < patient(300); i++) {
		if (engine_rounds(&e[0]) && (engines < 2 || engine_rounds(&e[1])) &&
		    (!cpu || cpu_rounds))
			return;
		usleep(100000);
	}
}

static int open_file(char **argv)
{
	file = open(argv[3], O_RDWR | O_CREAT | O_TRUNC, 0644);
	if (file < 0 || ftruncate(file, (off_t)length))
		return -1;
	base = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	return base == MAP_FAILED ? -1 : 0;
}

/* What the lower file holds, once more and for good. */
static long check_lower(const char *name, const uint64_t *rounds)
{
	int fd = open(name, O_RDONLY);
	char *copy = malloc(length);
	long lost;

	/* What an fsync() could not write before is reported once, and written by the next. */
	if (getenv("HMM_TEST_FAULTS"))
		fsync(file);
	if (fsync(file) || pread(fd, copy, length, 0) != (ssize_t)length)
		return 1;
	lost = check_all(copy, rounds);
	close(fd);
	free(copy);
	return lost;
}

int main(int argc, char **argv)
{
	int seconds = argc > 1 ? atoi(argv[1]) : 5;
	struct engine e[2];
	uint64_t rounds[2] = { 0 };
	bool cpu = argc < 6;
	int engines = cpu ? 2 : atoi(argv[5]);
	pthread_t t[4];
	long lost, unwritten = 0;

	length = (argc > 2 ? strtoul(argv[2], NULL, 0) : 8) * PAGE;
	if (argc > 4 && open_file(argv))
		return 2;
	if (file < 0)
		base = map_anonymous(length);
	if (client_open() || engine_start(&e[0], 0, base, length) ||
	    engine_start(&e[1], 1, base, length))
		return 2;
	engine_begin(&e[0], ENGINE_COUNT, base + 8, length, 0);
	if (engines > 1)
		engine_begin(&e[1], ENGINE_COUNT, base + 16, length, 0);
	choose(cpu, engines);
	for (int i = 0; i < 4 && threads[i]; i++)
		pthread_create(&t[i], NULL, threads[i], NULL);
	run(seconds, e, engines, cpu);
	engine_stop(&e[0]);
	engine_stop(&e[1]);
	stop = 1;
	for (int i = 0; i < 4 && threads[i]; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < engines; i++) {
		int err = engine_wait(&e[i], &rounds[i]);

		if (err) {
			printf("engine %d died: %d\n", i, err);
			return 3;
		}
	}
	if (file >= 0)
		unwritten = check_lower(argv[4], rounds);
	lost = check_all(base, rounds);
	if (file >= 0)
		printf("%lu by system call, %lu fsync, %ld not in the lower file; ",
		       (unsigned long)call_rounds, (unsigned long)syncs, unwritten);
	printf("%zu pages: %lu CPU, %lu and %lu engine increments each, %lu migrations, %ld lost\n",
	       length / PAGE, (unsigned long)cpu_rounds, (unsigned long)rounds[0],
	       (unsigned long)rounds[1], (unsigned long)moves, lost);
	if (getenv("HMM_TEST_FAULTS"))
		printf("%lu calls short of memory\n", (unsigned long)short_of_memory);
	engine_end(&e[0]);
	engine_end(&e[1]);
	if (!rounds[0] || (engines > 1 && !rounds[1]) || (cpu && !cpu_rounds)) {
		printf("somebody never had a turn\n");
		return 4;
	}
	return lost || unwritten;
}

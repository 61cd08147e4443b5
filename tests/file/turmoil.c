// SPDX-License-Identifier: MIT
/*
 * turmoil [--algorithm move|wp] [--seconds N] [FOLDER]
 *
 * Everything at once: threads store to a mapped file by the CPU and as a device does, each to words
 * of its own, while others migrate, sync, map and unmap parts of it again, discard, fork, and make
 * the file longer and shorter behind what is stored to. In the end the last hmm_close() comes while
 * the CPU's threads go on, and the mapping becomes the file's own. No store may be lost: the file
 * must hold each thread's last count in every word.
 */
#include <hmm/hmm.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul
#define PAGES 700u /* more than a block, more than a device holds of it */
#define TAIL 64u   /* behind them the file changes its length */
#define WRITERS 2u /* on each side */

static struct hmm *h;
static char *map;
static int fd;
static _Atomic bool stop, stop_cpu;
static _Atomic long failed, ops[5];
static uint32_t count[2 * WRITERS][PAGES];

static uint32_t next(uint32_t *s)
{
	*s = *s * 1664525u + 1013904223u;
	return *s >> 8;
}

static uint32_t *word(char *base, unsigned int page, unsigned int id)
{
	return (uint32_t *)(void *)(base + page * PAGE + id * 512);
}

static void *cpu_writer(void *arg)
{
	unsigned int id = (unsigned int)(uintptr_t)arg;
	uint32_t s = id;

	while (!atomic_load(&stop_cpu)) {
		unsigned int page = next(&s) % PAGES;
		volatile uint32_t *w = word(map, page, id);

		if (*w != count[id][page])
			atomic_fetch_add(&failed, 1);
		*w = ++count[id][page];
		ops[0]++;
	}
	return NULL;
}

static void *device_writer(void *arg)
{
	unsigned int id = (unsigned int)(uintptr_t)arg;
	uint32_t s = id;

	while (!atomic_load(&stop)) {
		unsigned int page = next(&s) % PAGES;
		uint32_t value = ++count[id][page], had = 0;

		if (hmm_device_read(h, (int)(s & 1), word(map, page, id), &had, 4) != 4 ||
		    had != value - 1 ||
		    hmm_device_write(h, (int)(s & 1), word(map, page, id), &value, 4) != 4)
			atomic_fetch_add(&failed, 1);
		ops[1]++;
	}
	return NULL;
}

static void *migrator(void *unused)
{
	uint32_t s = 5;

	(void)unused;
	while (!atomic_load(&stop)) {
		unsigned int at = next(&s) % PAGES, n = 1 + next(&s) % 100;

		if (n > PAGES - at)
			n = PAGES - at;
		if (hmm_migrate(h, map + at * PAGE, n * PAGE, (int)(next(&s) % 3) - 1, 0) < 0)
			atomic_fetch_add(&failed, 1);
		if (next(&s) % 4 == 0 && madvise(map + at * PAGE, n * PAGE, MADV_DONTNEED))
			atomic_fetch_add(&failed, 1);
		ops[2]++;
	}
	return NULL;
}

static void *mapper(void *unused)
{
	uint32_t s = 6;

	(void)unused;
	while (!atomic_load(&stop)) {
		unsigned int at = next(&s) % PAGES, n = 1 + next(&s) % (PAGES - at);
		bool plain = next(&s) % 2;
		uint32_t sum = 0;
		void *p;

		if (hmm_map_file(h, fd, (off_t)(at * PAGE), n * PAGE, PROT_READ | PROT_WRITE, 0,
				 &p)) {
			atomic_fetch_add(&failed, 1);
			continue;
		}
		for (unsigned int i = 0; i < n; i += 7)
			sum += *word(p, i, 0);
		if (hmm_device_read(h, 0, p, &sum, 4) != 4)
			atomic_fetch_add(&failed, 1);
		if (plain ? munmap(p, n * PAGE) : hmm_unmap(h, p, n * PAGE))
			atomic_fetch_add(&failed, 1);
		ops[3]++;
	}
	return NULL;
}

static void *syncer(void *unused)
{
	uint32_t s = 7;

	(void)unused;
	while (!atomic_load(&stop)) {
		if (hmm_sync(h, map, (PAGES + TAIL) * PAGE, 0) ||
		    ftruncate(fd, (off_t)((PAGES + next(&s) % TAIL) * PAGE)))
			atomic_fetch_add(&failed, 1);
		ops[4]++;
	}
	return NULL;
}

/* The child has at least what was stored before; a store may be counted and not be made yet. */
static void fork_one(void)
{
	static uint32_t before[2 * WRITERS][PAGES];
	int status = 1;
	pid_t pid;

	memcpy(before, count, sizeof(before));
	pid = fork();
	if (!pid) {
		for (unsigned int page = 0; page < PAGES; page++)
			for (unsigned int id = 0; id < 2 * WRITERS; id++)
				if (*word(map, page, id) + 1 < before[id][page])
					_exit(1);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		atomic_fetch_add(&failed, 1);
}

static long missing(void)
{
	static char bytes[PAGES * PAGE];
	long n = 0;

	if (pread(fd, bytes, sizeof(bytes), 0) != sizeof(bytes))
		return -1;
	for (unsigned int page = 0; page < PAGES; page++)
		for (unsigned int id = 0; id < 2 * WRITERS; id++)
			n += *word(bytes, page, id) != count[id][page];
	return n;
}

int main(int argc, char **argv)
{
	static void *(*const side[])(void *) = { migrator, mapper, syncer };
	struct hmm_open_opts o = {
		.sz = sizeof(o), .backend = "emulated", .devices = 2, .device_bytes = 2 << 20
	};
	pthread_t cpu[WRITERS], device[WRITERS], other[3];
	const char *folder = ".";
	int seconds = 5;
	char path[300];
	void *p;
	long lost;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--algorithm") && i + 1 < argc)
			o.flags |= strcmp(argv[++i], "wp") ? 0 : HMM_OPEN_NO_MOVE;
		else if (!strcmp(argv[i], "--seconds") && i + 1 < argc)
			seconds = atoi(argv[++i]);
		else
			folder = argv[i];
	}
	snprintf(path, sizeof(path), "%s/turmoil-%d", folder, (int)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	unlink(path);
	if (fd < 0 || ftruncate(fd, PAGES * PAGE) || hmm_open(&h, &o) ||
	    hmm_map_file(h, fd, 0, (PAGES + TAIL) * PAGE, PROT_READ | PROT_WRITE, 0, &p))
		return 1;
	map = p;
	for (uintptr_t i = 0; i < WRITERS; i++) {
		pthread_create(&cpu[i], NULL, cpu_writer, (void *)i);
		pthread_create(&device[i], NULL, device_writer, (void *)(i + WRITERS));
	}
	for (int i = 0; i < 3; i++)
		pthread_create(&other[i], NULL, side[i], NULL);
	for (int i = 0; i < 4 * seconds; i++, usleep(250000))
		fork_one();
	atomic_store(&stop, true);
	for (unsigned int i = 0; i < WRITERS; i++)
		pthread_join(device[i], NULL);
	for (int i = 0; i < 3; i++)
		pthread_join(other[i], NULL);
	hmm_close(h);
	usleep(20000);
	atomic_store(&stop_cpu, true);
	for (unsigned int i = 0; i < WRITERS; i++)
		pthread_join(cpu[i], NULL);
	lost = missing();
	printf("%ld stores by the CPU, %ld by devices, %ld migrations, %ld mappings, %ld syncs: "
	       "%ld failed, %ld words not in the file\n",
	       (long)ops[0], (long)ops[1], (long)ops[2], (long)ops[3], (long)ops[4], (long)failed,
	       lost);
	return failed || lost ? 1 : 0;
}

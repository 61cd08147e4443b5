// SPDX-License-Identifier: MIT
/*
 * record [--algorithm move|wp] [--halves] [FOLDER]
 *
 * Records of a value and its checksum, each stored in one step: a naturally aligned store of 8
 * bytes by a kernel's work item, by hmm_device_write(), or by a thread of the CPU. Pages migrate,
 * are written back and evicted meanwhile, and who reads the file finds no record half-new, ever.
 *
 * --halves: the kernel stores the value and then the checksum, and half-new ones must be found.
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
#include <time.h>
#include <unistd.h>

#include "file/kernel.h"

#define PAGES 64u
#define PAGE 4096ul
#define RECORDS (PAGES * PAGE / 8)
#define ITEMS 2u
#define CHECKSUM "((v) * 2654435761u ^ 0x5bd1e995u)"
#define CHECKSUM_OF(v) ((v)*2654435761u ^ 0x5bd1e995u)

/* Each item has every second record. */
#define HEAD                                                                 \
	"kernel void put(global char *m, int pages, int seed)\n"             \
	"{ uint id = get_global_id(0), s = seed * 2 + id;\n"                 \
	"  for (int i = 0; i < 2000; i++) { s = s * 1664525 + 1013904223;\n" \
	"    uint v = s, at = (s >> 8) % (pages * 256) * 2 + id;\n"          \
	"    volatile global ulong *p = (volatile global ulong *)m + at;\n"

static const char whole[] = HEAD "    *p = (ulong)" CHECKSUM " << 32 | v; } }\n";
static const char halves[] = HEAD
	"    volatile global uint *q = (volatile global uint *)p; q[0] = v;\n"
	"    for (volatile int k = 0; k < 200; k++) ;\n"
	"    q[1] = " CHECKSUM "; } }\n";

static struct hmm *h;
static char *map;
static char path[300];
static time_t end_at;
static _Atomic bool stop;
static _Atomic long reads, news, half, syncs, in_place, stored, failures;

static uint32_t next(uint32_t *s)
{
	*s = *s * 1664525u + 1013904223u;
	return *s >> 8;
}

static uint64_t record_of(uint32_t v)
{
	return (uint64_t)CHECKSUM_OF(v) << 32 | v;
}

/* Into the same records as the kernel's. */
static void *cpu_writer(void *unused)
{
	uint32_t s = 5;

	while (!atomic_load(&stop)) {
		uint32_t at = next(&s) % RECORDS;

		if (next(&s) % 4)
			((volatile uint64_t *)(void *)map)[at] = record_of(s);
		else if (hmm_device_write(h, 0, map + at * 8ul, &(uint64_t){ record_of(s) }, 8) !=
			 8)
			atomic_fetch_add(&failures, 1);
		atomic_fetch_add(&stored, 1);
	}
	return unused;
}

static void *reader(void *unused)
{
	static uint64_t now[RECORDS], last[RECORDS];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	while (!atomic_load(&stop)) {
		if (pread(fd, now, sizeof(now), 0) != sizeof(now))
			atomic_fetch_add(&failures, 1);
		for (unsigned int i = 0; i < RECORDS; i++) {
			if (now[i] == last[i])
				continue;
			news++;
			half += now[i] != record_of((uint32_t)now[i]);
			last[i] = now[i];
		}
		reads++;
	}
	close(fd);
	return unused;
}

static void *mover(void *unused)
{
	struct hmm_page_status s[PAGES];
	uint32_t r = 99;

	while (!atomic_load(&stop)) {
		unsigned int at = next(&r) % PAGES, n = 1 + next(&r) % (PAGES - at);

		hmm_migrate(h, map + at * PAGE, n * PAGE, next(&r) % 3 ? 0 : HMM_SYSTEM, 0);
		if (hmm_sync(h, map, PAGES * PAGE, 0))
			atomic_fetch_add(&failures, 1);
		syncs++;
		if (hmm_query(h, map, PAGES * PAGE, s) == (int)PAGES)
			for (unsigned int i = 0; i < PAGES; i++)
				in_place += s[i].location >= 0;
	}
	return unused;
}

static int run(bool in_halves, long seconds)
{
	void *(*const job[])(void *) = { reader, mover, cpu_writer };
	const unsigned int jobs = in_halves ? 2 : 3;
	pthread_t thread[3];
	struct kernel k;

	if (kernel_open(&k, h, 0, in_halves ? halves : whole, "put") ||
	    kernel_run(&k, ITEMS, map, PAGES, 0)) /* compiled now */
		return 1;
	end_at = time(NULL) + seconds;
	for (unsigned int i = 0; i < jobs; i++)
		pthread_create(&thread[i], NULL, job[i], NULL);
	for (int seed = 1; time(NULL) < end_at && !(in_halves && half); seed++) {
		if (kernel_run(&k, ITEMS, map, PAGES, seed))
			failures++;
		stored += 2000l * ITEMS;
	}
	atomic_store(&stop, true);
	for (unsigned int i = 0; i < jobs; i++)
		pthread_join(thread[i], NULL);
	close(k.fd);
	return 0;
}

/* A file full of records whose value is 0. */
static int make(const char *folder)
{
	static uint64_t all[RECORDS];
	int fd;

	for (unsigned int i = 0; i < RECORDS; i++)
		all[i] = record_of(0);
	snprintf(path, sizeof(path), "%s/record-%d", folder, (int)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	return fd >= 0 && write(fd, all, sizeof(all)) == sizeof(all) ? fd : -1;
}

int main(int argc, char **argv)
{
	struct hmm_open_opts o = { .sz = sizeof(o), .backend = "emulated" };
	const char *folder = ".", *scale = getenv("HMM_TEST_SCALE");
	bool in_halves = false;
	void *p;
	int fd;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--algorithm") && i + 1 < argc)
			o.flags |= strcmp(argv[++i], "wp") ? 0 : HMM_OPEN_NO_MOVE;
		else if (!strcmp(argv[i], "--halves"))
			in_halves = true;
		else
			folder = argv[i];
	}
	fd = make(folder);
	if (fd < 0 || hmm_open(&h, &o) ||
	    hmm_map_file(h, fd, 0, PAGES * PAGE, PROT_READ | PROT_WRITE, 0, &p))
		return 1;
	map = p;
	failures += run(in_halves, in_halves ? 60 : 5 * (scale ? atol(scale) : 1));
	printf("%ld records stored, %ld reads of the file found %ld new ones: %ld half-new; "
	       "%ld syncs, %ld pages in place, %ld failures\n",
	       (long)stored, (long)reads, (long)news, (long)half, (long)syncs, (long)in_place,
	       (long)failures);
	unlink(path);
	hmm_close(h);
	return failures || !news || !in_place || !half == in_halves;
}

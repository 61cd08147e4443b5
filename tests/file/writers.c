// SPDX-License-Identifier: MIT
/*
 * writers [--algorithm move|wp] [--without FENCE] [--spread] [FOLDER]
 *
 * No store is lost while a file is written back: two threads and two work items of a kernel, which
 * runs in the engine with native stores, count in words of their own in the same pages, one thread
 * migrates, one syncs. In the end the file must hold every count, as read(2) gives it after
 * hmm_sync(). Meanwhile what the file holds never runs backwards.
 *
 * --spread: the pages lie so far apart that two threads write the file back.
 *
 * --without: the fence is left out (HMM_TEST_SKIP_FENCE), and counts must get lost: sooner or
 * later, so it is short, and begun anew if none is.
 */
#include <hmm/hmm.h>
#include <hmm/hmm_engine.h>

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

#include "control.h"
#include "file/kernel.h"

#define PAGES 64u
#define PAGE 4096ul
#define WRITERS 2u /* on each side */
#define BRIEF 2    /* s, without a fence */

static const char format[] = "kernel void inc(global char *m, int pages, int n)\n"
			     "{ int id = get_global_id(0); uint s = id + 77;\n"
			     "  for (int i = 0; i < n; i++) { s = s * 1664525 + 1013904223;\n"
			     "    volatile global uint *p = (volatile global uint *)\n"
			     "      (m + (ulong)((s >> 8) %% pages) * %lu + 2048 + id * 64);\n"
			     "    (*p)++; } }\n";

static struct hmm *h;
static char *map;
static size_t stride = PAGE; /* from page to page of those that are counted in */
/* Each writer's stores, or as many as it has got to when the time is over. */
static long count = 400000, seconds = 8;
static _Atomic long stored;
static time_t end_at;
static int fd;
static _Atomic bool stop;
static _Atomic long syncs, in_place, backwards;

static uint32_t next(uint32_t *s)
{
	*s = *s * 1664525u + 1013904223u;
	return *s >> 8;
}

static void *cpu_writer(void *arg)
{
	uint32_t id = *(uint32_t *)arg, s = id + 1;
	long i = 0;

	for (; i < count && time(NULL) < end_at; i++)
		++*(volatile uint32_t *)(void *)(map + (next(&s) % PAGES) * stride + id * 64);
	atomic_fetch_add(&stored, i);
	return NULL;
}

static int device_writers(struct kernel *k)
{
	const long slice = 2000;

	for (long i = 0; i < count && time(NULL) < end_at; i += slice) {
		if (kernel_run(k, WRITERS, map, PAGES, (int)slice))
			return -1;
		atomic_fetch_add(&stored, WRITERS * slice);
	}
	return 0;
}

static void *migrator(void *unused)
{
	uint32_t s = 99;

	(void)unused;
	while (!atomic_load(&stop)) {
		unsigned int at = next(&s) % PAGES, n = 1 + next(&s) % 16;

		if (n > PAGES - at)
			n = PAGES - at;
		hmm_migrate(h, map + at * stride, n * stride, next(&s) & 1 ? 0 : HMM_SYSTEM, 0);
	}
	return NULL;
}

/* What the file holds; false: it cannot be read. */
static bool contents(uint32_t *words)
{
	for (unsigned int p = 0; p < PAGES; p++)
		if (pread(fd, words + p * PAGE / 4, PAGE, (off_t)(p * stride)) != (ssize_t)PAGE)
			return false;
	return true;
}

/* Each word of the file only grows. */
static void look(uint32_t *last)
{
	static uint32_t now[PAGES * PAGE / 4];

	if (!contents(now))
		atomic_fetch_add(&backwards, 1);
	for (unsigned int i = 0; i < PAGES * PAGE / 4; i++) {
		if (now[i] < last[i])
			atomic_fetch_add(&backwards, 1);
		last[i] = now[i];
	}
}

static void *syncer(void *unused)
{
	static uint32_t last[PAGES * PAGE / 4];
	struct hmm_page_status s;

	(void)unused;
	while (!atomic_load(&stop)) {
		if (hmm_sync(h, map, PAGES * stride, 0))
			atomic_fetch_add(&backwards, 1);
		atomic_fetch_add(&syncs, 1);
		for (unsigned int p = 0; p < PAGES; p++)
			if (hmm_query(h, map + p * stride, PAGE, &s) == 1)
				in_place += s.location >= 0;
		look(last);
	}
	return NULL;
}

static long missing(void)
{
	static uint32_t have[PAGES][PAGE / 4];
	long total = 0;

	if (!contents(have[0]))
		return -1;
	for (unsigned int p = 0; p < PAGES; p++)
		for (unsigned int id = 0; id < WRITERS; id++)
			total += have[p][id * 16] + have[p][512 + id * 16];
	return stored - total;
}

static long run(void)
{
	pthread_t thread[WRITERS + 2];
	uint32_t id[WRITERS];
	char source[sizeof(format) + 20];
	struct kernel k;

	snprintf(source, sizeof(source), format, stride);
	if (kernel_open(&k, h, 0, source, "inc") || kernel_run(&k, WRITERS, map, PAGES, 0))
		return -1;
	atomic_store(&stop, false);
	end_at = time(NULL) + seconds;
	for (unsigned int i = 0; i < WRITERS; i++) {
		id[i] = i;
		pthread_create(&thread[i], NULL, cpu_writer, &id[i]);
	}
	pthread_create(&thread[WRITERS], NULL, migrator, NULL);
	pthread_create(&thread[WRITERS + 1], NULL, syncer, NULL);
	if (device_writers(&k))
		return -1;
	for (unsigned int i = 0; i < WRITERS; i++)
		pthread_join(thread[i], NULL);
	atomic_store(&stop, true);
	for (unsigned int i = WRITERS; i < WRITERS + 2; i++)
		pthread_join(thread[i], NULL);
	close(k.fd);
	return hmm_sync(h, map, PAGES * stride, 0) ? -1 : missing();
}

int main(int argc, char **argv)
{
	struct hmm_open_opts o = { .sz = sizeof(o), .backend = "emulated" };
	struct hmm_stats s = { .sz = sizeof(s) };
	const char *folder = ".";
	bool broken = false;
	char path[300];
	void *p;
	long lost;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--algorithm") && i + 1 < argc) {
			o.flags |= strcmp(argv[++i], "wp") ? 0 : HMM_OPEN_NO_MOVE;
		} else if (!strcmp(argv[i], "--without") && i + 1 < argc) {
			setenv("HMM_TEST_SKIP_FENCE", argv[++i], 1);
			broken = true;
		} else if (!strcmp(argv[i], "--spread")) {
			stride = 64 * PAGE;
		} else {
			folder = argv[i];
		}
	}
	if (getenv("HMM_TEST_SCALE")) {
		count *= atol(getenv("HMM_TEST_SCALE"));
		seconds *= atol(getenv("HMM_TEST_SCALE"));
	}
	snprintf(path, sizeof(path), "%s/writers-%d", folder, (int)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	unlink(path);
	if (fd < 0 || ftruncate(fd, (off_t)(PAGES * stride)) || hmm_open(&h, &o) ||
	    hmm_map_file(h, fd, 0, PAGES * stride, PROT_READ | PROT_WRITE, 0, &p)) {
		fprintf(stderr, "%s cannot be mapped\n", path);
		return 1;
	}
	map = p;
	if (broken)
		seconds = BRIEF;
	lost = run();
	hmm_stats(h, -1, &s);
	printf("%u + %u writers, %ld stores: %ld not in the file, %ld ran backwards; "
	       "%ld syncs, %ld pages in place; %lu out, %lu home\n",
	       WRITERS, WRITERS, (long)stored, lost, (long)backwards, (long)syncs, (long)in_place,
	       (unsigned long)s.pages_to_device, (unsigned long)s.pages_to_system);
	hmm_close(h);
	if (!broken || lost < 0)
		return lost || backwards || !in_place ? 1 : 0;
	return lost || backwards ? 0 : CONTROL_UNSEEN;
}

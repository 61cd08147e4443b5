// SPDX-License-Identifier: MIT
/*
 * exerciser [--seed N] [--count N] [--algorithm move|wp] [--without FENCE] [FOLDER]
 *
 * Random operations on a mapped file, each checked against a copy in memory: loads and stores of
 * the CPU and of devices, migrations, syncs, truncation, further mappings, MADV_DONTNEED. What
 * hmm_sync() said is in the file is compared with what read(2) gives, while pages stay where they
 * are. Without a fence (HMM_TEST_SKIP_FENCE) one must differ: the negative control.
 */
#include "control.h"

#include <hmm/hmm.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096ul
#define MOST (5ul << 20) /* more than the two devices hold together */
#define MAX_IO 20000ul

static struct hmm *h;
static uint64_t state;
static long step;
static int fd;
static size_t size;        /* of the file */
static char *map, *second; /* all of it; NULL or a part, from second_at on */
static size_t second_at, second_bytes;
static char model[MOST], got[MOST];
static long in_place; /* pages on a device when a sync had written them */
static bool broken;   /* a fence is left out */

static uint32_t random_of(uint32_t n)
{
	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(state >> 33) % n;
}

static void say(const char *what, size_t at, long value)
{
	fprintf(stderr, "step %ld: %s at %zu (page %zu): %ld; size %zu\n", step, what, at,
		at / PAGE, value, size);
}

static void fail(const char *what, size_t at, long value)
{
	say(what, at, value);
	exit(1);
}

/* What was done to each page, the last first: a seed does not say how threads met. */
static struct {
	const char *what;
	long step;
} done_to[MOST / PAGE][3];

static void note(const char *what, size_t at, size_t n)
{
	for (size_t page = at / PAGE; n && page <= (at + n - 1) / PAGE; page++) {
		memmove(&done_to[page][1], &done_to[page][0], 2 * sizeof(done_to[page][0]));
		done_to[page][0].what = what;
		done_to[page][0].step = step;
	}
}

/* Who has which byte now. */
static void tell(size_t at)
{
	char file = 0, device = 0;
	struct hmm_page_status s = { 0 };

	for (unsigned int i = 0; i < 3 && done_to[at / PAGE][i].what; i++)
		fprintf(stderr, "step %ld: %s\n", done_to[at / PAGE][i].step,
			done_to[at / PAGE][i].what);
	if (!h || !map)
		return;
	hmm_query(h, map + at, 1, &s);
	if (pread(fd, &file, 1, (off_t)at) != 1 || hmm_device_read(h, 0, map + at, &device, 1) != 1)
		return;
	fprintf(stderr, "wanted %d, the device has %d, the CPU %d, the file %d; on %d, flags %#x\n",
		model[at], device, map[at], file, s.location, s.flags);
}

static void compare(const char *what, const char *have, size_t at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (have[i] != model[at + i]) {
			say(what, at + i, have[i]);
			if (!broken)
				tell(at + i);
			exit(broken ? 0 : 1);
		}
}

/* Somewhere in the file, now and then over its end's page. */
static bool pick(size_t *at, size_t *n)
{
	if (!size)
		return false;
	*at = random_of((uint32_t)size);
	*n = 1 + random_of(random_of(8) ? 300 : MAX_IO);
	if (*n > size - *at)
		*n = size - *at;
	return true;
}

/* Through one of the mappings that has all of it. */
static char *place(size_t at, size_t n)
{
	if (second && at >= second_at && at + n <= second_at + second_bytes && random_of(2))
		return second + (at - second_at);
	return map + at;
}

static void fill(char *p, size_t n)
{
	char first = (char)random_of(256);

	for (size_t i = 0; i < n; i++)
		p[i] = (char)(first + i);
}

static void cpu_load(size_t at, size_t n)
{
	memcpy(got, place(at, n), n);
	compare("CPU load", got, at, n);
}

static void cpu_store(size_t at, size_t n)
{
	fill(model + at, n);
	note("CPU store", at, n);
	memcpy(place(at, n), model + at, n);
}

static void device_load(size_t at, size_t n)
{
	long done = hmm_device_read(h, (int)random_of(2), place(at, n), got, n);

	if (done != (long)n)
		fail("hmm_device_read", at, done);
	compare("device load", got, at, n);
}

static void device_store(size_t at, size_t n)
{
	long done;

	fill(model + at, n);
	note("device store", at, n);
	done = hmm_device_write(h, (int)random_of(2), place(at, n), model + at, n);
	if (done != (long)n)
		fail("hmm_device_write", at, done);
}

static void migrate(size_t at, size_t n)
{
	int target = (int)random_of(3) - 1;
	long on;

	if (!random_of(30)) {
		at = 0;
		n = size;
	}
	note(target < 0 ? "home" : "to a device", at, n);
	on = hmm_migrate(h, place(at, n), n, target, 0);

	if (on < 0)
		fail("hmm_migrate", at, on);
}

static void count_resident(size_t at, size_t n)
{
	static struct hmm_page_status s[MOST / PAGE + 1];
	int pages = hmm_query(h, map + at, n, s);

	if (pages <= 0)
		fail("hmm_query", at, pages);
	for (int i = 0; i < pages; i++)
		in_place += s[i].location >= 0;
}

static void sync_range(size_t at, size_t n)
{
	int err = hmm_sync(h, map + at, n, 0);

	if (err)
		fail("hmm_sync", at, err);
	if (pread(fd, got, n, (off_t)at) != (ssize_t)n)
		fail("pread", at, errno);
	compare("read(2) after hmm_sync", got, at, n);
	count_resident(at, n);
}

static void discard(size_t at, size_t n)
{
	size_t from = at & ~(PAGE - 1);

	note("discard", at, n);
	if (madvise(map + from, at + n - from, MADV_DONTNEED))
		fail("madvise", at, errno);
}

/* What was stored is written first: a truncated store is not to be seen again. */
static void truncate_file(void)
{
	size_t now = random_of(4) ? random_of((uint32_t)MOST + 1) : random_of(9) * (MOST / 8);

	if (size)
		sync_range(0, size);
	if (ftruncate(fd, (off_t)now))
		fail("ftruncate", now, errno);
	if (now > size)
		memset(model + size, 0, now - size);
	size = now;
	note("truncation", 0, MOST);
	if (hmm_sync(h, map, MOST, 0))
		fail("hmm_sync", now, 0);
}

static void unmap_second(void)
{
	int err = second ? hmm_unmap(h, second, second_bytes) : 0;

	if (err)
		fail("hmm_unmap", second_at, err);
	second = NULL;
}

static void map_again(void)
{
	void *p;
	int err;

	unmap_second();
	if (!random_of(3))
		return;
	second_at = random_of(MOST / PAGE - 1) * PAGE;
	second_bytes = (1 + random_of((uint32_t)((MOST - second_at) / PAGE))) * PAGE;
	err = hmm_map_file(h, fd, (off_t)second_at, second_bytes, PROT_READ | PROT_WRITE, 0, &p);
	if (err)
		fail("hmm_map_file", second_at, err);
	second = p;
}

/* All mappings go: what they held is the file's, and what others write now is seen. */
static void remap(void)
{
	void *p;
	int err;

	unmap_second();
	if (map) {
		err = hmm_unmap(h, map, MOST);
		if (err)
			fail("hmm_unmap", 0, err);
		map = NULL;
		if (pread(fd, got, MOST, 0) != (ssize_t)size)
			fail("pread", 0, errno);
		compare("read(2) after hmm_unmap", got, 0, size);
		if (size) {
			fill(model + size / 2, size - size / 2);
			note("write(2) while nobody maps it", size / 2, size - size / 2);
			if (pwrite(fd, model + size / 2, size - size / 2, (off_t)(size / 2)) < 0)
				fail("pwrite", size / 2, errno);
		}
	}
	err = hmm_map_file(h, fd, 0, MOST, PROT_READ | PROT_WRITE, 0, &p);
	if (err)
		fail("hmm_map_file", 0, err);
	map = p;
}

static void one_step(void)
{
	static void (*const op[])(size_t, size_t) = { cpu_load,  cpu_load,     cpu_store,
						      cpu_store, device_load,  device_store,
						      migrate,   device_store, device_load };
	uint32_t r = random_of(1000);
	size_t at, n;

	if (r < 2)
		truncate_file();
	else if (r < 5)
		map_again();
	else if (r < 6)
		remap();
	else if (!pick(&at, &n))
		return;
	else if (r < 25)
		sync_range(at, n);
	else if (r < 40)
		discard(at, n);
	else
		op[random_of(sizeof(op) / sizeof(op[0]))](at, n);
}

static void report(void)
{
	struct hmm_stats s = { .sz = sizeof(s) };

	hmm_stats(h, -1, &s);
	printf("%ld steps: %lu pages to devices, %lu home, %lu evicted, %ld synced in place\n",
	       step, (unsigned long)s.pages_to_device, (unsigned long)s.pages_to_system,
	       (unsigned long)s.pages_evicted, in_place);
}

int main(int argc, char **argv)
{
	struct hmm_open_opts o = {
		.sz = sizeof(o), .backend = "emulated", .devices = 2, .device_bytes = 2ul << 20
	};
	const char *folder = ".";
	char path[300];
	long count = 1000;

	state = (uint64_t)getpid();
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--seed") && i + 1 < argc)
			state = strtoull(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--count") && i + 1 < argc)
			count = atol(argv[++i]);
		else if (!strcmp(argv[i], "--algorithm") && i + 1 < argc)
			o.flags |= strcmp(argv[++i], "wp") ? 0 : HMM_OPEN_NO_MOVE;
		else if (!strcmp(argv[i], "--without") && i + 1 < argc)
			broken = !setenv("HMM_TEST_SKIP_FENCE", argv[++i], 1);
		else
			folder = argv[i];
	}
	setbuf(stdout, NULL);
	printf("seed %llu, %ld steps, %s\n", (unsigned long long)state, count, folder);
	snprintf(path, sizeof(path), "%s/exerciser-%d", folder, (int)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || hmm_open(&h, &o)) {
		perror(path);
		return 1;
	}
	unlink(path);
	size = MOST;
	fill(model, size);
	if (pwrite(fd, model, size, 0) != (ssize_t)size)
		fail("pwrite", 0, errno);
	remap();
	for (step = 0; step < count; step++)
		one_step();
	if (size)
		sync_range(0, size);
	report();
	hmm_close(h);
	h = NULL;
	if (pread(fd, got, MOST, 0) != (ssize_t)size)
		fail("pread", 0, errno);
	compare("read(2) after hmm_close", got, 0, size);
	return broken ? CONTROL_UNSEEN : 0;
}

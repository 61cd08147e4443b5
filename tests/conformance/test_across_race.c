// SPDX-License-Identifier: MIT
/* Stores of every side, and engines that end, while pages go from device to device. */
#include "conformance/conf.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BYTES (128 * PAGE)
#define ROUNDS 2000
#define LEAST_ROUNDS 50
#define SECONDS 20 /* about: the driver tries for a while what others take back */

static uint64_t pages_across(void)
{
	struct hmm_stats s = { .sz = sizeof(s) };

	CU_ASSERT_EQUAL(hmm_stats(h, -1, &s), 0);
	return s.pages_across;
}

struct traffic {
	char *p;
	size_t bytes;
	_Atomic int stop;
	_Atomic long odd;
	_Atomic int wrong;
};

struct lane {
	struct traffic *t;
	int device; /* -1: the CPU */
};

static bool lane_load(const struct lane *l, const char *at, unsigned char *value)
{
	long n = 1;

	if (l->device < 0)
		*value = *(const volatile unsigned char *)at;
	else
		n = hmm_device_read(h, l->device, at, value, 1);
	if (n != 1 && n != -ENODEV)
		atomic_store(&l->t->odd, n ? n : 1);
	return n == 1;
}

static bool lane_store(const struct lane *l, char *at, unsigned char value)
{
	long n = 1;

	if (l->device < 0)
		*(volatile unsigned char *)at = value;
	else
		n = hmm_device_write(h, l->device, at, &value, 1);
	if (n != 1 && n != -ENODEV)
		atomic_store(&l->t->odd, n ? n : 1);
	return n == 1;
}

/* Of each page a byte is this lane's alone: it finds there what it has stored last. */
static void *run_lane(void *arg)
{
	struct lane *l = arg;
	char *mine = l->t->p + 64 * (l->device + 1);
	unsigned char *last = calloc(l->t->bytes / PAGE, 1), seen = 0;
	unsigned int seed = (unsigned int)l->device + 2;

	while (!atomic_load(&l->t->stop)) {
		size_t page = (size_t)rand_r(&seed) % (l->t->bytes / PAGE);

		if (lane_load(l, mine + page * PAGE, &seen) && seen != last[page]) {
			atomic_fetch_add(&l->t->wrong, 1);
			last[page] = seen;
		}
		if (lane_store(l, mine + page * PAGE, (unsigned char)(last[page] + 1)))
			last[page]++;
	}
	for (size_t page = 0; page < l->t->bytes / PAGE; page++)
		if ((unsigned char)mine[page * PAGE] != last[page])
			atomic_fetch_add(&l->t->wrong, 1);
	free(last);
	return NULL;
}

/* Lanes of the CPU and of both devices store, while all of it goes from device to device. */
static void race(char *p, size_t bytes, int rounds)
{
	struct traffic t = { .p = p, .bytes = bytes };
	struct lane lane[3] = { { &t, -1 }, { &t, 0 }, { &t, 1 } };
	uint64_t before = pages_across();
	time_t until = time(NULL) + scaled(SECONDS);
	pthread_t thread[3];

	for (int i = 0; i < 3; i++)
		pthread_create(&thread[i], NULL, run_lane, &lane[i]);
	for (int i = 0; i < rounds && (i < LEAST_ROUNDS || time(NULL) < until); i++) {
		size_t n = i % 4 ? bytes : 8 * PAGE;

		CU_ASSERT(hmm_migrate(h, p, n, i % 2, 0) >= 0);
	}
	atomic_store(&t.stop, 1);
	for (int i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	CU_ASSERT_EQUAL(t.wrong, 0);
	CU_ASSERT_EQUAL(t.odd, 0);
	if (is_emulated())
		CU_ASSERT(pages_across() > before);
}

static void racing(void)
{
	char *p = map_pages(BYTES, 0);

	race(p, BYTES, scaled(ROUNDS));
	munmap(p, BYTES);
}

static void racing_file(void)
{
	int fd = memfd_create("across", MFD_CLOEXEC);
	void *p = NULL;

	if (!is_emulated()) {
		printf("(skipped: memfds stay with the system) ");
		close(fd);
		return;
	}
	CU_ASSERT_EQUAL(ftruncate(fd, (off_t)BYTES), 0);
	CU_ASSERT_EQUAL_FATAL(hmm_map_file(h, fd, 0, BYTES, PROT_READ | PROT_WRITE, 0, &p), 0);
	race(p, BYTES, scaled(ROUNDS));
	CU_ASSERT_EQUAL(hmm_unmap(h, p, BYTES), 0);
	close(fd);
}

struct end {
	int round, device; /* whose engine is killed */
};

static void *to_and_fro(void *arg)
{
	struct traffic *t = arg;

	for (int i = 1; !atomic_load(&t->stop); i++) {
		long n = hmm_migrate(h, t->p, t->bytes, i % 2, 0);

		if (n < 0 && n != -ENODEV)
			atomic_store(&t->odd, n);
	}
	return NULL;
}

/* All that was on either device is there, whichever of them ends in the middle of it. */
static int killed(void *arg)
{
	struct end *e = arg;
	struct traffic t = { .p = map_pages(4 * MIB, 0), .bytes = 4 * MIB };
	struct hmm_device_info info = { 0 };
	pthread_t mover;

	number(t.p, t.bytes);
	if (hmm_open(&h, &options) || hmm_migrate(h, t.p, t.bytes, 0, 0) != PAGES(t.bytes) ||
	    hmm_device_info(h, e->device, &info) || info.engine_pid <= 0)
		return 1;
	if (pthread_create(&mover, NULL, to_and_fro, &t))
		return 2;
	usleep((useconds_t)(2000 + e->round * 1371));
	kill(info.engine_pid, SIGKILL);
	usleep(20000);
	atomic_store(&t.stop, 1);
	pthread_join(mover, NULL);
	if (t.odd)
		return 3;
	/* The other device is as it was. */
	if (hmm_migrate(h, t.p, t.bytes, 1 - e->device, 0) != PAGES(t.bytes))
		return 4;
	if (!is_numbered(t.p, t.bytes))
		return 5;
	hmm_close(h);
	return 0;
}

static void engines_killed(void)
{
	for (int i = 0; i < scaled(12); i++) {
		struct end e = { i, i % 2 };
		int ended = in_child(killed, &e);

		if (ended)
			printf("(round %d: %d) ", i, ended);
		CU_ASSERT_EQUAL(ended, 0);
	}
}

void add_across_race_suite(void)
{
	CU_pSuite s = CU_add_suite_with_setup_and_teardown("stores and ends between devices", NULL,
							   NULL, conf_set_up, conf_tear_down);

	CU_add_test(s, "stores of all sides", racing);
	CU_add_test(s, "stores of all sides to a file", racing_file);
	s = CU_add_suite("an engine that ends between devices", NULL, NULL);
	CU_add_test(s, "killed in the middle", engines_killed);
}

// SPDX-License-Identifier: MIT
/* Many callers at once, and signals in the middle. */
#include "conformance/conf.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define THREADS 4

struct crowd {
	char *shared;
	size_t bytes;
	_Atomic int next, rounds;
	_Atomic long odd; /* an answer that the contract does not know */
	_Atomic int wrong;
};

/* Each thread's byte of each page is its own; the pages are everybody's. */
static void *caller(void *arg)
{
	struct crowd *c = arg;
	int me = atomic_fetch_add(&c->next, 1);
	unsigned int seed = (unsigned int)me;
	unsigned char count = 0;

	for (int r = 0; r < c->rounds; r++) {
		size_t at = (size_t)rand_r(&seed) % (c->bytes / PAGE) * PAGE;
		size_t n = (size_t)rand_r(&seed) % (c->bytes - at) + 1;
		long got = hmm_migrate(h, c->shared + at, n, rand_r(&seed) % 3 - 1, 0);
		unsigned char seen;

		if (got < 0)
			atomic_store(&c->odd, got);
		count++;
		for (size_t i = 0; i < c->bytes; i += PAGE)
			c->shared[i + (size_t)me]++;
		if (hmm_device_read(h, me % 2, c->shared + at + me, &seen, 1) != 1 || seen != count)
			atomic_fetch_add(&c->wrong, 1);
	}
	for (size_t i = 0; i < c->bytes; i += PAGE)
		if ((unsigned char)c->shared[i + (size_t)me] != count)
			atomic_fetch_add(&c->wrong, 1);
	return NULL;
}

static void same_range(void)
{
	struct crowd c = { .shared = map_pages(MIB, 0), .bytes = MIB, .rounds = scaled(100) };
	pthread_t t[THREADS];

	memset(c.shared, 0, MIB);
	for (int i = 0; i < THREADS; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&t[i], NULL, caller, &c), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	CU_ASSERT_EQUAL(c.odd, 0);
	CU_ASSERT_EQUAL(c.wrong, 0);
	munmap(c.shared, MIB);
}

/* Four ranges that together are four times what the devices hold. */
static void *crowds_out(void *arg)
{
	struct crowd *c = arg;
	int me = atomic_fetch_add(&c->next, 1);
	size_t n = options.device_bytes;
	char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(p, me + 1, n);
	for (int r = 0; r < c->rounds; r++) {
		for (size_t i = 0; i < n; i += MIB) {
			long got = hmm_migrate(h, p + i, MIB, (me + r) % 2, 0);

			if (got < 0)
				atomic_store(&c->odd, got);
		}
		for (size_t i = 0; i < n; i += 16 * PAGE)
			if (p[i] != me + 1)
				atomic_fetch_add(&c->wrong, 1);
	}
	if (!all_bytes(p, n, me + 1))
		atomic_fetch_add(&c->wrong, 1);
	munmap(p, n);
	return NULL;
}

static void full_devices(void)
{
	struct crowd c = { .rounds = scaled(5) };
	pthread_t t[THREADS];

	for (int i = 0; i < THREADS; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&t[i], NULL, crowds_out, &c), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	CU_ASSERT_EQUAL(c.odd, 0);
	CU_ASSERT_EQUAL(c.wrong, 0);
}

static void *opens(void *arg)
{
	struct crowd *c = arg;

	for (int r = 0; r < c->rounds; r++) {
		struct hmm *mine;
		int err = hmm_open(&mine, &options);

		if (err) {
			atomic_store(&c->odd, err);
			continue;
		}
		if (hmm_migrate(mine, c->shared, MIB, r % 2, 0) < 0)
			atomic_fetch_add(&c->wrong, 1);
		hmm_close(mine);
	}
	return NULL;
}

/* In a child: without the suite's handle the devices come and go. */
static int open_and_close(void *unused)
{
	struct crowd c = { .shared = map_pages(MIB, 3), .rounds = scaled(25) };
	pthread_t t[THREADS];

	(void)unused;
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&t[i], NULL, opens, &c))
			return 1;
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	return c.odd ? 2 : c.wrong ? 3 : all_bytes(c.shared, MIB, 3) ? 0 : 4;
}

static void opening(void)
{
	CU_ASSERT_EQUAL(in_child(open_and_close, NULL), 0);
}

static volatile sig_atomic_t ticks;

/* Touches memory of the device, as any handler may. */
static char *touched;

static void on_tick(int sig)
{
	(void)sig;
	ticks++;
	touched[(size_t)ticks % 64 * PAGE]++;
}

static void signals(void)
{
	struct sigaction sa = { .sa_handler = on_tick }, old; /* no SA_RESTART */
	struct itimerval often = { { 0, 700 }, { 0, 700 } }, never = { 0 };
	char *p = map_pages(4 * MIB, 3), *q = map_pages(MIB, 4);
	long odd = 0;

	touched = map_pages(64 * PAGE, 1);
	sigaction(SIGALRM, &sa, &old);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < scaled(100); i++) {
		long n = hmm_migrate(h, p, 4 * MIB, i % 3 - 1, 0);
		int fence;

		if (n != PAGES(4 * MIB))
			odd = n;
		n = hmm_migrate(h, touched, 64 * PAGE, i % 2, 0);
		if (n < 0)
			odd = n;
		if (hmm_migrate_async(h, q, MIB, i % 2, 0, &fence) || close(fence))
			odd = -1;
	}
	for (int i = 0; i < 5 && !odd; i++) {
		struct hmm *other;

		odd = hmm_open(&other, &options);
		if (!odd)
			hmm_close(other);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	sigaction(SIGALRM, &old, NULL);
	if (odd)
		printf("(%ld) ", odd);
	CU_ASSERT_EQUAL(odd, 0);
	CU_ASSERT(ticks > 0);
	CU_ASSERT(all_bytes(p, 4 * MIB, 3) && all_bytes(q, MIB, 4));
	munmap(p, 4 * MIB);
	munmap(q, MIB);
	munmap(touched, 64 * PAGE);
}

/* The alternate stack of a handler may be on a device, too. */
static void alternate_stack(void)
{
	char *stack = map_pages(MIB, 0);
	stack_t ss = { .ss_sp = stack, .ss_size = MIB }, none = { .ss_flags = SS_DISABLE };
	struct sigaction sa = { .sa_handler = on_tick, .sa_flags = SA_ONSTACK }, old;
	int before = ticks;

	touched = map_pages(64 * PAGE, 1);
	if (serves_system_calls()) { /* the kernel writes the frame */
		sigaltstack(&ss, NULL);
		sigaction(SIGUSR1, &sa, &old);
		for (int i = 0; i < 20; i++) {
			CU_ASSERT_EQUAL(hmm_migrate(h, stack, MIB, i % 2, 0), PAGES(MIB));
			raise(SIGUSR1);
		}
		CU_ASSERT_EQUAL(ticks, before + 20);
		sigaction(SIGUSR1, &old, NULL);
		sigaltstack(&none, NULL);
	}
	munmap(stack, MIB);
	munmap(touched, 64 * PAGE);
}

#define STACK MIB /* ThreadSanitizer takes most of it */

/* Threads with stacks of ours: all of one migrates, with the descriptor, while it is in a call. */
struct moved {
	char *stack, *data;
	_Atomic int *stop;
	_Atomic int wrong;
};

static void *works(void *arg)
{
	struct moved *m = arg;

	for (unsigned char n = 1; !atomic_load(m->stop); n++) {
		unsigned char seen = 0;

		if (hmm_migrate(h, m->data, 8 * PAGE, n % 2, 0) < 0 ||
		    hmm_device_write(h, n % 2, m->data, &n, 1) != 1 ||
		    hmm_device_read(h, n % 2, m->data, &seen, 1) != 1 || seen != n)
			atomic_fetch_add(&m->wrong, 1);
	}
	return NULL;
}

static int descriptors_away(void *unused)
{
	char *p = map_pages(THREADS * (STACK + 16 * PAGE), 0);
	time_t until = time(NULL) + 5; /* where a migration takes long */
	struct moved m[THREADS];
	pthread_t t[THREADS];
	_Atomic int stop = 0;
	pthread_attr_t attr;
	int wrong = 0;

	(void)unused;
	if (hmm_open(&h, &options))
		return -1;
	pthread_attr_init(&attr);
	for (int i = 0; i < THREADS; i++) {
		m[i] = (struct moved){ p + i * STACK, p + THREADS * STACK + i * 16 * PAGE, &stop,
				       0 };
		pthread_attr_setstack(&attr, m[i].stack, STACK);
		if (pthread_create(&t[i], &attr, works, &m[i]))
			return -1;
	}
	for (int i = 0; i < scaled(2000) && time(NULL) < until; i++)
		if (hmm_migrate(h, m[i % THREADS].stack, STACK, i / THREADS % 2, 0) < 0)
			wrong++;
	atomic_store(&stop, 1);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(t[i], NULL);
		wrong += m[i].wrong;
	}
	hmm_close(h);
	return wrong > 100 ? 100 : wrong;
}

static void descriptors(void)
{
	int ended;

#ifdef __SANITIZE_THREAD__
	printf("(skipped: ThreadSanitizer's state, which the library uses then, lies there, too) ");
	return;
#endif
	ended = in_child(descriptors_away, NULL);
	if (ended)
		printf("(%d) ", ended);
	CU_ASSERT_EQUAL(ended, 0);
}

void add_thread_suite(void)
{
	CU_pSuite s = CU_add_suite_with_setup_and_teardown("threads and signals", NULL, NULL,
							   conf_set_up, conf_tear_down);

	CU_add_test(s, "one range, many callers", same_range);
	CU_add_test(s, "full devices, many callers", full_devices);
	CU_add_test(s, "open and close at once", opening);
	CU_add_test(s, "signals in the middle", signals);
	CU_add_test(s, "a handler's stack on a device", alternate_stack);
	CU_add_test(s, "threads' descriptors on a device", descriptors);
}

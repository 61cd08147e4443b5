// SPDX-License-Identifier: MIT
/*
 * test_fair [unfair]: who waits for a mutex gets it beside two threads that let go of it only to
 * take it again, as a CPU fault must beside threads that do nothing but migrate the same block.
 *
 * What counts is how often those two took it while the third waited. That one is scheduled when
 * nobody else wants the CPU, so it wakes up late, as on a CPU that was halted. In turn with it the
 * same is measured of a mutex that belongs to whoever comes first (os_mutex_barging), where it must
 * be many times more. With an argument both are such: the negative control, which must find them
 * alike.
 */
#include "control.h"
#include "os/lock.h"
#include "os/sys.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define HELD_NS 100000u
#define ROUNDS 5
#define ROUND_NS 300000000ull
#define TIMES 5 /* as often, at least */

static struct os_mutex mutex;
static uint32_t stop;
static uint64_t taken;

static void *take_again(void *unused)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		uint64_t until;

		os_mutex_lock(&mutex);
		__atomic_add_fetch(&taken, 1, __ATOMIC_RELAXED);
		for (until = os_now_ns() + HELD_NS; os_now_ns() < until;)
			;
		os_mutex_unlock(&mutex);
	}
	return unused;
}

/* How often the others take it while this thread waits, on average. */
static void *wait_in_line(void *average)
{
	uint64_t until = os_now_ns() + ROUND_NS, others = 0, mine = 0;
	struct sched_param none = { 0 };

	sched_setscheduler(0, SCHED_IDLE, &none);
	do {
		uint64_t before = __atomic_load_n(&taken, __ATOMIC_RELAXED);

		os_mutex_lock(&mutex);
		others += __atomic_load_n(&taken, __ATOMIC_RELAXED) - before;
		os_mutex_unlock(&mutex);
		mine++;
		os_sleep_ns(HELD_NS);
	} while (os_now_ns() < until);
	*(double *)average = (double)others / (double)mine;
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	return NULL;
}

static double overtakes(bool barging)
{
	pthread_t t[3];
	double average = 0;

	os_mutex_barging = barging;
	mutex = (struct os_mutex){ 0 };
	__atomic_store_n(&stop, 0, __ATOMIC_RELAXED);
	for (int i = 0; i < 3; i++)
		if (pthread_create(&t[i], NULL, i ? take_again : wait_in_line, &average))
			exit(1);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	return average;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	double fair[ROUNDS], barging[ROUNDS];
	bool differ;

	(void)argv;
	for (int i = 0; i < ROUNDS; i++) {
		fair[i] = overtakes(argc > 1);
		barging[i] = overtakes(true);
	}
	qsort(fair, ROUNDS, sizeof(*fair), ascending);
	qsort(barging, ROUNDS, sizeof(*barging), ascending);
	printf("overtaken while waiting: %.1f times; where who comes first gets it: %.1f times\n",
	       fair[ROUNDS / 2], barging[ROUNDS / 2]);
	differ = fair[ROUNDS / 2] * TIMES <= barging[ROUNDS / 2];
	if (argc > 1)
		return differ ? CONTROL_UNSEEN : 0;
	return differ ? 0 : 1;
}

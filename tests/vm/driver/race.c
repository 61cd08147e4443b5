// SPDX-License-Identifier: MIT
/*
 * No increment is lost: the CPU and two engines each add to words of their own in the same
 * pages, by ordinary loads and stores, while another thread moves the pages about.
 *
 *   race SECONDS [PAGES]
 */
#include "engine.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static char *base;
static size_t length;
static _Atomic int stop;
static uint64_t cpu_rounds, moves;

static void *cpu_counts(void *unused)
{
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

	while (!stop) {
		size_t first = (size_t)rand_r(&seed) % (length / PAGE);
		size_t n = 1 + (size_t)rand_r(&seed) % (length / PAGE - first);

		migrate(base + first * PAGE, n * PAGE, rand_r(&seed) % 3 - 1);
		moves++;
	}
	return unused;
}

static long check(size_t word, uint64_t want)
{
	long lost = 0;

	for (size_t at = 0; at < length; at += PAGE) {
		uint64_t got = *(volatile uint64_t *)(base + at + word);

		if (got != want)
			lost += labs((long)(want - got));
	}
	return lost;
}

int main(int argc, char **argv)
{
	int seconds = argc > 1 ? atoi(argv[1]) : 5;
	struct engine e[2];
	uint64_t rounds[2] = { 0 };
	pthread_t t[2];
	long lost;

	length = (argc > 2 ? strtoul(argv[2], NULL, 0) : 8) * PAGE;
	base = map_anonymous(length);
	if (client_open() || engine_start(&e[0], 0, base, length) ||
	    engine_start(&e[1], 1, base, length))
		return 2;
	engine_begin(&e[0], ENGINE_COUNT, base + 8, length, 0);
	engine_begin(&e[1], ENGINE_COUNT, base + 16, length, 0);
	pthread_create(&t[0], NULL, cpu_counts, NULL);
	pthread_create(&t[1], NULL, mover, NULL);
	sleep((unsigned int)seconds);
	engine_stop(&e[0]);
	engine_stop(&e[1]);
	stop = 1;
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	for (int i = 0; i < 2; i++) {
		int err = engine_wait(&e[i], &rounds[i]);

		if (err) {
			printf("engine %d died: %d\n", i, err);
			return 3;
		}
	}
	lost = check(0, cpu_rounds) + check(8, rounds[0]) + check(16, rounds[1]);
	printf("%zu pages: %lu CPU, %lu and %lu engine increments each, %lu migrations, %ld lost\n",
	       length / PAGE, (unsigned long)cpu_rounds, (unsigned long)rounds[0],
	       (unsigned long)rounds[1], (unsigned long)moves, lost);
	engine_end(&e[0]);
	engine_end(&e[1]);
	return lost || !cpu_rounds || !rounds[0] || !rounds[1] ? 1 : 0;
}

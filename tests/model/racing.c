// SPDX-License-Identifier: MIT
/*
 * Many threads in one range: the owners of its bytes load, store and check them, while others
 * migrate, evict and query all of it at random. No byte may be lost or stale.
 */
#include "model/racing.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define RACING_PAGES 80u /* few, so that threads meet */
#define REPORTED 5

void racer_note(struct racer *r, const char *who, const char *name, size_t offset, size_t length,
		long detail)
{
	r->d.now = (struct record){ .number = atomic_fetch_add(&r->race->clock, 1),
				    .name = name,
				    .who = who,
				    .thread = r->id,
				    .offset = offset,
				    .length = length,
				    .detail = detail };
	history_add(&r->d.now);
}

void racer_wrong(struct racer *r, const char *who, size_t offset, const char *what, long seen,
		 long expected)
{
	struct hmm_page_status s = { .location = -100 };

	long nth = atomic_fetch_add(&r->race->bad, 1);

	if (nth >= REPORTED)
		return;
	hmm_query(r->d.h, r->d.m.base + offset, 1, &s);
	printf("\n    MISMATCH, seed %lu: %s %u, page %zu, byte %zu, at %d: %s %ld, expected %ld",
	       (unsigned long)settings.seed, who, r->id, offset / PAGE, offset % PAGE, s.location,
	       what, seen, expected);
	if (!nth)
		history_print(offset / PAGE);
}

static void move_some(struct racer *r)
{
	struct drive *d = &r->d;
	unsigned int first, n;
	int target = (int)below(d, d->m.devices + 1) - 1, fence;
	char *at;
	long got;

	random_pages(d, below(d, 4) ? 8 : d->m.pages, &first, &n);
	at = d->m.base + first * PAGE;
	racer_note(r, "mover", "migrate", first * PAGE, n * PAGE, target);
	if (below(d, 8)) {
		got = hmm_migrate(d->h, at, n * PAGE, target, 0);
	} else {
		got = hmm_migrate_async(d->h, at, n * PAGE, target, 0, &fence);
		if (!got) {
			struct pollfd fd = { .fd = fence, .events = POLLIN };

			if (below(d, 2))
				poll(&fd, 1, -1);
			close(fence);
		}
	}
	/* A page owner's hole is an error, and no harm. */
	if (got != -EFAULT && (got < 0 || got > (long)n))
		racer_wrong(r, "mover", first * PAGE, "hmm_migrate()", got, (long)n);
	atomic_fetch_add(&r->race->count[RACE_MIGRATIONS], 1);
}

/* Pages are read mostly here, then there. */
static void advise_some(struct racer *r)
{
	static const int advice[] = { HMM_ADVICE_READ_MOSTLY, HMM_ADVICE_NOT_READ_MOSTLY };
	unsigned int first, n, which = below(&r->d, 2);
	int got;

	random_pages(&r->d, r->d.m.pages / 2, &first, &n);
	racer_note(r, "mover", "advise", first * PAGE, n * PAGE, advice[which]);
	got = hmm_advise(r->d.h, r->d.m.base + first * PAGE, n * PAGE, advice[which], 0);
	if (got && got != -EFAULT)
		racer_wrong(r, "mover", first * PAGE, "hmm_advise()", got, 0);
	atomic_fetch_add(&r->race->count[RACE_ADVICE], 1);
}

static void query_all(struct racer *r)
{
	struct hmm_page_status *s = (void *)r->d.plain;
	int got = hmm_query(r->d.h, r->d.m.base, r->d.m.pages * PAGE, s);

	if (got != (int)r->d.m.pages && got != -EFAULT)
		racer_wrong(r, "mover", 0, "hmm_query()", got, (long)r->d.m.pages);
	for (int i = 0; i < got; i++)
		if (s[i].location < HMM_NOT_POPULATED || s[i].location >= (int)r->d.m.devices)
			racer_wrong(r, "mover", (unsigned int)i * PAGE, "location", s[i].location,
				    0);
	atomic_fetch_add(&r->race->count[RACE_QUERIES], 1);
}

static void evict_some(struct racer *r)
{
	long got = hmm_migrate(r->d.h, r->d.filler, settings.open.device_bytes,
			       (int)below(&r->d, r->d.m.devices), 0);

	if (got < 0)
		racer_wrong(r, "mover", 0, "eviction", got, 0);
	atomic_fetch_add(&r->race->count[RACE_EVICTIONS], 1);
}

static void *mover(void *racer)
{
	struct racer *r = racer;

	while (!atomic_load(&r->race->over)) {
		unsigned int what = below(&r->d, 400);

		if (!what)
			evict_some(r);
		else if (what < 20)
			query_all(r);
		else if (what < 24 && !left_out("advise"))
			advise_some(r);
		else
			move_some(r);
	}
	return NULL;
}

/* Lanes, page owners, movers, in this order. */
#define THREADS (LANES + PAGE_OWNERS + MOVERS)
#define OWNERS (LANES + PAGE_OWNERS)

static void run_threads(struct race *race, struct racer *racer)
{
	static void *(*const lanes[LANES / 2])(void *) = { race_cpu_lane, race_device_lane,
							   race_native_lane };
	pthread_t thread[THREADS];

	for (unsigned int i = 0; i < THREADS; i++) {
		racer[i] = (struct racer){ race, *race->d, i };
		racer[i].d.random = settings.seed * 1000003 + i;
		racer[i].d.plain = race->d->plain + i * MAX_BYTES;
		if (i >= LANES)
			racer[i].id = (i - LANES) % PAGE_OWNERS;
		pthread_create(&thread[i], NULL,
			       i < LANES  ? lanes[i / 2] :
			       i < OWNERS ? race_page_owner :
					    mover,
			       &racer[i]);
	}
	for (unsigned int i = 0; i < OWNERS; i++)
		pthread_join(thread[i], NULL);
	atomic_store(&race->over, true);
	for (unsigned int i = OWNERS; i < THREADS; i++)
		pthread_join(thread[i], NULL);
}

static void print_counts(struct race *race, long pages)
{
	static const char *const names[RACE_KINDS] = { "loads and stores of shared pages",
						       "operations of page owners",
						       "migrations",
						       "queries",
						       "evictions",
						       "forks",
						       "advice" };
	struct hmm_stats s = { .sz = sizeof(s) };

	hmm_stats(race->d->h, -1, &s);
	printf("\n    ");
	for (int i = 0; i < RACE_KINDS; i++)
		printf("%s%ld %s", i ? ", " : "", atomic_load(&race->count[i]), names[i]);
	printf("; %lu pages out, %lu home, %ld pages checked in the end\n    ",
	       (unsigned long)s.pages_to_device, (unsigned long)s.pages_to_system, pages);
}

long run_racing(long ops)
{
	static struct drive d;
	static struct racer racers[THREADS];
	struct race race = { .d = &d, .steps = ops / (long)OWNERS };
	unsigned int pages = settings.pages;
	int err;

	settings.pages = pages < RACING_PAGES ? pages : RACING_PAGES;
	err = drive_open(&d);
	settings.pages = pages;
	if (err) {
		printf("\n    cannot start: %d", err);
		return -1;
	}
	run_threads(&race, racers);
	if (check_all(&d, -1))
		racer_wrong(&racers[0], "the end's check", d.bad, d.wrong, 0, 0);
	print_counts(&race, d.m.pages);
	drive_close(&d);
	return atomic_load(&race.bad);
}

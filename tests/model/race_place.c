// SPDX-License-Identifier: MIT
/* Who does not care for bytes: migrations, evictions, queries, and want of memory. */
#include "model/racing.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#define PRESS_EVERY 30 /* migrations */

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
	racer_did(r, RACE_MIGRATIONS, 1);
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
	racer_did(r, RACE_ADVICE, 1);
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
	racer_did(r, RACE_QUERIES, 1);
}

static void evict_some(struct racer *r)
{
	long got = hmm_migrate(r->d.h, r->d.filler, settings.open.device_bytes,
			       (int)below(&r->d, r->d.m.devices), 0);

	if (got < 0)
		racer_wrong(r, "mover", 0, "eviction", got, 0);
	racer_did(r, RACE_EVICTIONS, 1);
}

void *race_mover(void *racer)
{
	struct racer *r = racer;

	while (!is_over(r)) {
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

static void drop(struct racer *r)
{
	int err = put_text("/proc/sys/vm", "drop_caches", below(&r->d, 8) ? "1" : "3");

	racer_note(r, "presser", "drop-caches", 0, r->d.m.pages * PAGE, err);
	if (err)
		racer_wrong(r, "presser", 0, "drop_caches", err, 0);
	racer_did(r, RACE_DROPS, 1);
}

static long current_bytes(void)
{
	char path[256];
	long n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/memory.current", settings.cgroup);
	f = fopen(path, "re");
	if (!f || fscanf(f, "%ld", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n;
}

/* The group has some pages less: those that its reclaim finds, or all that is over its limit. */
static void press(struct racer *r)
{
	long bytes = (long)(1 + below(&r->d, 256)) * (long)PAGE;
	bool limit = below(&r->d, 2);
	char text[32];
	int err;

	racer_note(r, "presser", limit ? "memory.high" : "memory.reclaim", 0, r->d.m.pages * PAGE,
		   bytes);
	if (limit)
		bytes = current_bytes() - bytes;
	snprintf(text, sizeof(text), "%ld", bytes > 0 ? bytes : 0);
	err = put_text(settings.cgroup, limit ? "memory.high" : "memory.reclaim", text);
	if (limit && !err)
		err = put_text(settings.cgroup, "memory.high", "max");
	if (err && err != -EAGAIN)
		racer_wrong(r, "presser", 0, "memory group", err, 0);
	racer_did(r, RACE_PRESSURE, 1);
}

/* As often as there are migrations for it to meet, not as time goes by. */
void *race_presser(void *racer)
{
	struct racer *r = racer;
	long next = 0;

	while (!is_over(r)) {
		long moves = atomic_load(&r->race->count[RACE_MIGRATIONS]);

		if (moves < next) {
			usleep(2000);
			continue;
		}
		next = moves + 1 + below(&r->d, 2 * PRESS_EVERY);
		if (!settings.cgroup || below(&r->d, 2))
			drop(r);
		else
			press(r);
	}
	return NULL;
}

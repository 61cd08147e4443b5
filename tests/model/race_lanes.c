// SPDX-License-Identifier: MIT
/* Who owns units of pages that others own units of, too: each sees its own last stores. */
#include "model/racing.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOVES 2          /* migrations between the runs of a lane */
#define FORK_EVERY 100   /* runs */
#define PAGES 4          /* of a kernel's launch */
#define FORGET_EVERY 800 /* broken: a store that is forgotten */

static unsigned int random_page(struct racer *r)
{
	return below(&r->d, BODY / 5) * 5 + below(&r->d, 3);
}

static size_t random_unit(struct racer *r, unsigned int page)
{
	unsigned int bytes = unit_bytes(page), lanes = r->client->lanes;
	unsigned int n = (unsigned int)PAGE / bytes / lanes;

	return page * PAGE + (below(&r->d, n) * lanes + r->id) * bytes;
}

static void step(struct racer *r, enum way way, unsigned int page)
{
	unsigned int n = unit_bytes(page);
	size_t offset = random_unit(r, page);
	char *shadow = r->d.m.now + offset;
	uint64_t value = drive_random(&r->d.random);

	if (!load_by(r, way, offset, n))
		return;
	for (unsigned int k = 0; k < n; k++)
		if (r->d.plain[k] != shadow[k])
			racer_wrong(r, "lane", offset + k, "byte", (unsigned char)r->d.plain[k],
				    (unsigned char)shadow[k]);
	for (unsigned int k = 0; k < n; k++)
		r->d.plain[k] = (char)(value >> (k % 57));
	if ((broken("store") && value % FORGET_EVERY == 0) || store_by(r, way, offset, n))
		memcpy(shadow, r->d.plain, n);
}

/* All of the lane's bytes; its owner is the one that forks, so they stand still. */
static bool lane_is_right(const struct racer *r)
{
	for (unsigned int page = 0; page < BODY; page++) {
		unsigned int n = unit_bytes(page);

		if (!IS_LANES(page))
			continue;
		for (size_t at = page * PAGE + r->id * n; at + n <= (page + 1) * PAGE;
		     at += r->client->lanes * n)
			if (memcmp(r->d.m.base + at, r->d.m.now + at, n))
				return false;
	}
	return true;
}

static void fork_step(struct racer *r)
{
	pid_t pid = fork();
	int status = -1;

	if (!pid) {
		alarm((unsigned int)patient(300));
		_exit(lane_is_right(r) ? 0 : 1);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		racer_wrong(r, "child", 0, "exit status", status, 0);
	racer_did(r, RACE_FORKS, 1);
}

/* A lane is faster than what it is to meet: not before that has done something, but for a while. */
static void wait_for_moves(struct racer *r, long *moves)
{
	for (int i = 0; i < 200 && !is_over(r); i++) {
		long now = atomic_load(&r->race->count[RACE_MIGRATIONS]);

		if (now - *moves >= MOVES) {
			*moves = now;
			return;
		}
		usleep(100);
	}
}

void *race_lane(void *racer)
{
	static const enum way ways[] = { BY_CPU, BY_DEVICE, BY_KERNEL, BY_CALL };
	static const enum race_kind kinds[] = { RACE_CPU, RACE_DEVICE, RACE_NATIVE, RACE_CALLS };
	struct racer *r = racer;
	unsigned int nth = (r->id - r->client->first_lane) / 2;
	long moves = 0;

	for (unsigned long i = 0; !is_over(r); i++) {
		unsigned int page = random_page(r);

		for (unsigned int k = 0; k < settings.run; k++)
			step(r, ways[nth], page);
		racer_did(r, kinds[nth], settings.run);
		if (i % 8 == 0)
			growth_step(r, ways[nth]);
		if (i % 16 == 9 && r->client->lower >= 0)
			sync_and_look(r, page);
		if (r->id == r->client->first_lane && i % FORK_EVERY == FORK_EVERY - 1)
			fork_step(r);
		wait_for_moves(r, &moves);
	}
	return NULL;
}

/* Here the engine itself checks. */
void *race_native_lane(void *racer)
{
	struct racer *r = racer;
	uint32_t *report = (uint32_t *)(void *)r->d.plain;
	struct native_own o = { .range = r->d.m.base,
				.shadow = r->d.m.now,
				.report = report,
				.pages = BODY,
				.lanes = r->client->lanes,
				.lane = r->id,
				.run = settings.run,
				.steps = PAGES * settings.run };

	for (unsigned long i = 0; !is_over(r); i++) {
		int err;

		memset(report, 0, 4 * sizeof(*report));
		o.seed = (uint32_t)drive_random(&r->d.random);
		err = native_own(&r->client->d.native[r->id % r->d.m.devices], &o);
		if (err) {
			racer_wrong(r, "kernel", 0, "launch", err, 0);
			break;
		}
		if (report[0])
			racer_wrong(r, "kernel", report[1] * PAGE + report[2], "a byte of its unit",
				    report[3], -1);
		racer_did(r, RACE_NATIVE, PAGES * settings.run);
		if (i % 4 == 0)
			growth_step(r, BY_KERNEL);
	}
	return NULL;
}

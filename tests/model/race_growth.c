// SPDX-License-Identifier: MIT
/*
 * Bytes that one lane counts up and all others look at, also those of another client: what they
 * see is not older than what was published before they looked.
 */
#include "model/racing.h"

#define LOOKS 16       /* of a kernel */
#define STALE_EVERY 16 /* broken: a count that is published, but not stored */

static void count_up(struct racer *r, enum way way)
{
	unsigned int page = below(&r->d, COUNTED), i = page * MAX_LANES + r->id;
	struct growth *g = r->client->growth;
	uint64_t value = atomic_load(&g->published[i]) + 1;

	r->d.plain[0] = (char)value;
	atomic_store(&g->announced[i], value);
	if (!broken("stale") || below(&r->d, STALE_EVERY))
		store_by(r, way, COUNTED_PAGE(page) * PAGE + COUNTER(r->id), 1);
	atomic_store(&g->published[i], value);
}

struct growth_look growth_begin(struct racer *r)
{
	unsigned int page = below(&r->d, COUNTED), lane = below(&r->d, r->client->lanes);
	unsigned int i = page * MAX_LANES + lane;

	return (struct growth_look){ i, COUNTED_PAGE(page) * PAGE + COUNTER(lane),
				     atomic_load(&r->client->growth->published[i]) };
}

/* A byte is compared by its distance from what was published: 255 steps are told apart. */
void growth_judge(struct racer *r, const char *who, const struct growth_look *l)
{
	uint64_t after = atomic_load(&r->client->growth->announced[l->counter]);
	unsigned char seen = (unsigned char)r->d.plain[0];

	if (after - l->before < 255 && (unsigned char)(seen - l->before) > after - l->before)
		racer_wrong(r, who, l->offset, "an old or unknown count", seen,
			    (unsigned char)l->before);
}

static void look(struct racer *r, enum way way)
{
	struct growth_look l = growth_begin(r);

	if (load_by(r, way, l.offset, 1))
		growth_judge(r, "counter", &l);
}

static void by_kernel(struct racer *r)
{
	uint32_t *report = (uint32_t *)(void *)r->d.plain;
	struct native_growth n = { .range = r->d.m.base,
				   .announced = (uint64_t *)r->client->growth->announced,
				   .published = (uint64_t *)r->client->growth->published,
				   .report = report,
				   .pages = COUNTED,
				   .lanes = r->client->lanes,
				   .lane = r->id,
				   .seed = (uint32_t)drive_random(&r->d.random),
				   .steps = LOOKS };
	int err;

	memset(report, 0, 4 * sizeof(*report));
	err = native_grow(&r->client->d.native[r->id % r->d.m.devices], &n);
	if (err)
		racer_wrong(r, "kernel", 0, "launch", err, 0);
	else if (report[0])
		racer_wrong(r, "kernel's counter",
			    COUNTED_PAGE(report[1]) * PAGE + COUNTER(report[2]), "after its value",
			    report[3] & 255, report[3] >> 8);
	racer_did(r, RACE_COUNTERS, 2 * LOOKS);
}

void growth_step(struct racer *r, enum way way)
{
	if (way == BY_KERNEL) {
		by_kernel(r);
		return;
	}
	for (unsigned int i = 0; i < LOOKS / 4; i++) {
		count_up(r, way);
		look(r, way);
	}
	racer_did(r, RACE_COUNTERS, LOOKS / 2);
}

// SPDX-License-Identifier: MIT
/* Who owns units of pages that others own units of, too: each sees its own last stores. */
#include "model/racing.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define NATIVE_STEPS 64u
#define FORK_EVERY 4000

/* A random unit of the lane. */
static size_t random_unit(struct racer *r, unsigned int *bytes)
{
	unsigned int page = below(&r->d, r->d.m.pages), n;

	page -= IS_WHOLE(page);
	*bytes = unit_bytes(page);
	n = (unsigned int)PAGE / *bytes / LANES;
	return page * PAGE + (below(&r->d, n) * LANES + r->id) * *bytes;
}

static void cpu_step(struct racer *r)
{
	unsigned int n;
	size_t offset = random_unit(r, &n);
	volatile char *p = r->d.m.base + offset;
	char *shadow = r->d.m.now + offset;
	uint64_t value = drive_random(&r->d.random);

	for (unsigned int k = 0; k < n; k++) {
		char c = p[k];

		if (c != shadow[k])
			racer_wrong(r, "CPU", offset + k, "byte", (unsigned char)c,
				    (unsigned char)shadow[k]);
	}
	if (n == 8) {
		*(volatile uint64_t *)(volatile void *)p = value;
		memcpy(shadow, &value, 8);
		return;
	}
	for (unsigned int k = 0; k < n; k++) {
		shadow[k] = (char)(value >> (k % 57));
		p[k] = shadow[k];
	}
}

/* All of the lane's bytes; its owner is the one that forks, so they stand still. */
static bool lane_is_right(const struct racer *r)
{
	for (unsigned int page = 0; page < r->d.m.pages; page++) {
		unsigned int n = unit_bytes(page);

		if (IS_WHOLE(page))
			continue;
		for (size_t at = page * PAGE + r->id * n; at + n <= (page + 1) * PAGE;
		     at += LANES * n)
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
		alarm(60);
		_exit(lane_is_right(r) ? 0 : 1);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		racer_wrong(r, "child", 0, "exit status", status, 0);
	atomic_fetch_add(&r->race->count[RACE_FORKS], 1);
}

void *race_cpu_lane(void *racer)
{
	struct racer *r = racer;

	for (long i = 0; i < r->race->steps; i++) {
		cpu_step(r);
		if (!r->id && i % FORK_EVERY == FORK_EVERY - 1)
			fork_step(r);
	}
	atomic_fetch_add(&r->race->count[RACE_LANE_OPS], r->race->steps);
	return NULL;
}

static void device_step(struct racer *r)
{
	unsigned int n;
	size_t offset = random_unit(r, &n);
	int device = (int)(r->id % r->d.m.devices);
	char *p = r->d.m.base + offset, *shadow = r->d.m.now + offset;
	uint64_t value = drive_random(&r->d.random);
	long got = hmm_device_read(r->d.h, device, p, r->d.plain, n);

	if (got != (long)n)
		racer_wrong(r, "hmm_device_read()", offset, "count", got, (long)n);
	else if (memcmp(r->d.plain, shadow, n))
		racer_wrong(r, "hmm_device_read()", offset, "first byte", *r->d.plain, *shadow);
	for (unsigned int k = 0; k < n; k++)
		r->d.plain[k] = (char)(value >> (k % 57));
	got = hmm_device_write(r->d.h, device, p, r->d.plain, n);
	if (got != (long)n)
		racer_wrong(r, "hmm_device_write()", offset, "count", got, (long)n);
	if (got > 0)
		memcpy(shadow, r->d.plain, (size_t)got);
}

void *race_device_lane(void *racer)
{
	struct racer *r = racer;

	for (long i = 0; i < r->race->steps; i++)
		device_step(r);
	atomic_fetch_add(&r->race->count[RACE_LANE_OPS], r->race->steps);
	return NULL;
}

void *race_native_lane(void *racer)
{
	struct racer *r = racer;
	uint32_t *report = (uint32_t *)(void *)r->d.plain;
	struct native_own o = { .range = r->d.m.base,
				.shadow = r->d.m.now,
				.report = report,
				.pages = r->d.m.pages,
				.lanes = LANES,
				.lane = r->id,
				.steps = NATIVE_STEPS };

	for (long i = 0; i < r->race->steps; i += NATIVE_STEPS) {
		int err;

		memset(report, 0, 4 * sizeof(*report));
		o.seed = (uint32_t)drive_random(&r->d.random);
		err = native_own(&r->d.native[r->id % r->d.m.devices], &o);
		if (err) {
			racer_wrong(r, "kernel", 0, "launch", err, 0);
			break;
		}
		for (uint32_t k = 0; k < report[0]; k++)
			racer_wrong(r, "kernel", report[1] * PAGE + report[2], "a byte of its unit",
				    report[3], -1);
		atomic_fetch_add(&r->race->count[RACE_LANE_OPS], NATIVE_STEPS);
	}
	return NULL;
}

// SPDX-License-Identifier: MIT
/*
 * Many threads in one range, of one process or two: the owners of its bytes load, store and check
 * them, while others migrate, evict, drop and query all of it at random. No byte may be lost or
 * stale.
 */
#include "model/racing.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define REPORTED 5

bool broken(const char *what)
{
	return settings.negative && !strcmp(settings.negative, what);
}

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

void racer_did(struct racer *r, enum race_kind kind, long n)
{
	atomic_fetch_add(&r->race->count[kind], n);
	if (atomic_fetch_add(&r->race->done, n) + n >= r->race->goal)
		atomic_store(&r->race->over, true);
}

void racer_wrong(struct racer *r, const char *who, size_t offset, const char *what, long seen,
		 long expected)
{
	struct hmm_page_status s = { .location = -100 };
	long nth = atomic_fetch_add(&r->race->bad, 1);

	if (nth >= REPORTED)
		return;
	hmm_query(r->d.h, r->d.m.base + offset, 1, &s);
	printf("\n    MISMATCH, seed %lu: client %u, %s %u, page %zu, byte %zu, at %d: %s %ld,"
	       " expected %ld",
	       (unsigned long)settings.seed, r->client->id, who, r->id, offset / PAGE,
	       offset % PAGE, s.location, what, seen, expected);
	if (!nth)
		history_print(offset / PAGE, NO_PAGE);
}

/* What a client's threads are, in this order. */
struct role {
	void *(*run)(void *racer);
	unsigned int n, first; /* first: id */
};

static unsigned int choose_roles(const struct client *c, struct role *role)
{
	unsigned int n = 0, id = c->first_lane;
	bool tail = c->file >= 0 && on_driver() && !c->id;

	role[n++] = (struct role){ race_lane, 4, id };
	role[n++] = (struct role){ race_native_lane, 2, id + 4 };
	if (c->own_lanes > 6)
		role[n++] = (struct role){ race_lane, c->own_lanes - 6, id + 6 };
	role[n++] = (struct role){ race_page_owner, 2, c->first_lane ? 2 : 0 };
	if (tail)
		role[n++] = (struct role){ race_tail_owner, 1, 0 };
	role[n++] = (struct role){ race_mover, 2, 0 };
	if (on_driver())
		role[n++] = (struct role){ race_presser, 1, 0 };
	return n;
}

static void run_threads(struct client *c, struct racer *racer)
{
	struct role role[8];
	pthread_t thread[MAX_THREADS];
	unsigned int roles = choose_roles(c, role), n = 0;

	for (unsigned int i = 0; i < roles; i++) {
		for (unsigned int k = 0; k < role[i].n; k++, n++) {
			racer[n] = (struct racer){ c, c->race, c->d, role[i].first + k };
			racer[n].d.random = settings.seed * 1000003 + c->id * 501 + n;
			racer[n].d.plain = c->d.plain + n * MAX_BYTES;
			pthread_create(&thread[n], NULL, role[i].run, &racer[n]);
		}
	}
	while (n)
		pthread_join(thread[--n], NULL);
}

static void print_counts(struct client *c)
{
	static const char *const names[RACE_KINDS] = {
		[RACE_CPU] = "by the CPU",        [RACE_DEVICE] = "by hmm_device_*()",
		[RACE_NATIVE] = "by engines",     [RACE_CALLS] = "by system calls",
		[RACE_COUNTERS] = "of counters",  [RACE_OWNERS] = "of page owners",
		[RACE_SYNCS] = "syncs",           [RACE_TRUNCATIONS] = "truncations",
		[RACE_PUNCHES] = "holes",         [RACE_FORKS] = "forks",
		[RACE_MIGRATIONS] = "migrations", [RACE_EVICTIONS] = "evictions",
		[RACE_ADVICE] = "advice",         [RACE_QUERIES] = "queries",
		[RACE_DROPS] = "drop_caches",     [RACE_PRESSURE] = "memory pressure",
	};
	struct hmm_stats s = { .sz = sizeof(s) };

	printf("\n    %ld operations", atomic_load(&c->race->done));
	for (int i = 0; i < RACE_KINDS; i++)
		if (c->race->count[i])
			printf("%s%ld %s", i ? ", " : ": ", atomic_load(&c->race->count[i]),
			       names[i]);
	hmm_stats(c->d.h, -1, &s);
	if (c->file >= 0)
		printf("; %ld syncs left their page on a device", atomic_load(&c->race->in_place));
	printf("; of one client %lu pages out, %lu home\n    ", (unsigned long)s.pages_to_device,
	       (unsigned long)s.pages_to_system);
}

/* All clients have come here; or the other one is gone. */
static void wait_for_all(pid_t other, _Atomic unsigned int *here)
{
	atomic_fetch_add(here, 1);
	while (atomic_load(here) < settings.clients) {
		siginfo_t info = { 0 };

		if (other && !waitid(P_PID, (id_t)other, &info, WEXITED | WNOHANG | WNOWAIT) &&
		    info.si_pid)
			return;
		usleep(1000);
	}
}

static int start_client(struct client *c)
{
	int err = 0;

	if (c->file < 0) {
		err = model_create(&c->d.m, NULL, BODY, 0);
		c->growth = shared_memory(sizeof(*c->growth));
	} else {
		err = file_open(c);
	}
	if (!err && !c->growth)
		err = -ENOMEM;
	if (!err)
		err = drive_start(&c->d);
	if (err)
		return err;
	c->d.m.base = c->file < 0 ? map_range(c->d.m.pages, -1) : file_map(c);
	if (!c->d.m.base)
		return -ENOMEM;
	if (c->file < 0)
		model_map(&c->d.m, 0, c->d.m.pages, PROT_READ | PROT_WRITE);
	for (unsigned int i = 0; i < c->d.m.devices && !err; i++)
		err = native_warm(&c->d.native[i], c->d.plain);
	return err;
}

/* All that is in memory, by the CPU or a device, and what is below. */
static void check_end(struct client *c, struct racer *r)
{
	for (unsigned int i = 0; i < COUNTED * MAX_LANES; i++)
		c->d.m.now[COUNTED_PAGE(i / MAX_LANES) * PAGE + COUNTER(i % MAX_LANES)] =
			(char)c->growth->published[i];
	if (check_all(&c->d, c->id ? (int)c->d.m.devices - 1 : -1))
		racer_wrong(r, c->d.wrong, c->d.bad, "the end's check", 0, 0);
	if (c->file >= 0)
		check_lower(r);
}

static void run_client(struct client *c, pid_t other)
{
	static struct racer racers[MAX_THREADS];
	int err = start_client(c);

	if (err) {
		printf("\n    client %u cannot start: %d", c->id, err);
		atomic_fetch_add(&c->race->bad, 1);
		atomic_store(&c->race->over, true);
		atomic_fetch_add(&c->race->ready, 1);
		atomic_fetch_add(&c->race->ended, 1);
		return;
	}
	wait_for_all(other, &c->race->ready);
	run_threads(c, racers);
	wait_for_all(other, &c->race->ended);
	check_end(c, &racers[0]);
	if (!c->id)
		print_counts(c);
	drive_close(&c->d);
	file_close(c);
	munmap(c->growth, sizeof(*c->growth));
}

/* Another process, before this one has anything of the library's. */
static pid_t second_client(struct client *c)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	c->id = 1;
	c->first_lane = c->file < 0 ? 0 : c->own_lanes;
	run_client(c, 0);
	_exit(0);
}

static int prepare(struct client *c, struct race *race)
{
	bool calls = settings.file && on_driver();

	if (settings.clients > 2 || (settings.file && !calls && settings.clients > 1))
		return -EINVAL; /* the emulated backend has a file for one process */
	*c = (struct client){ .race = race, .own_lanes = calls ? 8 : 6, .file = -1, .lower = -1 };
	c->lanes = c->own_lanes * (settings.file ? settings.clients : 1);
	c->page_owners = settings.file ? 2 * settings.clients : 2;
	return settings.file ? file_create(c) : 0;
}

long run_racing(long ops)
{
	static struct client c;
	struct race *race = shared_memory(sizeof(*race));
	int err = race && history_start() ? prepare(&c, race) : -ENOMEM, status = 0;
	pid_t other = 0;
	long bad;

	if (!err) {
		race->goal = ops;
		other = settings.clients > 1 ? second_client(&c) : 0;
		err = other < 0 ? -EAGAIN : 0;
	}
	if (err) {
		printf("\n    cannot start: %d", err);
		return -1;
	}
	run_client(&c, other);
	if (other && (waitpid(other, &status, 0) != other || status))
		printf("\n    MISMATCH, the other client ended with status %#x",
		       (unsigned int)status);
	bad = atomic_load(&race->bad) + !!status;
	munmap(race, sizeof(*race));
	return bad;
}

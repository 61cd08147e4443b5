// SPDX-License-Identifier: MIT
/* hmmctl stat PID: what its devices do, a line for each interval, as vmstat(8) does. */
#include "hmmctl.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HEADER_EVERY 20 /* lines */

struct column {
	const char *name, *key;
	size_t offset;
};

#define COLUMN(name, field)                                     \
	{                                                       \
		name, #field, offsetof(struct hmm_stats, field) \
	}

static const struct column columns[] = {
	COLUMN("todev", pages_to_device), COLUMN("home", pages_to_system),
	COLUMN("evict", pages_evicted),   COLUMN("remote", pages_remote),
	COLUMN("cpuflt", cpu_faults),     COLUMN("devflt", device_faults),
	COLUMN("launch", launches),       COLUMN("invalid", invalid_faults),
	COLUMN("across", pages_across),
};

#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

static uint64_t value(const struct hmm_stats *s, size_t column)
{
	uint64_t v;

	memcpy(&v, (const char *)s + columns[column].offset, sizeof(v));
	return v;
}

static uint64_t since(const struct hmm_inspect_stats *now, const struct hmm_inspect_stats *before,
		      unsigned int device, size_t column)
{
	return value(&now->device[device].stats, column) -
	       value(&before->device[device].stats, column);
}

static void print_header(void)
{
	printf("%10s", "resident");
	for (size_t c = 0; c < COLUMNS; c++)
		printf(" %8s", columns[c].name);
	printf("   (pages and counts, all devices)\n");
}

static void print_text(const struct hmm_inspect_stats *now, const struct hmm_inspect_stats *before,
		       long line)
{
	uint64_t sum = 0;

	if (line % HEADER_EVERY == 0)
		print_header();
	for (unsigned int d = 0; d < now->devices; d++)
		sum += now->device[d].stats.resident_pages;
	printf("%10llu", (unsigned long long)sum);
	for (size_t c = 0; c < COLUMNS; c++) {
		sum = 0;
		for (unsigned int d = 0; d < now->devices; d++)
			sum += since(now, before, d, c);
		printf(" %8llu", (unsigned long long)sum);
	}
	printf("\n");
}

/* Names are the library's own: nothing in them needs an escape. */
static void print_json(int pid, const struct hmm_inspect_stats *now,
		       const struct hmm_inspect_stats *before, double seconds)
{
	printf("{\"pid\": %d, \"seconds\": %.3f, \"devices\": [", pid, seconds);
	for (unsigned int d = 0; d < now->devices; d++) {
		const struct hmm_inspect_device *v = &now->device[d];

		printf("%s{\"index\": %u, \"name\": \"%.64s\", \"backend\": \"%.16s\", "
		       "\"bytes\": %llu, \"resident_pages\": %llu",
		       d ? ", " : "", d, v->info.name, v->info.backend,
		       (unsigned long long)v->info.bytes,
		       (unsigned long long)v->stats.resident_pages);
		for (size_t c = 0; c < COLUMNS; c++)
			printf(", \"%s\": %llu", columns[c].key,
			       (unsigned long long)since(now, before, d, c));
		printf("}");
	}
	printf("]}\n");
}

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void pause_for(double seconds)
{
	struct timespec t = { (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) };

	nanosleep(&t, NULL);
}

/* The first line counts from the start of the devices, as vmstat's does from boot. */
static int watch(int pid, double interval, long count, bool json)
{
	static struct hmm_inspect_stats now, before;
	double then = 0;

	for (long line = 0; !count || line < count; line++) {
		bool ended;
		int fd, err;
		double t;

		if (line)
			pause_for(interval);
		fd = line && kill(pid, 0) ? -1 : hmmctl_ask_open(pid);
		if (fd < 0)
			return line ? 0 : 1; /* it has ended: nothing is wrong */
		err = hmmctl_ask_stats(fd, &now);
		ended = err && errno != EAGAIN;
		close(fd);
		if (ended && line)
			return 0;
		if (err) {
			fprintf(stderr, "hmmctl: process %d does not answer\n", pid);
			return 1;
		}
		t = seconds_now();
		if (json)
			print_json(pid, &now, &before, line ? t - then : 0);
		else
			print_text(&now, &before, line);
		fflush(stdout);
		before = now;
		then = t;
	}
	return 0;
}

static bool read_interval(const char *text, double *seconds)
{
	char *end;

	errno = 0;
	*seconds = strtod(text, &end);
	return *text && !*end && !errno && *seconds >= 0.01 && *seconds <= 86400;
}

int hmmctl_stat(int argc, char **argv)
{
	long pid, count = 0;
	double interval = 1;
	bool json = false;
	const char *words[3] = { NULL };
	int n = 0;

	for (int i = 0; i < argc; i++) {
		if (!strcmp(argv[i], "--json"))
			json = true;
		else if (argv[i][0] == '-' || n == 3)
			return hmmctl_misused("stat does not know ", argv[i]);
		else
			words[n++] = argv[i];
	}
	if (!n)
		return hmmctl_misused("stat of which process?", "");
	if (!hmmctl_number(words[0], 1, INT32_MAX, &pid))
		return hmmctl_misused("not a process id: ", words[0]);
	if (n > 1 && !read_interval(words[1], &interval))
		return hmmctl_misused("not an interval in seconds: ", words[1]);
	if (n > 2 && !hmmctl_number(words[2], 1, INT32_MAX, &count))
		return hmmctl_misused("not a count: ", words[2]);
	return watch((int)pid, interval, count, json);
}

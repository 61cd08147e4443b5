// SPDX-License-Identifier: MIT
/* hmmctl trace -- PROGRAM ARGS: a timeline of what the runtime did for it. */
#include "trace.h"
#include "hmmctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int convert(const char *raw, const char *path)
{
	FILE *from = fopen(raw, "re"), *to = from ? fopen(path, "we") : NULL;
	struct timeline_counts c = { 0 };
	int err = from && to ? timeline_write(from, to, &c) : -1;

	if (to && fclose(to))
		err = -1;
	if (from)
		fclose(from);
	if (err)
		fprintf(stderr, "hmmctl: %s: %s\n", path, strerror(errno));
	else
		fprintf(stderr, "\nhmmctl: %s: %lu events, %lu dropped%s\n", path, c.events,
			c.dropped, c.dropped ? " (try --events)" : "");
	return err ? 1 : 0;
}

static int trace(char **argv, const char *path, const char *events)
{
	char raw[4096];
	int err = hmmctl_platform(), status = 0;

	if (!err)
		err = hmmctl_temporary(raw, sizeof(raw));
	if (err)
		return err;
	setenv("HMM_TRACE", raw, 1);
	if (events)
		setenv("HMM_TRACE_EVENTS", events, 1);
	err = hmmctl_program(argv, &status);
	if (!err)
		err = convert(raw, path);
	unlink(raw);
	return err ? err : hmmctl_end_as(status);
}

int hmmctl_trace(int argc, char **argv)
{
	const char *path = "hmm-trace.json", *events = NULL;
	int i = 0;
	long n;

	for (; i < argc && argv[i][0] == '-'; i++) {
		if (!strcmp(argv[i], "--")) {
			i++;
			break;
		}
		if (!strcmp(argv[i], "-o") && i + 1 < argc)
			path = argv[++i];
		else if (!strcmp(argv[i], "--events") && i + 1 < argc &&
			 hmmctl_number(argv[i + 1], 1, 1 << 18, &n))
			events = argv[++i];
		else
			return hmmctl_misused("trace does not know ", argv[i]);
	}
	if (i >= argc)
		return hmmctl_misused("trace what?", "");
	return trace(argv + i, path, events);
}

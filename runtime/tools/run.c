// SPDX-License-Identifier: MIT
/*
 * An unmodified OpenCL program on the HMM platform: the loader is told of no other one.
 * What happened is printed when the program is over.
 */
#include "hmmctl.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct field {
	const char *key, *label;
};

static const struct field fields[] = {
	{ "launches", "kernels launched" },
	{ "device_faults", "device faults" },
	{ "cpu_faults", "CPU faults on device pages" },
	{ "pages_to_device", "pages to the device" },
	{ "pages_across", "  of them from another device" },
	{ "pages_to_system", "pages home" },
	{ "pages_evicted", "  of them evicted" },
	{ "pages_remote", "pages mapped remotely" },
	{ "invalid_faults", "invalid device accesses" },
};

static void print_line(char *line)
{
	fprintf(stderr, "\nhmmctl: device %ld\n", strtol(line + strlen("device "), NULL, 10));
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		const char *at = strstr(line, fields[i].key);

		if (at)
			fprintf(stderr, "  %12llu  %s\n",
				strtoull(at + strlen(fields[i].key) + 1, NULL, 10),
				fields[i].label);
	}
}

static void print_statistics(const char *path)
{
	char *line = NULL;
	size_t room = 0;
	bool any = false;
	FILE *f = fopen(path, "re");

	while (f && getline(&line, &room, f) > 0) {
		if (!strncmp(line, "device ", 7)) {
			print_line(line);
			any = true;
		}
	}
	if (!any)
		fprintf(stderr, "\nhmmctl: no statistics: no HMM device was used, or the "
				"program was killed\n");
	free(line);
	if (f)
		fclose(f);
}

int hmmctl_run(char **argv)
{
	char stats[4096];
	int err = hmmctl_platform(), status = 0;

	if (!err)
		err = hmmctl_temporary(stats, sizeof(stats));
	if (err)
		return err;
	setenv("HMM_STATS", stats, 1);
	err = hmmctl_program(argv, &status);
	if (!err)
		print_statistics(stats);
	unlink(stats);
	return err ? err : hmmctl_end_as(status);
}

// SPDX-License-Identifier: MIT
#include "core/process.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void report(FILE *f, const struct hmm_backend_ops *ops)
{
	for (unsigned int d = 0; d < ops->device_count(); d++) {
		struct hmm_stats s = { 0 };

		ops->stats(d, &s);
		fprintf(f,
			"device %u pages_to_device=%llu pages_to_system=%llu cpu_faults=%llu "
			"device_faults=%llu pages_evicted=%llu pages_remote=%llu launches=%llu "
			"invalid_faults=%llu resident_pages=%llu pages_across=%llu\n",
			d, (unsigned long long)s.pages_to_device,
			(unsigned long long)s.pages_to_system, (unsigned long long)s.cpu_faults,
			(unsigned long long)s.device_faults, (unsigned long long)s.pages_evicted,
			(unsigned long long)s.pages_remote, (unsigned long long)s.launches,
			(unsigned long long)s.invalid_faults, (unsigned long long)s.resident_pages,
			(unsigned long long)s.pages_across);
	}
}

void hmm_stats_report(const struct hmm_backend_ops *ops)
{
	const char *where = secure_getenv("HMM_STATS");
	FILE *f;
	int fd;

	if (!where || !*where || !strcmp(where, "0"))
		return;
	if (!strcmp(where, "1")) {
		report(stderr, ops);
		return;
	}
	fd = open(where, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
	f = fd < 0 ? NULL : fdopen(fd, "a");
	if (!f) {
		if (fd >= 0)
			close(fd);
		return;
	}
	report(f, ops);
	fclose(f);
}

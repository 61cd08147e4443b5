// SPDX-License-Identifier: MIT
/* No memory, at every place in turn: faults [MOUNT LOWER], where hmmfs at MOUNT stands on LOWER. */
#include "faults.h"

#include <errno.h>
#include <stdio.h>

#define MAX_PLACES 2000u

/* One round. Returns whether a place failed. */
static bool fails_once(const struct operation *o, unsigned int n, int *err)
{
	int fd;

	if (o->engine) {
		engine_fail(o->engine, n);
		*err = o->run();
		return engine_failed(o->engine);
	}
	fd = fail_begin(n);
	*err = o->run();
	return fail_end(fd);
}

static unsigned int places; /* that failed */

static int sweep(const struct operation *o)
{
	unsigned int n, errors = 0;
	bool failed = true;

	for (n = 1; failed && n < MAX_PLACES; n++) {
		int err;

		if (o->before && o->before()) {
			printf("%s: place %u: it cannot be tried\n", o->name, n);
			return 1;
		}
		failed = fails_once(o, n, &err);
		if (err && (!failed || (err != -ENOMEM && err != o->also))) {
			printf("%s: place %u: error %d\n", o->name, n, err);
			return 1;
		}
		if (o->after && o->after(err)) {
			printf("%s: place %u: not as it must be after %d\n", o->name, n, err);
			return 1;
		}
		errors += !!err;
	}
	printf("%s: %u places, %u of them an error\n", o->name, n - 2, errors);
	places += n - 2;
	return 0;
}

int faults_sweep(const struct operation *operation, size_t n)
{
	int wrong = 0;

	for (size_t i = 0; i < n; i++) {
		wrong += sweep(&operation[i]);
		fflush(stdout);
	}
	/* Where nothing failed nothing was shown. */
	return wrong + !places;
}

int main(int argc, char **argv)
{
	int wrong;

	if (client_open())
		return 2;
	wrong = argc > 2 ? faults_file(argv[1], argv[2]) : faults_anonymous();
	if (resident(0) || resident(1)) {
		printf("%lu and %lu bytes stay on the devices\n", (unsigned long)resident(0),
		       (unsigned long)resident(1));
		wrong++;
	}
	return wrong ? 1 : 0;
}

// SPDX-License-Identifier: MIT
/* hmmctl: look at devices, and run programs on them. See hmmctl(1). */
#include "hmmctl.h"

#include <hmm/hmm.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
	"usage: hmmctl devices [--json]        the devices of this machine\n"
	"       hmmctl run -- PROGRAM [ARG...] an OpenCL program on the HMM platform\n"
	"       hmmctl --version | --help\n";

static void print_text(int i, const struct hmm_device_info *d)
{
	printf("%d  %s\n", i, d->name);
	printf("   backend    %s\n", d->backend);
	printf("   memory     %llu MiB\n", (unsigned long long)d->bytes >> 20);
	printf("   pages move %s\n", d->flags & HMM_DEVICE_MOVE ? "by UFFDIO_MOVE" :
								  "by write-protect and copy");
	printf("   faults     %s\n", d->flags & HMM_DEVICE_USER_MODE_ONLY ?
					     "user mode only: see hmm_io(7)" :
					     "user and kernel mode");
	printf("   engine     pid %d\n", d->engine_pid);
}

static void print_json(int i, const struct hmm_device_info *d)
{
	printf("%s  {\"index\": %d, \"name\": \"%s\", \"backend\": \"%s\", \"bytes\": %llu, "
	       "\"move\": %s, \"user_mode_only\": %s, \"engine_pid\": %d}",
	       i ? ",\n" : "\n", i, d->name, d->backend, (unsigned long long)d->bytes,
	       d->flags & HMM_DEVICE_MOVE ? "true" : "false",
	       d->flags & HMM_DEVICE_USER_MODE_ONLY ? "true" : "false", d->engine_pid);
}

static int devices(bool json)
{
	struct hmm_device_info d;
	struct hmm *h;
	int err = hmm_open(&h, NULL);

	if (err) {
		fprintf(stderr, "hmmctl: no devices: %s\n", strerrordesc_np(-err));
		return 1;
	}
	if (json)
		printf("[");
	for (int i = 0; i < hmm_device_count(h); i++) {
		if (hmm_device_info(h, i, &d))
			continue;
		if (json)
			print_json(i, &d);
		else
			print_text(i, &d);
	}
	if (json)
		printf("\n]\n");
	hmm_close(h);
	return 0;
}

static int misused(const char *why, const char *what)
{
	fprintf(stderr, "hmmctl: %s%s\n%s", why, what, usage);
	return 2;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return misused("what shall I do?", "");
	if (!strcmp(argv[1], "--help")) {
		fputs(usage, stdout);
		return 0;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("hmmctl %s\n", hmm_version());
		return 0;
	}
	if (!strcmp(argv[1], "devices")) {
		bool json = argc == 3 && !strcmp(argv[2], "--json");

		if (argc > 2 && !json)
			return misused("devices does not know ", argv[2]);
		return devices(json);
	}
	if (!strcmp(argv[1], "run")) {
		char **program = argv + 2;

		if (*program && !strcmp(*program, "--"))
			program++;
		if (!*program)
			return misused("run what?", "");
		return hmmctl_run(program);
	}
	return misused("no such command: ", argv[1]);
}

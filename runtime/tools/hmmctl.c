// SPDX-License-Identifier: MIT
/* hmmctl: look at devices, and run programs on them. See hmmctl(1). */
#include "hmmctl.h"

#include <errno.h>
#include <hmm/hmm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
	"usage: hmmctl devices [--json]          the devices of this machine\n"
	"       hmmctl run [--] PROGRAM [ARG...]  an OpenCL program on the HMM platform\n"
	"       hmmctl stat PID [SECONDS [COUNT]] [--json]  what its devices do, live\n"
	"       hmmctl map PID [--all] [--png FILE [--seconds N]]  where its pages are\n"
	"       hmmctl trace [-o FILE] [--events N] [--] PROGRAM [ARG...]  a timeline of it\n"
	"       hmmctl --version | --help\n";

static const char *how_pages_move(const struct hmm_device_info *d)
{
	if (!strcmp(d->backend, "drm"))
		return "by the kernel driver";
	return d->flags & HMM_DEVICE_MOVE ? "by UFFDIO_MOVE" : "by write-protect and copy";
}

static const char *which_faults(const struct hmm_device_info *d)
{
	return d->flags & HMM_DEVICE_USER_MODE_ONLY ? "user mode only: see hmm_io(7)" :
						      "user and kernel mode";
}

static void print_text(int i, const struct hmm_device_info *d)
{
	printf("%d  %s%s\n", i, d->name, d->flags & HMM_DEVICE_LOST ? " (lost)" : "");
	printf("   backend    %s\n", d->backend);
	printf("   memory     %llu MiB\n", (unsigned long long)d->bytes >> 20);
	if (d->numa_node >= 0)
		printf("   near node  %d\n", d->numa_node);
	printf("   pages move %s\n", how_pages_move(d));
	printf("   faults     %s\n", which_faults(d));
	if (d->engine_pid)
		printf("   engine     pid %d\n", d->engine_pid);
}

static const char *json_bool(uint32_t flag)
{
	return flag ? "true" : "false";
}

/* Names are the library's own: nothing in them needs an escape. */
static void print_json(int i, const struct hmm_device_info *d)
{
	printf("%s  {\"index\": %d, \"name\": \"%s\", \"backend\": \"%s\", \"bytes\": %llu, "
	       "\"resident\": %llu, \"numa_node\": %d, \"can_fault\": %s, \"lost\": %s, "
	       "\"move\": %s, \"user_mode_only\": %s, \"engine_pid\": %d}",
	       i ? ",\n" : "\n", i, d->name, d->backend, (unsigned long long)d->bytes,
	       (unsigned long long)d->resident, d->numa_node,
	       json_bool(d->flags & HMM_DEVICE_CAN_FAULT), json_bool(d->flags & HMM_DEVICE_LOST),
	       json_bool(d->flags & HMM_DEVICE_MOVE),
	       json_bool(d->flags & HMM_DEVICE_USER_MODE_ONLY), d->engine_pid);
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

int hmmctl_misused(const char *why, const char *what)
{
	fprintf(stderr, "hmmctl: %s%s\n%s", why, what, usage);
	return 2;
}

bool hmmctl_number(const char *text, long min, long max, long *value)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	if (!*text || *end || errno || n < min || n > max)
		return false;
	*value = n;
	return true;
}

static bool wants_help(const char *arg)
{
	return !strcmp(arg, "--help") || !strcmp(arg, "-h");
}

static int help(void)
{
	fputs(usage, stdout);
	return 0;
}

static int devices_command(int argc, char **argv)
{
	bool json = argc > 0 && !strcmp(argv[0], "--json");

	if (argc > json)
		return hmmctl_misused("devices does not know ", argv[json]);
	return devices(json);
}

/* Options end with "--"; without it, a program's name may not look like one. */
static int run_command(int argc, char **argv)
{
	bool separated = argc > 0 && !strcmp(argv[0], "--");

	if (!separated && argc > 0 && argv[0][0] == '-')
		return hmmctl_misused("run does not know ", argv[0]);
	if (argc == separated)
		return hmmctl_misused("run what?", "");
	return hmmctl_run(argv + separated);
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "devices", devices_command }, { "run", run_command },    { "stat", hmmctl_stat },
	{ "map", hmmctl_map },          { "trace", hmmctl_trace },
};

int main(int argc, char **argv)
{
	if (argc < 2)
		return hmmctl_misused("what shall I do?", "");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[1], commands[i].name) != 0)
			continue;
		if (argc > 2 && wants_help(argv[2]))
			return help();
		return commands[i].run(argc - 2, argv + 2);
	}
	if (wants_help(argv[1]) && argc == 2)
		return help();
	if (!strcmp(argv[1], "--version") && argc == 2) {
		printf("hmmctl %s\n", hmm_version());
		return 0;
	}
	return hmmctl_misused("no such command: ", argv[1]);
}

// SPDX-License-Identifier: MIT
/*
 * An unmodified OpenCL program on the HMM platform: the loader is told of no other one.
 * What happened is printed when the program is over.
 */
#include "hmmctl.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef HMM_LIB_FROM_BIN
#define HMM_LIB_FROM_BIN "../lib"
#endif

extern char **environ;

/* Beside us in the build tree and in the installed one. */
static bool find_library(const char *name, char *path, size_t size)
{
	static const char *const places[] = { HMM_LIB_FROM_BIN, "../lib" };
	char self[3072];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return false;
	self[n] = 0;
	*strrchr(self, '/') = 0;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, size, "%s/%s/%s", self, places[i], name);
		if (!access(path, R_OK))
			return true;
	}
	return false;
}

static void preload(void)
{
	const char *old = getenv("LD_PRELOAD");
	char path[4096], all[8192];

	if (!find_library("libhmm_io.so", path, sizeof(path)))
		return;
	snprintf(all, sizeof(all), "%s%s%s", path, old ? ":" : "", old ? old : "");
	setenv("LD_PRELOAD", all, 1);
}

struct field {
	const char *key, *label;
};

static const struct field fields[] = {
	{ "launches", "kernels launched" },
	{ "device_faults", "device faults" },
	{ "cpu_faults", "CPU faults on device pages" },
	{ "pages_to_device", "pages to the device" },
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
		fprintf(stderr, "\nhmmctl: the program used no HMM device\n");
	free(line);
	if (f)
		fclose(f);
}

/* The terminal's signals go to the program, too; we wait for its end. */
static int wait_for(pid_t pid)
{
	int status;

	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return status;
}

int hmmctl_run(char **argv)
{
	char icd[4096], stats[] = "/tmp/hmmctl-XXXXXX";
	int fd, err, status;
	pid_t pid;

	if (!find_library("libhmm_opencl.so", icd, sizeof(icd))) {
		fprintf(stderr, "hmmctl: libhmm_opencl.so is not beside me\n");
		return 1;
	}
	fd = mkstemp(stats);
	if (fd < 0) {
		fprintf(stderr, "hmmctl: %s: %s\n", stats, strerror(errno));
		return 1;
	}
	close(fd);
	setenv("OCL_ICD_VENDORS", icd, 1);
	setenv("HMM_STATS", stats, 1);
	preload();
	err = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
	if (err) {
		fprintf(stderr, "hmmctl: %s: %s\n", argv[0], strerror(err));
		unlink(stats);
		return err == ENOENT ? 127 : 126;
	}
	status = wait_for(pid);
	print_statistics(stats);
	unlink(stats);
	if (WIFSIGNALED(status)) {
		signal(WTERMSIG(status), SIG_DFL);
		raise(WTERMSIG(status));
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

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
#include <sys/resource.h>
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
		fprintf(stderr, "\nhmmctl: no statistics: no HMM device was used, or the "
				"program was killed\n");
	free(line);
	if (f)
		fclose(f);
}

static volatile sig_atomic_t child;

static void forward(int signal)
{
	if (child > 0)
		kill(child, signal);
}

/* The terminal sends these to the program, too: we only wait for its end. */
static const int terminal_signals[] = { SIGINT, SIGQUIT };
/* Others reach us alone, and are meant for the program. */
static const int forwarded_signals[] = { SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 };

/*
 * Starts @argv with the signal handling that we got ourselves. Signals wait in the meantime,
 * so that none comes between the start and forward() knowing the pid.
 */
static int start(char **argv)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN }, pass = { .sa_handler = forward };
	posix_spawnattr_t attr;
	sigset_t all, before;
	pid_t pid;
	int err;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	err = posix_spawnattr_init(&attr);
	if (!err) {
		posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
		posix_spawnattr_setsigmask(&attr, &before);
		err = posix_spawnp(&pid, argv[0], NULL, &attr, argv, environ);
		posix_spawnattr_destroy(&attr);
	}
	if (!err) {
		child = pid;
		for (size_t i = 0; i < sizeof(terminal_signals) / sizeof(int); i++)
			sigaction(terminal_signals[i], &ignore, NULL);
		for (size_t i = 0; i < sizeof(forwarded_signals) / sizeof(int); i++)
			sigaction(forwarded_signals[i], &pass, NULL);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	return err;
}

/* Its wait status. A pid that was waited for may be another's: no more signals to it. */
static int wait_for_child(void)
{
	siginfo_t info;
	pid_t pid = child;
	int status = 0;

	while (waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
		;
	child = 0;
	waitpid(pid, &status, 0);
	return status;
}

/* Ends as the program ended, but leaves the core dump to it. */
static int end_as(int status)
{
	struct rlimit none = { 0, 0 };

	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	setrlimit(RLIMIT_CORE, &none);
	signal(WTERMSIG(status), SIG_DFL);
	raise(WTERMSIG(status));
	return 128 + WTERMSIG(status);
}

static int make_stats_file(char *path, size_t size)
{
	const char *dir = getenv("TMPDIR");
	int fd;

	snprintf(path, size, "%s/hmmctl-XXXXXX", dir && *dir ? dir : "/tmp");
	fd = mkstemp(path);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

int hmmctl_run(char **argv)
{
	char icd[4096], stats[4096];
	int err, status;

	if (!find_library("libhmm_opencl.so", icd, sizeof(icd))) {
		fprintf(stderr, "hmmctl: libhmm_opencl.so is neither in " HMM_LIB_FROM_BIN
				" nor in ../lib, seen from where hmmctl is\n");
		return 1;
	}
	err = make_stats_file(stats, sizeof(stats));
	if (err) {
		fprintf(stderr, "hmmctl: %s: %s\n", stats, strerror(-err));
		return 1;
	}
	setenv("OCL_ICD_VENDORS", icd, 1);
	setenv("HMM_STATS", stats, 1);
	preload();
	err = start(argv);
	if (err) {
		fprintf(stderr, "hmmctl: %s: %s\n", argv[0], strerror(err));
		unlink(stats);
		return err == ENOENT ? 127 : 126;
	}
	status = wait_for_child();
	print_statistics(stats);
	unlink(stats);
	return end_as(status);
}

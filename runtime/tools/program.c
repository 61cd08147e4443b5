// SPDX-License-Identifier: MIT
/* To start a program with the HMM platform, and to end as it ended. */
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
int hmmctl_end_as(int status)
{
	struct rlimit none = { 0, 0 };

	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	setrlimit(RLIMIT_CORE, &none);
	signal(WTERMSIG(status), SIG_DFL);
	raise(WTERMSIG(status));
	return 128 + WTERMSIG(status);
}

int hmmctl_temporary(char *path, size_t size)
{
	const char *dir = getenv("TMPDIR");
	int fd;

	snprintf(path, size, "%s/hmmctl-XXXXXX", dir && *dir ? dir : "/tmp");
	fd = mkstemp(path);
	if (fd < 0) {
		fprintf(stderr, "hmmctl: %s: %s\n", path, strerror(errno));
		return 1;
	}
	close(fd);
	return 0;
}

int hmmctl_platform(void)
{
	char icd[4096];

	if (!find_library("libhmm_opencl.so", icd, sizeof(icd))) {
		fprintf(stderr, "hmmctl: libhmm_opencl.so is neither in " HMM_LIB_FROM_BIN
				" nor in ../lib, seen from where hmmctl is\n");
		return 1;
	}
	setenv("OCL_ICD_VENDORS", icd, 1);
	preload();
	return 0;
}

int hmmctl_program(char **argv, int *status)
{
	int err = start(argv);

	if (err) {
		fprintf(stderr, "hmmctl: %s: %s\n", argv[0], strerror(err));
		return err == ENOENT ? 127 : 126;
	}
	*status = wait_for_child();
	return 0;
}

// SPDX-License-Identifier: MIT
/* fork, exit, death of the engine, refusal to start, and leaks. */
#include "api/api.h"

#include <dirent.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Runs @fn in a forked child; what it returns there, or -1 when it did not return. */
static int in_child(int (*fn)(void *), void *arg)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		alarm((unsigned int)patient(60));
		_exit(fn(arg));
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

static int child_of_fork(void *arg)
{
	struct hmm_open_opts o = options;
	struct hmm *mine;
	char *p = arg, c;

	if (!all_bytes(p, MIB, 4))
		return 1;
	if (hmm_device_count(h) != -EPERM || hmm_migrate(h, p, MIB, 0, 0) != -EPERM ||
	    hmm_device_read(h, 0, p, &c, 1) != -EPERM)
		return 2;
	if (hmm_open(&mine, &o))
		return 3;
	p[0] = 5;
	if (hmm_migrate(mine, p, MIB, 0, 0) != (long)(MIB / PAGE) || p[0] != 5 || p[1] != 4)
		return 4;
	hmm_close(mine);
	return p[2] == 4 ? 0 : 5;
}

static void forks(void)
{
	char *p = map_pages(MIB, 4);

	for (int i = 0; i < 10; i++) {
		CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, i % 2, 0), (long)(MIB / PAGE));
		CU_ASSERT_EQUAL(in_child(child_of_fork, p), 0);
		CU_ASSERT(p[0] == 4 && p[MIB - 1] == 4);
	}
	munmap(p, MIB);
}

static void engine_dies(void)
{
	char *p = map_pages(MIB, 6), c;
	struct hmm_device_info info;

	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 1, 0), (long)(MIB / PAGE));
	CU_ASSERT_EQUAL_FATAL(hmm_device_info(h, 1, &info), 0);
	kill(info.engine_pid, SIGKILL);
	CU_ASSERT(all_bytes(p, MIB, 6));
	for (int i = 0; i < patient(1000) && !(info.flags & HMM_DEVICE_LOST); i++) {
		usleep(1000);
		hmm_device_info(h, 1, &info);
	}
	CU_ASSERT(info.flags & HMM_DEVICE_LOST);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 1, 0), -ENODEV);
	CU_ASSERT_EQUAL(hmm_device_read(h, 1, p, &c, 1), -ENODEV);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), (long)(MIB / PAGE)); /* the other lives */
	CU_ASSERT(all_bytes(p, MIB, 6));
	/* The application's wait() never meets an engine. */
	CU_ASSERT(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
	munmap(p, MIB);
}

static int open_with(void *env)
{
	struct hmm_open_opts o = options;
	struct hmm *mine;

	if (env)
		putenv(env);
	return -hmm_open(&mine, &o);
}

static int open_without_memory(void *unused)
{
	struct rlimit l = { 4ul << 30, 4ul << 30 };

	setrlimit(RLIMIT_AS, &l);
	return open_with(unused);
}

static int open_without_descriptors(void *unused)
{
	struct rlimit l = { 8, 8 };

	setrlimit(RLIMIT_NOFILE, &l);
	return open_with(unused);
}

static int open_without_userfaultfd(void *unused)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		return 77;
	return open_with(unused);
}

static void refusals(void)
{
	char wrong[] = "HMM_ENGINE=/tmp/hmm-wrong-engine-XXXXXX", *path = strchr(wrong, '=') + 1;
	int fd = mkstemp(path);

	CU_ASSERT_EQUAL(in_child(open_with, "HMM_ENGINE=/nonexistent/hmm-engine"), ENOENT);
	CU_ASSERT_EQUAL(in_child(open_with, "HMM_EMULATED_BYTES=nonsense"), 0); /* options win */
	CU_ASSERT_EQUAL(in_child(open_without_memory, NULL), ENOMEM);
	CU_ASSERT_EQUAL(in_child(open_without_descriptors, NULL), EMFILE);
	CU_ASSERT_EQUAL(in_child(open_without_userfaultfd, NULL),
			options.backend && !strcmp(options.backend, "drm") ? 0 : ENOSYS);
	/* Something that does not speak the protocol. */
	CU_ASSERT(write(fd, "#!/bin/sh\necho hello >&3\n", 25) == 25);
	fchmod(fd, 0755);
	close(fd);
	CU_ASSERT_EQUAL(in_child(open_with, wrong), EPROTO);
	unlink(path);
}

static int exit_in_the_middle(void *arg)
{
	struct hmm_open_opts o = options;
	struct hmm *mine;
	struct hmm_device_info info;
	int fence, *pid = arg;

	if (hmm_open(&mine, &o) || hmm_device_info(mine, 0, &info))
		return 1;
	*pid = info.engine_pid;
	return hmm_migrate_async(mine, map_pages(4 * MIB, 1), 4 * MIB, 0, 0, &fence) ? 2 : 0;
}

static void exits(void)
{
	int *pid = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CU_ASSERT_EQUAL(in_child(exit_in_the_middle, pid), 0);
	CU_ASSERT_FATAL(*pid > 0);
	/* The engine goes with its client; as a zombie it may stay until init reaps it. */
	for (int i = 0; i < 2000 && !kill(*pid, 0); i++) {
		char path[64], state = 0;
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/stat", *pid);
		f = fopen(path, "r");
		if (f && fscanf(f, "%*d (%*[^)]) %c", &state) == 1 && state == 'Z')
			*pid = 0;
		if (f)
			fclose(f);
		if (!*pid)
			break;
		usleep(1000);
	}
	CU_ASSERT(*pid == 0 || kill(*pid, 0));
	munmap(pid, PAGE);
}

static int count(const char *path)
{
	DIR *d = opendir(path);
	int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

static long mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	long n = 0;

	for (int c; f && (c = getc(f)) != EOF;)
		n += c == '\n';
	if (f)
		fclose(f);
	return n;
}

#define LEAK_SECONDS 60 /* about; it says how many rounds there were */
#define LEAST_ROUNDS 10

/* Its own process: the suite's handle would keep the devices. */
static int leaks_in_child(void *arg)
{
	struct hmm_open_opts o = options;
	int rounds = *(const int *)arg, fds = 0, tasks = 0;
	char *p = map_pages(MIB, 3);
	time_t until = time(NULL) + brief(LEAK_SECONDS);
	long maps = 0;
	int i;

	alarm((unsigned int)patient(2 * LEAK_SECONDS));
	for (i = 0; i < rounds && (i < LEAST_ROUNDS || time(NULL) < until); i++) {
		struct hmm *mine;

		if (hmm_open(&mine, &o))
			return 1;
		for (int n = 0; n < 4; n++)
			if (hmm_migrate(mine, p, MIB, n % 2 ? HMM_SYSTEM : 0, 0) !=
			    (long)(MIB / PAGE))
				return 2;
		hmm_close(mine);
		if (i == 2) {
			fds = count("/proc/self/fd");
			tasks = count("/proc/self/task");
			maps = mappings();
		}
	}
	dprintf(STDOUT_FILENO, "(%d rounds, %ld migrations of pages) ", i,
		i * 4l * (long)(MIB / PAGE));
	if (count("/proc/self/fd") != fds || count("/proc/self/task") != tasks)
		return 3;
#if !defined(__SANITIZE_ADDRESS__) /* which maps as it goes */
	if (mappings() > maps + 4)
		return 4;
#else
	(void)maps;
#endif
	return waitpid(-1, NULL, __WALL | WNOHANG) == -1 && errno == ECHILD ? 0 : 5;
}

static void leaks(void)
{
	const char *scale = getenv("HMM_TEST_SCALE");
	int rounds = 1000, ended;

	if (scale && atoi(scale) > 1)
		rounds *= atoi(scale);
	alarm(0);
	ended = in_child(leaks_in_child, &rounds);
	CU_ASSERT_EQUAL(ended, 0);
	if (ended)
		printf("(%d) ", ended);
}

void add_process_suite(void)
{
	CU_pSuite s = CU_add_suite("processes", suite_open, suite_close);

	CU_add_test(s, "fork with pages on the devices", forks);
	CU_add_test(s, "exit in the middle of a migration", exits);
	CU_add_test(s, "what refuses to start", refusals);
	CU_add_test(s, "open and close a thousand times", leaks);
	CU_add_test(s, "an engine is killed", engine_dies); /* last: the device is lost */
}

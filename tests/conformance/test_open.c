// SPDX-License-Identifier: MIT
/* Options and environment. Each in a child, since the first handle of a process decides. */
#include "conformance/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

struct attempt {
	const char *env; /* NAME=value, or NULL */
	struct hmm_open_opts o;
	int (*then)(struct hmm *mine);
};

/* The errno of hmm_open(); 200 if it set the handle and failed; else what @then says. */
static int attempt(void *arg)
{
	const struct attempt *a = arg;
	struct hmm *const untouched = (struct hmm *)&a;
	struct hmm *mine = untouched;
	int err;

	if (a->env)
		putenv((char *)(uintptr_t)a->env);
	err = hmm_open(&mine, &a->o);
	if (err)
		return mine == untouched ? -err : 200;
	err = a->then ? a->then(mine) : 0;
	hmm_close(mine);
	return err;
}

static int try(const char *env, struct hmm_open_opts o, int (*then)(struct hmm *))
{
	struct attempt a = { env, o, then };

	if (!o.sz)
		a.o.sz = sizeof(a.o);
	return in_child(attempt, &a);
}

static int three_devices(struct hmm *mine)
{
	return hmm_device_count(mine) == 3 ? 0 : 100;
}

static int sixteen_mib(struct hmm *mine)
{
	struct hmm_device_info info;

	return hmm_device_info(mine, 0, &info) || info.bytes != 16 * MIB ? 100 : 0;
}

static int defaults(struct hmm *mine)
{
	struct hmm_device_info info;

	return hmm_device_count(mine) != 1 || hmm_device_info(mine, 0, &info) ||
			       info.bytes != 256 * MIB ?
		       100 :
		       0;
}

static int without_move(struct hmm *mine)
{
	struct hmm_device_info info;

	return hmm_device_info(mine, 0, &info) || (info.flags & HMM_DEVICE_MOVE) ? 100 : 0;
}

/* Else how many devices there are, and of what size, is the driver's. */
static bool emulated(void)
{
	return !options.backend || !strcmp(options.backend, "emulated");
}

static void backends(void)
{
	const int drm = emulated() ? ENODEV : 0;

	CU_ASSERT_EQUAL(try(NULL, (struct hmm_open_opts){ .backend = "bogus" }, NULL), EINVAL);
	CU_ASSERT_EQUAL(try(NULL, (struct hmm_open_opts){ .backend = "drm" }, NULL), drm);
	CU_ASSERT_EQUAL(try("HMM_BACKEND=bogus", (struct hmm_open_opts){ 0 }, NULL), EINVAL);
	CU_ASSERT_EQUAL(try("HMM_BACKEND=drm", (struct hmm_open_opts){ 0 }, NULL), drm);
	CU_ASSERT_EQUAL(try("HMM_BACKEND=", (struct hmm_open_opts){ 0 }, NULL), 0);
	/* The options win over the environment. */
	CU_ASSERT_EQUAL(try("HMM_BACKEND=bogus",
			    (struct hmm_open_opts){ .backend = emulated() ? "emulated" : "drm" },
			    NULL),
			0);
}

static void environment(void)
{
	const struct hmm_open_opts none = { 0 };

	if (emulated()) {
		CU_ASSERT_EQUAL(try(NULL, none, defaults), 0);
		CU_ASSERT_EQUAL(try("HMM_EMULATED_DEVICES=3", none, three_devices), 0);
		CU_ASSERT_EQUAL(try("HMM_EMULATED_BYTES=16M", none, sixteen_mib), 0);
		CU_ASSERT_EQUAL(try("HMM_EMULATED_BYTES=16777216", none, sixteen_mib), 0);
	}
	CU_ASSERT_EQUAL(try("HMM_EMULATED_NO_MOVE=1", none, without_move), 0);
	CU_ASSERT_EQUAL(try("HMM_EMULATED_DEVICES=9", none, NULL), EINVAL);
	CU_ASSERT_EQUAL(try("HMM_EMULATED_DEVICES=two", none, NULL), EINVAL);
	CU_ASSERT_EQUAL(try("HMM_EMULATED_DEVICES=-1", none, NULL), EINVAL);
	CU_ASSERT_EQUAL(try("HMM_EMULATED_BYTES= -2097152", none, NULL), EINVAL);
	CU_ASSERT_EQUAL(try("HMM_EMULATED_BYTES=1M", none, NULL), EINVAL);
	CU_ASSERT_EQUAL(try("HMM_EMULATED_BYTES=8Mb", none, NULL), EINVAL);
	CU_ASSERT_EQUAL(try("HMM_EMULATED_BYTES=99999999999999999999999", none, NULL), EINVAL);
	CU_ASSERT_EQUAL(try("HMM_EMULATED_BYTES=99999999999999G", none, NULL), EINVAL);
	CU_ASSERT_EQUAL(try("HMM_LOG=nonsense", none, NULL), 0);
}

/* It does not wait for a reader, with the lock of open and close. */
static void pipes(void)
{
	char path[] = "/tmp/hmm-conformance-XXXXXX", trace[64], stats[64];

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(path));
	snprintf(trace, sizeof(trace), "HMM_TRACE=%s/pipe", path);
	snprintf(stats, sizeof(stats), "HMM_STATS=%s/pipe", path);
	CU_ASSERT_EQUAL(mkfifo(trace + 10, 0600), 0);
	CU_ASSERT_EQUAL(try(trace, options, NULL), 0);
	CU_ASSERT_EQUAL(try(stats, options, NULL), 0);
	unlink(trace + 10);
	rmdir(path);
}

/* A copy of this program that runs with our rights, whoever starts it. */
static bool lend(const char *path)
{
	static char bytes[1 << 16];
	int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int to = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
	bool done = from >= 0 && to >= 0;
	ssize_t n;

	while (done && (n = read(from, bytes, sizeof(bytes))) > 0)
		done = write(to, bytes, (size_t)n) == n;
	done &= !fchmod(to, 04755);
	close(from);
	close(to);
	return done;
}

static int run_lent(void *dir)
{
	char path[80], trace[80], stats[80];
	char *env[] = { trace, stats, "HMM_ENGINE=/bin/true", "HMM_EMULATED_DEVICES=9", NULL };
	char *argv[] = { path, "--open", NULL };

	snprintf(path, sizeof(path), "%s/program", (char *)dir);
	snprintf(trace, sizeof(trace), "HMM_TRACE=%s/out/trace", (char *)dir);
	snprintf(stats, sizeof(stats), "HMM_STATS=%s/out/stats", (char *)dir);
	if (!setresuid(54321, 54321, 54321))
		execve(path, argv, env);
	return 100;
}

/* What the caller of a program with more privileges says is not done with them. */
static void privileges(void)
{
	char dir[] = "/tmp/hmm-conformance-XXXXXX", path[80];
	int r;

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/out", dir);
	CU_ASSERT(!mkdir(path, 0777) && !chmod(path, 0777) && !chmod(dir, 0755));
	snprintf(path, sizeof(path), "%s/program", dir);
	if (geteuid() || !lend(path)) {
		printf("(skipped: not root) ");
	} else {
		r = in_child(run_lent, dir);
		if (r == 77 || r == 127)
			printf("(skipped: set-uid programs do not run here) ");
		else
			CU_ASSERT_EQUAL(r, 0);
	}
	unlink(path);
	snprintf(path, sizeof(path), "%s/out", dir);
	CU_ASSERT_EQUAL(rmdir(path), 0); /* nothing was written there */
	rmdir(dir);
}

static void sizes(void)
{
	const struct hmm_open_opts many = { .devices = 8, .device_bytes = 2 * MIB };

	CU_ASSERT_EQUAL(try(NULL, many, NULL), 0);
	CU_ASSERT_EQUAL(try(NULL, (struct hmm_open_opts){ .devices = 9 }, NULL), EINVAL);
	CU_ASSERT_EQUAL(try(NULL, (struct hmm_open_opts){ .devices = UINT32_MAX }, NULL), EINVAL);
	CU_ASSERT_EQUAL(try(NULL, (struct hmm_open_opts){ .device_bytes = 2 * MIB + 1 }, NULL),
			EINVAL);
	CU_ASSERT_EQUAL(try(NULL, (struct hmm_open_opts){ .flags = 1u << 31 }, NULL), EINVAL);
	CU_ASSERT_EQUAL(try(NULL, (struct hmm_open_opts){ .sz = 1 }, NULL), EINVAL);
	/* The fields that an older caller does not know are defaults, whatever lies there. */
	CU_ASSERT_EQUAL(try(NULL, (struct hmm_open_opts){ .sz = 16, .devices = 99 }, NULL), 0);
}

static int few_files(void *bytes)
{
	struct rlimit l = { *(rlim_t *)bytes, *(rlim_t *)bytes };
	struct attempt a = { .o = options };

	/* The log may be a file, and has no room either. */
	if (!freopen("/dev/null", "w", stderr))
		return 250;
	setrlimit(RLIMIT_FSIZE, &l);
	return attempt(&a);
}

static int no_processes(void *unused)
{
	struct rlimit l = { 1, 1 };
	struct attempt a = { .o = options };

	(void)unused;
	/* The limit counts a user's processes, and root's are not counted. */
	if (!geteuid() && (setresuid(54321, 54321, 54321) || prctl(PR_SET_DUMPABLE, 1)))
		return 250;
	setrlimit(RLIMIT_NPROC, &l);
	return attempt(&a);
}

/* It must answer with something, and leave the process alive. */
static void limits(void)
{
	rlim_t none = 0, some = MIB;
	int r;

	r = in_child(few_files, &none);
	printf("(no file: %d, ", r);
	CU_ASSERT(r >= 0 && r < 200);
	r = in_child(few_files, &some);
	printf("small files: %d, ", r);
	CU_ASSERT(r >= 0 && r < 200);
	r = in_child(no_processes, NULL);
	printf("no processes: %d) ", r);
	CU_ASSERT(r > 0 && r < 200);
}

static int open_descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 100; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static int each_number_of_files(void *unused)
{
	struct attempt a = { .o = options };
	int last = EMFILE, before;

	(void)unused;
	if (!freopen("/dev/null", "w", stderr)) /* dozens of refusals */
		return 102;
	before = open_descriptors();
	for (rlim_t n = 3; n < 60; n++) {
		struct rlimit l = { n, 60 };

		setrlimit(RLIMIT_NOFILE, &l);
		last = attempt(&a);
		if (last != EMFILE)
			break;
	}
	if (last)
		return last;
	/* What failed before it left nothing behind. */
	return open_descriptors() == before ? 0 : 101;
}

static void descriptors(void)
{
	int r = in_child(each_number_of_files, NULL);

	if (r)
		printf("(%d) ", r);
	CU_ASSERT_EQUAL(r, 0);
}

static int second_handles(void *unused)
{
	struct hmm_open_opts o = { .sz = sizeof(o), .devices = 1, .device_bytes = 2 * MIB };
	struct hmm *a, *b;
	char *p = map_pages(MIB, 1);

	(void)unused;
	if (hmm_open(&a, &options) || hmm_open(&b, &o))
		return 1;
	if (a == b || hmm_device_count(b) != 2)
		return 2;
	if (hmm_migrate(a, p, MIB, 1, 0) != PAGES(MIB))
		return 3;
	hmm_close(a);
	h = b;
	if (where(p) != 1) /* devices live as long as any handle */
		return 4;
	hmm_close(b);
	return all_bytes(p, MIB, 1) ? 0 : 5;
}

static void handles(void)
{
	CU_ASSERT_EQUAL(in_child(second_handles, NULL), 0);
}

static int reopen(void *unused)
{
	struct hmm_open_opts o = options;
	struct hmm *mine;
	char *p = map_pages(MIB, 3);

	(void)unused;
	for (unsigned int n = 1; n <= 4; n++) {
		int devices = emulated() ? (int)n : 2;

		o.devices = n;
		o.device_bytes = n * 2 * MIB;
		if (hmm_open(&mine, &o) || hmm_device_count(mine) != devices)
			return 1;
		if (hmm_migrate(mine, p, MIB, devices - 1, 0) != PAGES(MIB))
			return 2;
		hmm_close(mine);
		if (!all_bytes(p, MIB, 3))
			return 3;
	}
	return 0;
}

static void other_devices(void)
{
	CU_ASSERT_EQUAL(in_child(reopen, NULL), 0);
}

static void version(void)
{
	char want[32];

	snprintf(want, sizeof(want), "%d.%d.%d", HMM_VERSION_MAJOR, HMM_VERSION_MINOR,
		 HMM_VERSION_PATCH);
	CU_ASSERT_STRING_EQUAL(hmm_version(), want);
}

static void on_alarm(int sig)
{
	(void)sig;
}

/* Signals arrive all the time, and interrupt system calls. */
static int open_under_signals(void *unused)
{
	struct sigaction sa = { .sa_handler = on_alarm };
	struct itimerval often = { { 0, 1000 }, { 0, 1000 } };

	(void)unused;
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < 3; i++) {
		int err = hmm_open(&h, &options);

		if (err)
			return -err;
		hmm_close(h);
	}
	return 0;
}

static void signals(void)
{
	CU_ASSERT_EQUAL(in_child(open_under_signals, NULL), 0);
}

void add_open_suite(void)
{
	CU_pSuite s = CU_add_suite("open", NULL, NULL);

	CU_add_test(s, "backends by name", backends);
	CU_add_test(s, "the environment", environment);
	CU_add_test(s, "files that are pipes", pipes);
	CU_add_test(s, "the environment of who has less privileges", privileges);
	CU_add_test(s, "sizes and counts", sizes);
	CU_add_test(s, "limits of the process", limits);
	CU_add_test(s, "one descriptor more each time", descriptors);
	CU_add_test(s, "handles share devices", handles);
	CU_add_test(s, "other devices after the last handle", other_devices);
	CU_add_test(s, "under a timer's signals", signals);
	CU_add_test(s, "version", version);
}

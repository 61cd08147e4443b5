// SPDX-License-Identifier: MIT
/* Ends that nobody planned: of engines, and of their clients. */
#include "conformance/conf.h"

#include <errno.h>
#include <hmm/hmm_engine.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static int engine_pid(struct hmm *of, int device)
{
	struct hmm_device_info info;

	return hmm_device_info(of, device, &info) ? -1 : info.engine_pid;
}

/* One that is gone has no number, and 0 and -1 are more than one process to kill(). */
static void kill_engine(struct hmm *of, int device)
{
	int pid = engine_pid(of, device);

	if (pid > 0)
		kill(pid, SIGKILL);
}

static bool becomes_lost(struct hmm *of, int device)
{
	struct hmm_device_info info = { 0 };

	for (int i = 0; i < patient(5000) && !(info.flags & HMM_DEVICE_LOST); i++) {
		hmm_device_info(of, device, &info);
		usleep(1000);
	}
	return info.flags & HMM_DEVICE_LOST;
}

/* Each function answers -ENODEV for the lost device, and the bytes are home. */
static int every_answer(void *unused)
{
	struct hmm_device_fault fault;
	struct hmm_stats stats = { .sz = sizeof(stats) };
	unsigned int generation;
	char *p = map_pages(MIB, 6), c;
	struct pollfd f = { .events = POLLIN };
	struct hmm *second;
	int err, fd, other;

	(void)unused;
	if (hmm_open(&h, &options) || hmm_migrate(h, p, MIB, 0, 0) != PAGES(MIB))
		return 1;
	if (hmm_engine_connect(h, 0, &f.fd, &generation))
		return 2;
	kill_engine(h, 0);
	if (!becomes_lost(h, 0))
		return 3;
	if (where(p) != HMM_SYSTEM || !all_bytes(p, MIB, 6))
		return 4;
	if (poll(&f, 1, patient(5000)) != 1)
		return 5; /* the front end's connection must end */
	if (hmm_migrate(h, p, MIB, 0, 0) != -ENODEV)
		return 6;
	if (hmm_device_read(h, 0, p, &c, 1) != -ENODEV ||
	    hmm_device_write(h, 0, p, &c, 1) != -ENODEV)
		return 7;
	if (hmm_engine_connect(h, 0, &fd, &generation) != -ENODEV)
		return 8;
	if (hmm_engine_launch_begin(h, 0, 1) != -ENODEV ||
	    hmm_engine_launch_end(h, 0, generation, &fault) != -ENODEV)
		return 9;
	err = hmm_migrate_async(h, p, MIB, 0, 0, &fd);
	if (err && err != -ENODEV)
		return 10;
	if (hmm_stats(h, 0, &stats) || stats.resident_pages)
		return 11;
	/* The other device has not noticed, nor has a migration home. */
	if (hmm_migrate(h, p, MIB, 1, 0) != PAGES(MIB) ||
	    hmm_migrate(h, p, MIB, HMM_SYSTEM, 0) != PAGES(MIB))
		return 12;
	/* For good: a further handle does not revive it; after the last one, it does. */
	if (hmm_open(&second, &options))
		return 13;
	hmm_close(second);
	if (hmm_migrate(h, p, MIB, 0, 0) != -ENODEV)
		return 14;
	hmm_close(h);
	if (hmm_open(&h, &options) || hmm_migrate(h, p, MIB, 0, 0) != PAGES(MIB))
		return 15;
	other = engine_pid(h, 0);
	hmm_close(h);
	return is_gone(other, 2000) && all_bytes(p, MIB, 6) ? 0 : 16;
}

static void answers(void)
{
	int ended = in_child(every_answer, NULL);

	if (ended)
		printf("(%d) ", ended);
	CU_ASSERT_EQUAL(ended, 0);
}

struct worker {
	char *p;
	_Atomic int stop;
	_Atomic long odd;
	_Atomic int wrong;
};

static void *migrates(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; !atomic_load(&w->stop); i++) {
		long n = hmm_migrate(h, w->p, MIB, i % 3 - 1, 0);

		if (n < 0 && n != -ENODEV)
			atomic_store(&w->odd, n);
	}
	return NULL;
}

static void *reads(void *arg)
{
	struct worker *w = arg;
	unsigned char count = 0;

	while (!atomic_load(&w->stop)) {
		char buffer[64];
		long n = hmm_device_read(h, 1, w->p + MIB / 2, buffer, sizeof(buffer));

		if (n < 0 && n != -ENODEV)
			atomic_store(&w->odd, n);
		count++;
		for (size_t i = 0; i < MIB; i += PAGE)
			if ((unsigned char)++w->p[i] != count)
				atomic_fetch_add(&w->wrong, 1);
	}
	return NULL;
}

/* Engines are killed while a thread migrates and another one writes. */
static int killed_at_work(void *arg)
{
	struct worker w = { .p = map_pages(MIB, 0) };
	pthread_t a, b;
	int round = *(int *)arg;

	memset(w.p, 0, MIB);
	if (hmm_open(&h, &options) || pthread_create(&a, NULL, migrates, &w) ||
	    pthread_create(&b, NULL, reads, &w))
		return 1;
	usleep((useconds_t)(20000 + round * 3137));
	kill_engine(h, round % 2);
	usleep(20000);
	if (round % 3 == 0)
		kill_engine(h, !(round % 2));
	usleep(20000);
	atomic_store(&w.stop, 1);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	if (w.wrong)
		return 2;
	if (w.odd)
		return (int)-w.odd;
	hmm_close(h);
	return 0;
}

static void at_work(void)
{
	for (int i = 0; i < scaled(20); i++)
		CU_ASSERT_EQUAL(in_child(killed_at_work, &i), 0);
}

static void *reads_on(void *arg)
{
	struct worker *w = arg;
	char *buffer = malloc(4 * MIB);

	while (!atomic_load(&w->stop)) {
		long n = hmm_device_read(h, 0, w->p, buffer, 4 * MIB);

		if (n != (long)(4 * MIB))
			atomic_store(&w->odd, n ? n : 1);
		if (n > 0 && !all_bytes(buffer, (size_t)n, 5))
			atomic_fetch_add(&w->wrong, 1);
	}
	free(buffer);
	return NULL;
}

/* As after a kernel's bad access: the next one to connect gets another engine. */
static int replaced_at_work(void *unused)
{
	struct worker w = { .p = map_pages(4 * MIB, 5) };
	unsigned int generation = 0, last = 0;
	pthread_t thread;
	int fd;

	(void)unused;
	if (hmm_open(&h, &options) || pthread_create(&thread, NULL, reads_on, &w))
		return 1;
	for (int i = 0; i < scaled(30); i++) {
		int pid;

		usleep(5000);
		pid = engine_pid(h, 0);
		if (pid > 0)
			kill(pid, SIGSEGV);
		if (!is_gone(pid, 5000))
			return 2;
		if (hmm_engine_connect(h, 0, &fd, &generation))
			return 3;
		close(fd);
		if (generation == last)
			return 4;
		last = generation;
	}
	atomic_store(&w.stop, 1);
	pthread_join(thread, NULL);
	hmm_close(h);
	return w.wrong ? 5 : w.odd ? 6 : 0;
}

static void replaced(void)
{
	int ended = in_child(replaced_at_work, NULL);

	if (ended)
		printf("(%d) ", ended);
	CU_ASSERT_EQUAL(ended, 0);
}

/* Gone, and known to be: until then a migration may still be to what the engine had. */
static bool reset(struct hmm *of, int device)
{
	int pid = engine_pid(of, device);

	if (pid <= 0 || kill(pid, SIGSEGV) || !is_gone(pid, 30000))
		return false;
	for (int i = 0; i < patient(5000); i++) {
		if (hmm_engine_launch_begin(of, device, 0) == -ENODEV)
			return true;
		usleep(1000);
	}
	return false;
}

/* Whoever needs the device next has another engine started, not only a launch. */
static int after_reset(void *unused)
{
	char *p = map_pages(MIB, 6), c = 0;
	struct hmm_device_info info;

	(void)unused;
	if (hmm_open(&h, &options) || hmm_migrate(h, p, MIB, 0, 0) != PAGES(MIB))
		return 1;
	if (!reset(h, 0) || hmm_migrate(h, p, MIB, 0, 0) != PAGES(MIB))
		return 2;
	if (where(p) != 0)
		return 3;
	if (!reset(h, 0))
		return 8;
	if (hmm_device_read(h, 0, p + PAGE, &c, 1) != 1 || c != 6)
		return 4;
	if (!reset(h, 0) || hmm_device_write(h, 0, p + PAGE, "W", 1) != 1 || p[PAGE] != 'W')
		return 5;
	if (!reset(h, 0) || hmm_advise(h, p, MIB, HMM_ADVICE_ACCESSED_BY, 0))
		return 6;
	if (hmm_device_info(h, 0, &info) || info.flags & HMM_DEVICE_LOST)
		return 7;
	hmm_close(h);
	return 0;
}

static void resets(void)
{
	int ended = in_child(after_reset, NULL);

	if (ended)
		printf("(%d) ", ended);
	CU_ASSERT_EQUAL(ended, 0);
}

/* Stopped is not dead: what needs the engine waits, and goes on when it does. */
static int stopped(void *unused)
{
	char *p = map_pages(MIB, 6);
	struct pollfd f = { .events = POLLIN };
	int pid;

	(void)unused;
	if (hmm_open(&h, &options) || hmm_migrate(h, p, MIB, 0, 0) != PAGES(MIB))
		return 1;
	pid = engine_pid(h, 0);
	kill(pid, SIGSTOP);
	if (hmm_migrate_async(h, p, MIB, 1, 0, &f.fd))
		return 2;
	poll(&f, 1, 100);
	kill(pid, SIGCONT);
	if (poll(&f, 1, patient(10000)) != 1)
		return 3;
	hmm_close(h);
	return all_bytes(p, MIB, 6) ? 0 : 4;
}

static void stop_and_continue(void)
{
	CU_ASSERT_EQUAL(in_child(stopped, NULL), 0);
}

struct victim {
	int engine[2];
	int (*end)(void);
};

static int end_by_signal(void)
{
	return raise(SIGKILL);
}

static int end_by_crash(void)
{
	signal(SIGABRT, SIG_DFL);
	return raise(SIGABRT);
}

static int end_by_exec(void)
{
	return execlp("true", "true", (char *)NULL);
}

static int end_by_exit(void)
{
	exit(0);
}

/* Ends with pages on its devices and more of them on the way. */
static int victim(void *arg)
{
	struct victim *v = arg;
	char *p = map_pages(4 * MIB, 1);
	int fence;

	if (hmm_open(&h, &options))
		return 1;
	v->engine[0] = engine_pid(h, 0);
	v->engine[1] = engine_pid(h, 1);
	if (hmm_migrate(h, p, MIB, 0, 0) != PAGES(MIB) ||
	    hmm_migrate_async(h, p, 4 * MIB, 1, 0, &fence))
		return 2;
	return v->end();
}

static void clients_end(void)
{
	static int (*const ends[])(void) = { end_by_signal, end_by_crash, end_by_exec,
					     end_by_exit };
	struct victim *v = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
				0);
	int how;

	for (int i = 0; i < 4; i++) {
		v->end = ends[i];
		how = in_child(victim, v);
		CU_ASSERT_EQUAL(how, i == 0 ? ENDED_BY(SIGKILL) : i == 1 ? ENDED_BY(SIGABRT) : 0);
		CU_ASSERT_FATAL(v->engine[0] > 0 && v->engine[1] > 0);
		CU_ASSERT(is_gone(v->engine[0], 5000));
		CU_ASSERT(is_gone(v->engine[1], 5000));
	}
	munmap(v, PAGE);
}

void add_lost_suite(void)
{
	CU_pSuite s = CU_add_suite("unplanned ends", NULL, NULL);

	CU_add_test(s, "what a lost device answers", answers);
	CU_add_test(s, "engines killed at work", at_work);
	CU_add_test(s, "an engine replaced under device I/O", replaced);
	CU_add_test(s, "a device that was reset", resets);
	CU_add_test(s, "an engine stopped for a while", stop_and_continue);
	CU_add_test(s, "clients that end", clients_end);
}

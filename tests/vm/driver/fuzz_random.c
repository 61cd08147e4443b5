// SPDX-License-Identifier: MIT
/*
 * Random calls from several threads, while another maps and unmaps what they speak of and an
 * engine touches it. A page beside that must keep what it holds.
 */
#include "fuzz.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALLERS 3
#define ARENA_PAGES 256

#define SCRATCH_BYTES ((ARENA_PAGES + 2) * PAGE) /* a whole page for each status */

static char *arena, *beside, *scratch;
static _Atomic int stop;
static _Atomic unsigned long calls, good, errors[134];

static uint64_t some_addr(unsigned int *seed)
{
	uint64_t in = (uintptr_t)arena + (uint64_t)rand_r(seed) % (ARENA_PAGES * PAGE);

	switch (rand_r(seed) % 16) {
	case 0:
		return 0;
	case 1:
		return ~0ul - (uint64_t)rand_r(seed) % (2 * PAGE);
	case 2:
		return (uint64_t)rand_r(seed) << 32 | (uint64_t)rand_r(seed);
	case 3:
		return in & ~(PAGE - 1);
	default:
		return in;
	}
}

/* Where a status may go: nowhere, or to memory that nobody looks at. */
static uint64_t some_room(unsigned int *seed)
{
	switch (rand_r(seed) % 8) {
	case 0:
		return (uint64_t)rand_r(seed) % PAGE;
	case 1:
		return ~0ul - (uint64_t)rand_r(seed) % (2 * PAGE);
	case 2:
		return 1ul << 47 | (uint64_t)rand_r(seed) << 8;
	default:
		return (uintptr_t)scratch + (uint64_t)rand_r(seed) % PAGE;
	}
}

static uint64_t some_length(unsigned int *seed)
{
	switch (rand_r(seed) % 16) {
	case 0:
		return 0;
	case 1:
		return ~0ul - (uint64_t)rand_r(seed) % (2 * PAGE);
	case 2:
		return (uint64_t)rand_r(seed) << 20;
	case 3:
		return (uint64_t)rand_r(seed) % (ARENA_PAGES * PAGE);
	default:
		return (uint64_t)rand_r(seed) % (4 * PAGE);
	}
}

static uint32_t mostly(uint32_t value, unsigned int *seed)
{
	return rand_r(seed) % 8 ? value : (uint32_t)rand_r(seed) << (rand_r(seed) % 8);
}

static int random_engine(unsigned int *seed)
{
	struct drm_hmm_engine_create c = { mostly((uint32_t)rand_r(seed) % 2, seed),
					   mostly(0, seed), -1, mostly(0, seed) };
	int err = call(node, DRM_IOCTL_HMM_ENGINE_CREATE, &c);

	if (!err)
		close(c.fd);
	return err;
}

/* Any number and size of the driver's. */
static int random_bytes(unsigned int *seed)
{
	unsigned int nr = (unsigned int)rand_r(seed) % 8, size = (unsigned int)rand_r(seed) % 256;
	union {
		unsigned char byte[256];
		struct drm_hmm_engine_create create;
	} u;
	int err;

	for (size_t i = 0; i < sizeof(u); i++)
		u.byte[i] = rand_r(seed) % 4 ? 0 : (unsigned char)rand_r(seed);
	err = call(node, _IOC(_IOC_READ | _IOC_WRITE, DRM_IOCTL_BASE, DRM_COMMAND_BASE + nr, size),
		   &u);
	if (!err && nr == DRM_HMM_ENGINE_CREATE && size >= sizeof(u.create))
		close(u.create.fd);
	return err;
}

static int random_call(unsigned int *seed)
{
	struct drm_hmm_migrate m = { some_addr(seed), some_length(seed),
				     (int32_t)mostly((uint32_t)(rand_r(seed) % 3 - 1), seed),
				     mostly(0, seed), 0 };
	struct drm_hmm_pages p = { some_addr(seed), some_length(seed) / PAGE, some_room(seed),
				   mostly(sizeof(struct drm_hmm_page), seed), mostly(0, seed) };
	switch (rand_r(seed) % 8) {
	case 0:
		return random_engine(seed);
	case 1:
	case 2:
		return call(node, DRM_IOCTL_HMM_PAGES, &p);
	case 3:
		return random_bytes(seed);
	default:
		return call(node, DRM_IOCTL_HMM_MIGRATE, &m);
	}
}

static void *caller(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;

	while (atomic_fetch_add(&calls, 1) < fuzz_calls) {
		int err = -random_call(&seed);

		if (!err)
			good++;
		else if (err > 0 && err < 134)
			errors[err]++;
	}
	return NULL;
}

/* The arena's pages are all that a process can have, one after the other. */
static void *mapper(void *arg)
{
	unsigned int seed = 99;

	while (!stop) {
		size_t first = (size_t)rand_r(&seed) % ARENA_PAGES;
		size_t n = 1 + (size_t)rand_r(&seed) %
				       (ARENA_PAGES - first < 32 ? ARENA_PAGES - first : 32);
		char *at = arena + first * PAGE;
		int how = rand_r(&seed) % 8, prot = PROT_READ | PROT_WRITE;

		if (how == 0)
			munmap(at, n * PAGE);
		else if (how == 1)
			mprotect(at, n * PAGE, rand_r(&seed) % 4);
		else if (how == 2)
			madvise(at, n * PAGE, MADV_DONTNEED);
		else if (how == 3)
			mmap(at, n * PAGE, prot, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		else
			mmap(at, n * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		usleep((useconds_t)rand_r(&seed) % 2000);
	}
	return arg;
}

static sigjmp_buf after_signal;

static void on_signal(int signo)
{
	siglongjmp(after_signal, signo);
}

static void touch_for_ever(int fd)
{
	unsigned int seed = 5;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGSEGV, on_signal);
	signal(SIGBUS, on_signal);
	if (mmap(arena, ARENA_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
		 (off_t)(uintptr_t)arena) == MAP_FAILED)
		_exit(1);
	for (;;) {
		volatile char *at = arena + (size_t)rand_r(&seed) % (ARENA_PAGES * PAGE);

		if (sigsetjmp(after_signal, 1))
			continue;
		if (seed % 2)
			*at = 1;
		else
			(void)*at;
	}
}

static pid_t start_toucher(void)
{
	struct drm_hmm_engine_create c = { 0 };
	pid_t pid;

	if (call(node, DRM_IOCTL_HMM_ENGINE_CREATE, &c))
		return -1;
	pid = fork();
	if (!pid)
		touch_for_ever(c.fd);
	close(c.fd);
	return pid;
}

static void print_errors(void)
{
	printf("%lu calls, %lu good", fuzz_calls, good);
	for (int i = 0; i < 134; i++)
		if (errors[i])
			printf(", %lu %s", errors[i], strerrorname_np(i));
	printf(" ... ");
}

static void random_calls(void)
{
	char *all = map_anonymous((ARENA_PAGES + 4) * PAGE) + PAGE;
	pthread_t t[CALLERS + 1];
	size_t changed = 0;
	pid_t toucher;
	int status = 0;

	mprotect(all - PAGE, PAGE, PROT_NONE);
	mprotect(all + (ARENA_PAGES + 2) * PAGE, PAGE, PROT_NONE);
	scratch = map_anonymous(2 * SCRATCH_BYTES);
	arena = all + PAGE;
	beside = all + (ARENA_PAGES + 1) * PAGE;
	memset(all, 'b', PAGE);
	memset(beside, 'b', PAGE);
	toucher = start_toucher();
	CU_ASSERT_FATAL(toucher > 0);
	pthread_create(&t[CALLERS], NULL, mapper, NULL);
	for (uintptr_t i = 0; i < CALLERS; i++)
		pthread_create(&t[i], NULL, caller, (void *)(i + 1));
	for (int i = 0; i < CALLERS; i++)
		pthread_join(t[i], NULL);
	stop = 1;
	pthread_join(t[CALLERS], NULL);
	CU_ASSERT_EQUAL(waitpid(toucher, &status, WNOHANG), 0);
	kill(toucher, SIGKILL);
	waitpid(toucher, &status, 0);
	for (size_t i = 0; i < PAGE; i++)
		changed += (all[i] != 'b') + (beside[i] != 'b');
	CU_ASSERT_EQUAL(changed, 0);
	munmap(all - PAGE, (ARENA_PAGES + 4) * PAGE);
	munmap(scratch, 2 * SCRATCH_BYTES);
	print_errors();
	CU_ASSERT(good > 0 && errors[EINVAL] && errors[EFAULT]);
	/* A call cannot have failed for these reasons. */
	CU_ASSERT(!errors[EIO] && !errors[EPERM] && !errors[EBUSY] && !errors[EAGAIN]);
	CU_ASSERT_EQUAL(resident(0), 0);
	CU_ASSERT_EQUAL(resident(1), 0);
}

void add_random_tests(CU_pSuite s)
{
	CU_add_test(s, "random calls", random_calls);
}

// SPDX-License-Identifier: MIT
/*
 * A page that a child shares since fork() refuses to be moved, and is made exclusive by a touch.
 * Where a device reads it, too, it is write-protected, and stays so as long as an event of another
 * thread waits: then the library would ask itself, and wait for ever.
 *
 *   refusals [refused]
 *
 * The moment is made longer (HMM_TEST_WIDEN). With an argument the fence is left out
 * (HMM_TEST_SKIP_FENCE), and it must hang: the negative control.
 */
#include "control.h"
#include "file/check.h"

#include <hmm/hmm.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul
#define ROUNDS 60
#define SECONDS 10 /* of what hangs */

static struct hmm *h;
static char *tracked; /* by the library, which the kernel tells of what becomes of it */
static _Atomic bool stop;

/* Announces one change of mappings after the other. */
static void *changes(void *unused)
{
	while (!atomic_load(&stop))
		CHECK(mmap(tracked, PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == tracked &&
		      hmm_migrate(h, tracked, PAGE, 0, 0) >= 0);
	return unused;
}

static void run_round(char *p)
{
	pthread_t thread;
	char c = 0;
	pid_t child;

	/* The device's copy protects it, and stays during the fork. */
	memset(p, 5, PAGE);
	CHECK(!hmm_advise(h, p, PAGE, HMM_ADVICE_READ_MOSTLY, 0));
	CHECK(hmm_device_read(h, 0, p, &c, 1) == 1 && c == 5);
	child = fork();
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
		_exit(0);
	}
	CHECK(child > 0);
	atomic_store(&stop, false);
	CHECK(!pthread_create(&thread, NULL, changes, NULL));
	usleep(2000);
	CHECK(hmm_migrate(h, p, PAGE, 0, 0) == 1);
	CHECK(*(volatile char *)p == 5);
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

static int all_rounds(void)
{
	struct hmm_open_opts o = { .sz = sizeof(o), .backend = "emulated" };
	char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED && !hmm_open(&h, &o));
	tracked = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(tracked != MAP_FAILED);
	for (int i = 0; i < ROUNDS; i++)
		run_round(p);
	hmm_close(h);
	return 0;
}

int main(int argc, char **argv)
{
	bool ended = false;
	int status = 0;
	pid_t child;

	setenv("HMM_TEST_WIDEN", "refused,held", 1);
	if (argc > 1)
		setenv("HMM_TEST_SKIP_FENCE", argv[1], 1);
	child = fork();
	if (!child)
		exit(all_rounds());
	for (int i = 0; i < SECONDS * 100 && !ended; i++) {
		usleep(10000);
		ended = waitpid(child, &status, WNOHANG) == child;
	}
	if (!ended) {
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
	}
	printf("%s: %#x\n", argc > 1 ? "without the fence" : "status", (unsigned int)status);
	if (argc > 1 && ended && !status)
		return CONTROL_UNSEEN;
	return argc > 1 ? ended : status != 0;
}

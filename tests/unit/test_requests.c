// SPDX-License-Identifier: MIT
/* Requests to an engine while the application's timer interrupts whatever waits. */
#include "device/proc.h"
#include "os/sys.h"

#include <CUnit/Basic.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define REQUESTS 20

static int pair[2];

/* As the engine's end of the socket; each reply is told from the others. */
static void *engine(void *unused)
{
	struct hmm_engine_msg m;

	while (read(pair[1], &m, sizeof(m)) == sizeof(m)) {
		struct hmm_engine_reply r = { HMM_ENGINE_MAGIC, (int32_t)m.start };

		usleep(10000);
		if (write(pair[1], &r, sizeof(r)) != sizeof(r))
			break;
	}
	return unused;
}

static volatile sig_atomic_t ticks;

static void on_tick(int sig)
{
	(void)sig;
	ticks++;
}

/* Without SA_RESTART. */
static void start_timer(void)
{
	const struct itimerval each = { { 0, 1000 }, { 0, 1000 } };
	struct sigaction sa = { .sa_handler = on_tick };

	sigemptyset(&sa.sa_mask);
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &each, NULL);
}

static void stop_timer(void)
{
	const struct itimerval none = { 0 };

	setitimer(ITIMER_REAL, &none, NULL);
}

static pthread_t start_engine(void)
{
	sigset_t alarm;
	pthread_t t;

	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &alarm, NULL);
	pthread_create(&t, NULL, engine, NULL);
	pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
	return t;
}

static void test_signals(void)
{
	struct hmm_proc p = { .state = HMM_PROC_RUNNING, .pidfd = -1 };
	pthread_t t;

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	p.control_fd = pair[0];
	t = start_engine();
	start_timer();
	for (int i = 0; i < REQUESTS; i++) {
		struct hmm_engine_msg m = { .magic = HMM_ENGINE_MAGIC, .start = (uint64_t)i };

		CU_ASSERT_EQUAL(hmm_proc_request(&p, &m, -1), i);
	}
	stop_timer();
	CU_ASSERT(ticks > 0);
	close(pair[0]);
	pthread_join(t, NULL);
	close(pair[1]);
}

int main(void)
{
	unsigned int failed;

	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	CU_add_test(CU_add_suite("requests", NULL, NULL), "signals meanwhile", test_signals);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed ? 1 : 0;
}

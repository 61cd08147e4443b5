// SPDX-License-Identifier: MIT
/*
 * A kernel that touches what no client can have (the first pages, non-canonical or the
 * engine's own read-only memory) crashes this process instead of faulting to the client.
 * The launches under way hear where, and then the thread touches an address that the
 * client will refuse, so that the device resets as after any other invalid access.
 */
#include "engine/cl_engine.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <ucontext.h>
#include <unistd.h>

#define MAX_WATCHED 64
#define LOWEST_WINDOW 0x10000ul

static int watched[MAX_WATCHED]; /* descriptor + 1; 0 is free */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint32_t was_write(const void *context)
{
#if defined(__x86_64__)
	return ((const ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] & 2 ? 1 : 0;
#else
	(void)context;
	return 2;
#endif
}

static void on_crash(int sig, siginfo_t *info, void *context)
{
	struct {
		struct cl_wire_head head;
		struct cl_wire_crash crash;
	} m = {
		{ CL_WIRE_MAGIC, CL_WIRE_CRASH, CL_OUT_OF_RESOURCES, sizeof(m.crash) },
		{ (uintptr_t)info->si_addr, was_write(context), (uint32_t)sig },
	};

	for (int i = 0; i < MAX_WATCHED; i++) {
		int fd = __atomic_load_n(&watched[i], __ATOMIC_ACQUIRE) - 1;

		if (fd >= 0)
			send(fd, &m, sizeof(m), MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	for (int i = 0; i < 50; i++) {
		(void)*(volatile char *)LOWEST_WINDOW;
		usleep(20000);
	}
	_exit(1);
}

static void install(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE };
	struct sigaction sa = { .sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigemptyset(&sa.sa_mask);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &sa, NULL);
}

/* After the OpenCL platform is up: its compiler takes these signals for itself. */
void cl_crash_watch(int fd)
{
	pthread_once(&once, install);
	for (int i = 0; i < MAX_WATCHED; i++) {
		int none = 0;

		if (__atomic_compare_exchange_n(&watched[i], &none, fd + 1, false,
						__ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			return;
	}
}

void cl_crash_unwatch(int fd)
{
	for (int i = 0; i < MAX_WATCHED; i++) {
		int mine = fd + 1;

		if (__atomic_compare_exchange_n(&watched[i], &mine, 0, false, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			return;
	}
}

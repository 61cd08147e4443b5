// SPDX-License-Identifier: MIT
/*
 * An access that no fault to the client can serve: a kernel that stores to a mapping
 * which the client may only read, loads beyond the end of a file, touches the first
 * pages or the engine's own memory, divides by zero. The process says where and ends;
 * the client starts another one for the next launch.
 */
#include "engine/engine.h"

#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

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
	struct hmm_engine_crash *crash = &engine.shared->crash;
	uint32_t none = HMM_CRASH_NONE;

	engine_io_escape();
	/* The first thread's counts. */
	if (__atomic_compare_exchange_n(&crash->state, &none, HMM_CRASH_WRITING, false,
					__ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
		crash->address = (uintptr_t)info->si_addr;
		crash->write = was_write(context);
		crash->signal = (uint32_t)sig;
		__atomic_store_n(&crash->state, HMM_CRASH_VALID, __ATOMIC_RELEASE);
		_exit(1);
	}
	for (;;)
		pause();
}

void engine_crash_install(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE };
	struct sigaction sa = { .sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigemptyset(&sa.sa_mask);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &sa, NULL);
}

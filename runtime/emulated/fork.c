// SPDX-License-Identifier: MIT
/*
 * fork(): the child gets a copy of what the system holds, so everything comes home
 * first and stays until the fork is over. In the child nothing of the parent's devices
 * is left: its handles answer -EPERM, and it may open its own.
 */
#include "emulated/file.h"
#include "os/enter.h"

#include <errno.h>
#include <pthread.h>

static long home_on_stack(void *arg)
{
	(void)arg;
	for (unsigned int d = 0; d < emu.devices; d++)
		while (emu_home_device(&emu.device[d]) == -ENOMEM)
			os_sleep_ns(10000000); /* the child would find zeros */
	return 0;
}

static void before(void)
{
	char none = 0;

	if (!emu.running)
		return;
	/* Not a lock: the CPU's faults must be served while the fork is under way. */
	atomic_fetch_add(&emu.hold, 1); /* then homing waits for who was on the way */
	os_enter(home_on_stack, &none, sizeof(none));
	if (atomic_load(&emu_files.n))
		emu_files_flush(); /* what the child finds */
}

static void after(void)
{
	if (!emu.running)
		return;
	atomic_fetch_sub(&emu.hold, 1);
	emu_kick();
}

void emu_fork_init(void)
{
	static bool done;

	if (!done)
		pthread_atfork(before, after, NULL);
	done = true;
}

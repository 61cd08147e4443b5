// SPDX-License-Identifier: MIT
/* The emulated backend: start, stop, and the table of what it does. */
#include "emulated/file.h"
#include "os/enter.h"
#include "os/rseq.h"
#include "os/self.h"
#include "os/sys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct emu emu = { .client = -1 };

#define CLIENT_FEATURES                                                                          \
	(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP | \
	 UFFD_FEATURE_EVENT_REMAP)

/* For the tests' negative controls only: with a fence left out updates must get lost. */
static unsigned int fences(const char *variable)
{
	static const struct {
		const char *word;
		unsigned int fence;
	} known[] = {
		{ "device", EMU_FENCE_DEVICE },   { "client", EMU_FENCE_CLIENT },
		{ "shared", EMU_FENCE_SHARED },   { "write", EMU_FENCE_WRITE },
		{ "arrival", EMU_FENCE_ARRIVAL }, { "origin", EMU_FENCE_ORIGIN },
		{ "back", EMU_FENCE_BACK },       { "refused", EMU_FENCE_REFUSED },
		{ "held", EMU_FENCE_HELD },       { "helper", EMU_FENCE_HELPER },
		{ "asleep", EMU_FENCE_ASLEEP },   { "unmapped", EMU_FENCE_UNMAPPED },
		{ "closing", EMU_FENCE_CLOSING }, { "late", EMU_FENCE_LATE },
		{ "users", EMU_FENCE_USERS },     { "moved", EMU_FENCE_MOVED },
		{ "old", EMU_FENCE_OLD },         { "first", EMU_FENCE_FIRST },
	};
	const char *words = secure_getenv(variable);
	unsigned int named = 0;

	for (unsigned int i = 0; words && i < sizeof(known) / sizeof(known[0]); i++)
		if (strstr(words, known[i].word))
			named |= known[i].fence;
	return named;
}

static void read_tests_fences(void)
{
	emu.test_skip = fences("HMM_TEST_SKIP_FENCE");
	emu.test_widen = fences("HMM_TEST_WIDEN");
	if (emu.test_skip)
		hmm_log(HMM_LOG_WARN, "HMM_TEST_SKIP_FENCE=%s: memory will be corrupted",
			secure_getenv("HMM_TEST_SKIP_FENCE"));
}

static bool probe(void)
{
	bool user_only;
	uint64_t have;
	int fd = uffd_open(CLIENT_FEATURES, 0, &have, &user_only);

	if (fd >= 0)
		os_close(fd);
	return fd >= 0;
}

static int open_uffds(bool no_move)
{
	uint64_t have;

	emu.client = uffd_open(CLIENT_FEATURES, UFFD_FEATURE_MOVE, &have, &emu.user_only);
	if (emu.client < 0)
		return emu.client;
	emu.move = (have & UFFD_FEATURE_MOVE) && !no_move;
	return 0;
}

static long home_on_stack(void *arg)
{
	return emu_home_device(*(struct emu_device **)arg);
}

static int home(struct emu_device *d)
{
	return (int)os_enter(home_on_stack, &d, sizeof(d));
}

/* Kernels may still run: nothing goes out again behind the back of the homing. */
static void home_for_good(void)
{
	atomic_fetch_add(&emu.hold, 1);
	for (unsigned int d = 0; d < emu.devices; d++)
		while (home(&emu.device[d]) == -ENOMEM)
			os_sleep_ns(10000000); /* there is no other place for these pages */
}

static long untrack_on_stack(void *arg)
{
	(void)arg;
	emu_untrack_all();
	return 0;
}

static void leave(void)
{
	char none = 0;

	home_for_good();
	os_enter(untrack_on_stack, &none, sizeof(none));
}

static void stop(void)
{
	home_for_good();
	emu.running = false;
	emu_prefetch_stop();
	emu_files_stop();
	/* A thread of ours that ends unmaps something, and nobody would read of it any more. */
	emu_untrack_all();
	/* Descriptors of tracked memory go last: closing wakes who waits there. */
	emu_handlers_stop();
	emu_taker_stop();
	for (unsigned int d = 0; d < emu.devices; d++)
		emu_engine_stop(&emu.device[d]);
	emu_windows_unmap();
	if (emu.client >= 0)
		os_close(emu.client);
	emu.client = -1;
	os_maps_exit();
	hmm_table_exit(&emu.table);
	emu.devices = 0;
}

static int start_engines(const struct hmm_config *c)
{
	int err = 0;

	for (unsigned int i = 0; i < c->devices && !err; i++) {
		struct emu_device *d = &emu.device[i];

		memset(d, 0, sizeof(*d));
		d->index = i;
		d->capacity = c->device_bytes >> HMM_PAGE_SHIFT;
		d->uffd = -1;
		d->memory_fd = -1;
		hmm_proc_init(&d->proc, i);
		err = emu_engine_start(d);
		if (!err)
			emu.devices = i + 1;
	}
	return err;
}

static int start(const struct hmm_config *c)
{
	int err;

	memset(&emu, 0, sizeof(emu));
	emu.client = -1;
	read_tests_fences();
	emu.policy = c->policy;
	os_self_init();
	emu_kernel_used_init();
	err = hmm_table_init(&emu.table);
	if (err)
		return err;
	err = os_maps_init();
	if (!err)
		err = open_uffds(c->no_move);
	if (!err) /* where the kernel has no faults of its own, descriptors stay */
		os_rseq_away(!emu.user_only);
	if (!err)
		err = start_engines(c);
	if (!err)
		emu_make_all_anonymous();
	if (!err)
		err = emu_taker_start();
	if (!err)
		err = emu_prefetch_start();
	if (!err)
		err = emu_handlers_start();
	if (err) {
		stop();
		return err;
	}
	emu_fork_init();
	emu.running = true;
	if (emu.user_only)
		hmm_log(HMM_LOG_INFO, "user-mode faults only: system calls on migrated memory "
				      "need libhmm_io, see hmm(7)");
	return 0;
}

/* In a forked child: these are copies; the parent's descriptors stay open there. */
static void forget(void)
{
	emu_files_forget();
	for (unsigned int i = 0; i < emu.devices; i++) {
		struct emu_device *d = &emu.device[i];

		hmm_proc_forget(&d->proc);
		if (d->uffd >= 0)
			os_close(d->uffd);
		if (d->memory_fd >= 0)
			os_close(d->memory_fd);
	}
	if (emu.client >= 0)
		os_close(emu.client);
	os_maps_exit();
	memset(&emu, 0, sizeof(emu));
	emu.client = -1;
	emu_events_forget();
	emu_taker_forget();
	emu_prefetch_forget();
	emu_handlers_forget();
}

static unsigned int device_count(void)
{
	return emu.devices;
}

static uint64_t resident(unsigned int device)
{
	struct hmm_block *b;
	uint64_t pages = 0;

	for (uintptr_t at = 0; (b = hmm_block_next(&emu.table, at, 1ul << HMM_VA_BITS));
	     at = b->start + HMM_BLOCK_BYTES)
		pages += __atomic_load_n(&b->dev[device].resident, __ATOMIC_RELAXED);
	return pages;
}

static void device_info(unsigned int device, struct hmm_device_info *info)
{
	struct emu_device *d = &emu.device[device];

	*info = (struct hmm_device_info){
		.bytes = d->capacity << HMM_PAGE_SHIFT,
		.resident = resident(device) << HMM_PAGE_SHIFT,
		.numa_node = -1,
		.flags = HMM_DEVICE_CAN_FAULT | (emu.user_only ? HMM_DEVICE_USER_MODE_ONLY : 0) |
			 (emu.move ? HMM_DEVICE_MOVE : 0) |
			 (atomic_load(&d->proc.state) == HMM_PROC_LOST ? HMM_DEVICE_LOST : 0),
		.engine_pid = d->proc.pid,
	};
	snprintf(info->name, sizeof(info->name), "HMM emulated device %u", device);
	snprintf(info->backend, sizeof(info->backend), "emulated");
}

static void stats(unsigned int device, struct hmm_stats *s)
{
	struct emu_device *d = &emu.device[device];
	_Atomic uint64_t *v = d->stat;

	s->pages_to_device = v[EMU_TO_DEVICE];
	s->pages_to_system = v[EMU_TO_SYSTEM];
	s->cpu_faults = v[EMU_CPU_FAULTS];
	s->device_faults = v[EMU_DEVICE_FAULTS];
	s->pages_evicted = v[EMU_EVICTED];
	s->pages_remote = v[EMU_REMOTE];
	s->pages_across = v[EMU_ACROSS];
	s->launches = d->proc.launches;
	s->invalid_faults = d->proc.invalid;
	s->resident_pages = resident(device);
}

/* After a device fault: the handler brought the pages home; a new engine takes over. */
static int restart(struct emu_device *d)
{
	int err = 0;

	os_mutex_lock(&emu.restart_lock);
	if (atomic_load(&d->proc.state) == HMM_PROC_RESET) {
		err = home(d);
		if (!err) {
			emu_engine_stop(d);
			err = emu_engine_start(d);
			if (err)
				atomic_store(&d->proc.state, HMM_PROC_LOST);
			emu_kick(); /* handlers watch the new descriptors */
		}
	}
	os_mutex_unlock(&emu.restart_lock);
	return err;
}

static int restart_device(unsigned int device)
{
	return restart(&emu.device[device]);
}

struct renew_args {
	unsigned int device, generation;
};

static long renew_on_stack(void *arg)
{
	struct renew_args *a = arg;

	return hmm_proc_renew(&emu.device[a->device].proc, restart_device, a->generation);
}

static long renew(unsigned int device, unsigned int generation)
{
	struct renew_args a = { device, generation };

	return os_enter(renew_on_stack, &a, sizeof(a));
}

static unsigned int generation_of(unsigned int device)
{
	return atomic_load(&emu.device[device].proc.generation);
}

struct connect_args {
	unsigned int device, generation;
	int fd;
};

/* On a private stack: locks are held around system calls on what lies there. */
static long connect_on_stack(void *arg)
{
	struct connect_args *a = arg;

	return hmm_proc_connect(&emu.device[a->device].proc, restart_device, &a->fd,
				&a->generation);
}

static int connect_engine(unsigned int device, int *fd, unsigned int *generation)
{
	struct connect_args a = { .device = device };
	int err = (int)os_enter(connect_on_stack, &a, sizeof(a));

	if (!err) {
		*fd = a.fd;
		*generation = a.generation;
	}
	return err;
}

static long drain_on_stack(void *arg)
{
	(void)arg;
	emu_events_drain();
	return 0;
}

static int launch_begin(unsigned int device, unsigned int launches)
{
	struct emu_device *d = &emu.device[device];
	char none = 0;

	atomic_fetch_add(&d->proc.launches, launches);
	os_enter(drain_on_stack, &none, sizeof(none));
	emu_remote_revalidate(d);
	return emu_device_up(d) ? 0 : -ENODEV;
}

struct end_args {
	unsigned int device, generation;
	struct hmm_device_fault fault;
};

/* On a private stack: handlers take the lock of the report, too. */
static long end_on_stack(void *arg)
{
	struct end_args *a = arg;

	return hmm_proc_launch_end(&emu.device[a->device].proc, a->generation, &a->fault);
}

static int launch_end(unsigned int device, unsigned int generation, struct hmm_device_fault *fault)
{
	struct end_args a = { .device = device, .generation = generation };
	int ended = (int)os_enter(end_on_stack, &a, sizeof(a));

	if (ended == 1)
		*fault = a.fault;
	return ended;
}

/* What follows is done by another engine when the device was reset, as a launch is. */
static long migrate(uintptr_t start, uintptr_t end, int target)
{
	unsigned int generation;
	long n;

	if (target < 0)
		return emu_migrate(start, end, target);
	do {
		generation = generation_of((unsigned int)target);
		n = emu_migrate(start, end, target);
	} while (n == -ENODEV && !(n = renew((unsigned int)target, generation)));
	return n;
}

static int advised(uintptr_t start, uintptr_t end, int advice, int target)
{
	unsigned int generation;
	int err;

	do {
		generation = target < 0 ? 0 : generation_of((unsigned int)target);
		err = emu_advised(start, end, advice, target);
	} while (err == -ENODEV && !(err = (int)renew((unsigned int)target, generation)));
	return err;
}

static long device_io(unsigned int device, uintptr_t addr, char *buffer, size_t length, bool write)
{
	unsigned int generation;
	size_t done = 0;
	long n;

	do {
		generation = generation_of(device);
		n = emu_device_io(device, addr + done, buffer + done, length - done, write);
		done += n > 0 ? (size_t)n : 0;
	} while ((n == -ENODEV || n > 0) && done < length && !renew(device, generation));
	return done ? (long)done : n;
}

const struct hmm_backend_ops hmm_emulated_ops = {
	.name = "emulated",
	.probe = probe,
	.start = start,
	.stop = stop,
	.leave = leave,
	.forget = forget,
	.device_count = device_count,
	.device_info = device_info,
	.stats = stats,
	.migrate = migrate,
	.advised = advised,
	.query = emu_query,
	.device_io = device_io,
	.map_file = emu_map_file,
	.unmap = emu_unmap_file,
	.sync = emu_sync_file,
	.connect = connect_engine,
	.launch_begin = launch_begin,
	.launch_end = launch_end,
};

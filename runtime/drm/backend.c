// SPDX-License-Identifier: MIT
/* The backend "drm": start, stop, and the table of what it does. */
#include "drm/hdrm.h"
#include "core/advice.h"
#include "core/block.h"
#include "os/arena.h"
#include "os/enter.h"
#include "os/log.h"
#include "os/maps.h"
#include "os/sys.h"
#include "os/thread.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

struct hdrm hdrm = { .node = -1, .kick = -1 };

static bool probe(void)
{
	int fd = hdrm_node_open();

	if (fd >= 0)
		os_close(fd);
	return fd >= 0;
}

static void stop(void)
{
	for (unsigned int i = 0; i < hdrm.devices; i++)
		while (hdrm_home(i) == -ENOMEM)
			os_sleep_ns(10000000); /* there is no other place for these pages */
	hdrm_unwatch();
	for (unsigned int i = 0; i < hdrm.devices; i++) {
		hmm_proc_release(&hdrm.device[i].proc);
		/* What a running kernel took meanwhile. */
		while (hdrm_home(i) == -ENOMEM)
			os_sleep_ns(10000000);
	}
	if (hdrm.node >= 0)
		os_close(hdrm.node);
	os_maps_exit();
	hdrm = (struct hdrm){ .node = -1, .kick = -1 };
}

static int start_devices(void)
{
	struct drm_hmm_query q;
	int err = hdrm_query(0, &q);
	unsigned int devices = q.devices < HMM_MAX_DEVICES ? q.devices : HMM_MAX_DEVICES;

	if (!err && q.page_bytes != HMM_PAGE_BYTES)
		err = -ENODEV;
	for (unsigned int i = 0; !err && i < devices; i++) {
		struct hdrm_device *d = &hdrm.device[i];

		hmm_proc_init(&d->proc, i);
		err = hdrm_query(i, &q);
		if (!err)
			err = hdrm_stats(i, &d->base);
		d->bytes = q.bytes;
		if (!err)
			err = hdrm_engine_start(i);
		if (!err)
			hdrm.devices = i + 1;
	}
	return err;
}

/* How many devices there are, and of what size, is the driver's. */
static int start(const struct hmm_config *config)
{
	int err;

	if (config->policy != HMM_POLICY_FAULT) {
		hmm_log(HMM_LOG_ERROR, "HMM_MIGRATE: with the kernel driver device faults migrate");
		return -EOPNOTSUPP;
	}
	hdrm = (struct hdrm){ .kick = -1, .node = hdrm_node_open() };
	if (hdrm.node < 0) {
		err = hdrm.node;
		hmm_log(HMM_LOG_ERROR, "no render node of the driver \"hmm\" %s",
			err == -ENODEV ? "here" : "that can be opened");
		return err;
	}
	err = os_maps_init();
	if (!err)
		err = start_devices();
	if (!err)
		err = hdrm_watch();
	if (err)
		stop();
	return err;
}

static void forget(void)
{
	for (unsigned int i = 0; i < hdrm.devices; i++)
		hmm_proc_forget(&hdrm.device[i].proc);
	if (hdrm.node >= 0)
		os_close(hdrm.node);
	if (hdrm.kick >= 0)
		os_close(hdrm.kick);
	os_thread_forget();
	os_maps_exit();
	hdrm = (struct hdrm){ .node = -1, .kick = -1 };
}

static unsigned int device_count(void)
{
	return hdrm.devices;
}

static uint64_t resident(unsigned int device)
{
	struct drm_hmm_query q;

	return hdrm_query(device, &q) ? 0 : q.resident;
}

static void device_info(unsigned int device, struct hmm_device_info *info)
{
	struct hdrm_device *d = &hdrm.device[device];
	bool lost = atomic_load(&d->proc.state) == HMM_PROC_LOST && atomic_load(&d->emptied);

	*info = (struct hmm_device_info){
		.bytes = d->bytes,
		.resident = resident(device),
		.numa_node = -1,
		.flags = HMM_DEVICE_CAN_FAULT | (lost ? HMM_DEVICE_LOST : 0),
		.engine_pid = d->proc.pid,
	};
	snprintf(info->name, sizeof(info->name), "HMM device %u", device);
	snprintf(info->backend, sizeof(info->backend), "drm");
}

static void stats(unsigned int device, struct hmm_stats *s)
{
	struct hdrm_device *d = &hdrm.device[device];
	struct drm_hmm_stats now;

	if (hdrm_stats(device, &now))
		now = d->base;
	s->pages_to_device = now.to_device - d->base.to_device;
	s->pages_to_system = now.to_system - d->base.to_system;
	s->cpu_faults = now.cpu_faults - d->base.cpu_faults;
	s->device_faults = now.device_faults - d->base.device_faults;
	s->pages_evicted = now.evicted - d->base.evicted;
	s->pages_remote = now.remote - d->base.remote;
	s->launches = d->proc.launches;
	s->invalid_faults = d->proc.invalid;
	s->resident_pages = resident(device) >> HMM_PAGE_SHIFT;
}

/*
 * Not every kernel moves a part of a huge page that is mapped page by page. A hint about one such
 * page makes it split the huge one; of any other it says that it is not needed soon. Is there one
 * that may have been such?
 */
static bool split(uintptr_t start, uintptr_t end)
{
	const size_t bytes = HMM_BLOCK_PAGES * sizeof(struct drm_hmm_page);
	struct drm_hmm_page *s = os_alloc(bytes);
	bool any = false;

	for (size_t n; s && start < end; start += n * HMM_PAGE_BYTES) {
		n = (end - start) >> HMM_PAGE_SHIFT;
		n = n < HMM_BLOCK_PAGES ? n : HMM_BLOCK_PAGES;
		for (size_t i = hdrm_pages(start, n, s) ? n : 0; i < n; i++)
			if (s[i].location == DRM_HMM_SYSTEM &&
			    !(s[i].flags & (DRM_HMM_PAGE_PINNED | DRM_HMM_PAGE_SHARED)))
				any |= !os_madvise(start + i * HMM_PAGE_BYTES, HMM_PAGE_BYTES,
						   MADV_COLD);
	}
	os_free(s, bytes);
	return any;
}

static long to_device(uintptr_t start, uintptr_t end, int target)
{
	long n = hdrm_migrate(start, end, target);

	if (n < 0 || n == (long)((end - start) >> HMM_PAGE_SHIFT) ||
	    end - start > hdrm.device[target].bytes)
		return n;
	return split(start, end) ? hdrm_migrate(start, end, target) : n;
}

struct allowed_args {
	uintptr_t at, end;
	bool allowed;
};

/* May what is at @at migrate, and how far does that hold? */
static long allowed_on_stack(void *arg)
{
	struct allowed_args *a = arg;
	uintptr_t end;

	a->allowed = !hmm_advice_at(a->at, &end).no_migrate;
	if (end < a->end)
		a->end = end;
	return 0;
}

/* What was advised not to migrate is left out. */
static long migrate_allowed(uintptr_t start, uintptr_t end, int target)
{
	long on = 0;

	while (start < end) {
		struct allowed_args a = { start, end, true };
		long n = os_enter(allowed_on_stack, &a, sizeof(a));

		if (!n && a.allowed)
			n = to_device(start, a.end, target);
		if (n < 0)
			return n;
		on += n;
		start = a.end;
	}
	return on;
}

/* A device that was reset gets another engine for this, as for a launch. */
static long migrate(uintptr_t start, uintptr_t end, int target)
{
	struct hmm_proc *p;
	unsigned int generation;
	int err = 0;

	if (target < 0)
		return hdrm_migrate(start, end, target);
	if (os_arena_contains(start, end))
		return -EOPNOTSUPP;
	p = &hdrm.device[target].proc;
	do {
		generation = atomic_load(&p->generation);
		if (hmm_proc_up(p))
			return migrate_allowed(start, end, target);
		err = hmm_proc_renew(p, hdrm_engine_restart, generation);
	} while (!err);
	return err;
}

static uint32_t flags(uint32_t from)
{
	return (from & DRM_HMM_PAGE_PINNED ? HMM_PAGE_PINNED : 0) |
	       (from & DRM_HMM_PAGE_DIRTY ? HMM_PAGE_DIRTY : 0) |
	       (from & DRM_HMM_PAGE_SHARED ? HMM_PAGE_SHARED : 0) |
	       (from & DRM_HMM_PAGE_REMOTE ? HMM_PAGE_REMOTE : 0);
}

static int query(uintptr_t start, uintptr_t end, struct hmm_page_status *status)
{
	const size_t bytes = HMM_BLOCK_PAGES * sizeof(struct drm_hmm_page);
	struct drm_hmm_page *s = os_alloc(bytes);
	int err = s ? 0 : -ENOMEM;

	while (!err && start < end) {
		size_t n = (end - start) >> HMM_PAGE_SHIFT;

		n = n < HMM_BLOCK_PAGES ? n : HMM_BLOCK_PAGES;
		err = hdrm_pages(start, n, s);
		for (size_t i = 0; !err && i < n; i++)
			*status++ = (struct hmm_page_status){ s[i].location, -1, flags(s[i].flags),
							      0 };
		start += n * HMM_PAGE_BYTES;
	}
	os_free(s, bytes);
	return err;
}

static long device_io(unsigned int device, uintptr_t addr, char *buffer, size_t length, bool write)
{
	struct hmm_proc *p = &hdrm.device[device].proc;
	unsigned int generation;
	size_t done = 0;
	long n;

	do {
		generation = atomic_load(&p->generation);
		n = hmm_proc_io(p, addr + done, buffer + done, length - done, write);
		done += n > 0 ? (size_t)n : 0;
	} while ((n == -ENODEV || n > 0) && done < length &&
		 !hmm_proc_renew(p, hdrm_engine_restart, generation));
	return done ? (long)done : n;
}

static int connect_engine(unsigned int device, int *fd, unsigned int *generation)
{
	return hmm_proc_connect(&hdrm.device[device].proc, hdrm_engine_restart, fd, generation);
}

static int launch_begin(unsigned int device, unsigned int launches)
{
	struct hmm_proc *p = &hdrm.device[device].proc;

	atomic_fetch_add(&p->launches, launches);
	return hmm_proc_up(p) ? 0 : -ENODEV;
}

static int launch_end(unsigned int device, unsigned int generation, struct hmm_device_fault *fault)
{
	return hmm_proc_launch_end(&hdrm.device[device].proc, generation, fault);
}

const struct hmm_backend_ops hmm_drm_ops = {
	.name = "drm",
	.probe = probe,
	.start = start,
	.stop = stop,
	.forget = forget,
	.device_count = device_count,
	.device_info = device_info,
	.stats = stats,
	.migrate = migrate,
	.query = query,
	.device_io = device_io,
	.map_file = hdrm_map_file,
	.unmap = hdrm_unmap,
	.sync = hdrm_sync,
	.connect = connect_engine,
	.launch_begin = launch_begin,
	.launch_end = launch_end,
};

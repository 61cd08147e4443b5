// SPDX-License-Identifier: MIT
/* The engine processes of the driver's devices, and a thread that sees them end. */
#include "drm/hdrm.h"
#include "os/log.h"
#include "os/sys.h"
#include "os/thread.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <xf86drm.h>

int hdrm_engine_start(unsigned int device)
{
	struct hdrm_device *d = &hdrm.device[device];
	struct drm_hmm_engine_create c = { .device = device };
	struct hmm_proc_options o = { .bytes = d->bytes };
	int err;

	if (drmIoctl(hdrm.node, DRM_IOCTL_HMM_ENGINE_CREATE, &c))
		return -errno;
	o.driver_fd = c.fd;
	err = hmm_proc_start(&d->proc, &o, NULL, 0);
	os_close(c.fd);
	if (!err)
		hmm_proc_run(&d->proc);
	return err;
}

static void kick(void)
{
	uint64_t one = 1;

	os_write(hdrm.kick, &one, sizeof(one));
}

/* After a device fault: a new engine takes over. */
int hdrm_engine_restart(unsigned int device)
{
	struct hmm_proc *p = &hdrm.device[device].proc;
	int err = 0;

	os_mutex_lock(&hdrm.restart_lock);
	if (atomic_load(&p->state) == HMM_PROC_RESET) {
		err = hdrm_home(device);
		if (!err) {
			hmm_proc_release(p);
			err = hdrm_engine_start(device);
			if (err)
				atomic_store(&p->state, HMM_PROC_LOST);
			kick();
		}
	}
	os_mutex_unlock(&hdrm.restart_lock);
	return err;
}

static void look(void)
{
	for (unsigned int i = 0; i < hdrm.devices; i++) {
		int err;

		if (!hmm_proc_up(&hdrm.device[i].proc) || !hmm_proc_died(&hdrm.device[i].proc))
			continue;
		err = hdrm_home(i);
		if (err)
			hmm_log(HMM_LOG_ERROR, "device %u: not everything came home (%d)", i, err);
		atomic_store(&hdrm.device[i].emptied, true);
	}
}

static void watch(void *unused)
{
	struct pollfd p[1 + HMM_MAX_DEVICES];
	uint64_t value;

	(void)unused;
	while (!atomic_load(&hdrm.stopping)) {
		unsigned int n = 1;

		p[0] = (struct pollfd){ .fd = hdrm.kick, .events = POLLIN };
		for (unsigned int i = 0; i < hdrm.devices; i++)
			if (hmm_proc_up(&hdrm.device[i].proc))
				p[n++] = (struct pollfd){ .fd = hdrm.device[i].proc.pidfd,
							  .events = POLLIN };
		if (os_syscall5(SYS_ppoll, p, n, NULL, NULL, 8) < 0)
			continue;
		if (p[0].revents)
			os_read(hdrm.kick, &value, sizeof(value));
		look();
	}
}

int hdrm_watch(void)
{
	int err;

	hdrm.kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (hdrm.kick < 0)
		return -errno;
	err = os_thread_start(&hdrm.watcher, watch, NULL);
	if (err) {
		os_close(hdrm.kick);
		hdrm.kick = -1;
	}
	return err;
}

void hdrm_unwatch(void)
{
	if (hdrm.kick < 0)
		return;
	atomic_store(&hdrm.stopping, true);
	kick();
	os_thread_join(hdrm.watcher);
	os_close(hdrm.kick);
	hdrm.kick = -1;
}

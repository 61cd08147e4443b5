// SPDX-License-Identifier: MIT
/* The render node and its ioctls (include/drm/hmm_drm.h), by libdrm. */
#include "drm/hdrm.h"
#include "os/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <xf86drm.h>

#define FIRST_MINOR 128
#define MINORS 64

static bool is_ours(int fd)
{
	drmVersionPtr v = drmGetVersion(fd);
	bool ours = v && !strcmp(v->name, "hmm");

	drmFreeVersion(v);
	return ours;
}

/* To open a node takes every lock of the address space, which the kernel gives up for a signal. */
static int open_unless_killed(const char *path)
{
	sigset_t all, old;
	int fd;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	fd = open(path, O_RDWR | O_CLOEXEC);
	fd = fd < 0 ? -errno : fd;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return fd;
}

int hdrm_node_open(void)
{
	int err = -ENODEV;

	for (int i = 0; i < MINORS; i++) {
		char path[32];
		int fd;

		snprintf(path, sizeof(path), "/dev/dri/renderD%d", FIRST_MINOR + i);
		fd = open_unless_killed(path);
		if (fd >= 0 && is_ours(fd))
			return fd;
		if (fd >= 0)
			os_close(fd);
		else if (fd != -ENOENT)
			err = fd; /* it may be the one */
	}
	return err;
}

static int call(unsigned long request, void *arg)
{
	return drmIoctl(hdrm.node, request, arg) ? -errno : 0;
}

int hdrm_query(unsigned int device, struct drm_hmm_query *q)
{
	*q = (struct drm_hmm_query){ .device = device };
	return call(DRM_IOCTL_HMM_QUERY, q);
}

int hdrm_stats(unsigned int device, struct drm_hmm_stats *s)
{
	*s = (struct drm_hmm_stats){ .device = device };
	return call(DRM_IOCTL_HMM_STATS, s);
}

long hdrm_migrate(uintptr_t start, uintptr_t end, int target)
{
	struct drm_hmm_migrate m = { .addr = start, .length = end - start, .target = target };
	int err = call(DRM_IOCTL_HMM_MIGRATE, &m);

	return err ? err : (long)m.pages;
}

int hdrm_pages(uintptr_t start, size_t pages, struct drm_hmm_page *out)
{
	struct drm_hmm_pages p = {
		.addr = start, .pages = pages, .status = (uintptr_t)out, .entry_bytes = sizeof(*out)
	};

	return call(DRM_IOCTL_HMM_PAGES, &p);
}

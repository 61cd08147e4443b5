/* SPDX-License-Identifier: MIT */
/*
 * The backend of the kernel driver: one open render node is this process's client, and each
 * device has an engine process that maps the client's memory through the driver. All migration
 * happens in the kernel (docs/kernel-driver.md).
 *
 * Locks: restart_lock, then a process's own (device/proc.h). Nothing in the kernel waits for any
 * of them.
 */
#ifndef HMM_DRM_HDRM_H
#define HMM_DRM_HDRM_H

#include <stdatomic.h>
#include <stdbool.h>

#include "core/backend.h"
#include "core/block.h"
#include "device/proc.h"
#include "os/lock.h"

#include <drm/hmm_drm.h>

struct hdrm_device {
	struct hmm_proc proc;
	uint64_t bytes;
	_Atomic bool emptied;      /* since its engine died: everything of it came home */
	struct drm_hmm_stats base; /* when it was opened: the driver counts for everybody */
};

struct hdrm {
	int node; /* -1: closed */
	unsigned int devices;
	struct hdrm_device device[HMM_MAX_DEVICES];
	struct os_mutex restart_lock;
	unsigned long watcher;
	int kick; /* eventfd: the watcher looks again */
	_Atomic bool stopping;
};

extern struct hdrm hdrm;

/* node.c: the driver's calls; 0 or -errno. */
int hdrm_node_open(void); /* the descriptor, or -ENODEV, -EACCES, -EMFILE, ... */
int hdrm_query(unsigned int device, struct drm_hmm_query *q);
int hdrm_stats(unsigned int device, struct drm_hmm_stats *s);
long hdrm_migrate(uintptr_t start, uintptr_t end, int target);
int hdrm_pages(uintptr_t start, size_t pages, struct drm_hmm_page *out);

/* home.c: every page that a device has. */
int hdrm_home(unsigned int device);

/* file.c: as the backend's table says. */
int hdrm_map_file(int fd, off_t offset, size_t length, int prot, bool coherent, uintptr_t *addr);
int hdrm_unmap(uintptr_t start, uintptr_t end);
int hdrm_sync(uintptr_t start, uintptr_t end);

/* engine.c */
int hdrm_engine_start(unsigned int device);
int hdrm_engine_restart(unsigned int device);
int hdrm_watch(void);
void hdrm_unwatch(void);

#endif /* HMM_DRM_HDRM_H */

/* SPDX-License-Identifier: MIT */
/*
 * What a backend does for the core. One const table each; arguments arrive checked:
 * ranges are page-aligned, do not wrap and are not empty, devices exist.
 */
#ifndef HMM_CORE_BACKEND_H
#define HMM_CORE_BACKEND_H

#include <hmm/hmm.h>
#include <hmm/hmm_engine.h>
#include <stdbool.h>
#include <sys/types.h>

enum hmm_policy {
	HMM_POLICY_FAULT,    /* a device's touch migrates */
	HMM_POLICY_EXPLICIT, /* only hmm_migrate() does */
	HMM_POLICY_OFF,      /* nothing goes to a device */
};

struct hmm_config {
	unsigned int devices;
	uint64_t device_bytes;
	bool no_move;
	enum hmm_policy policy;
};

struct hmm_backend_ops {
	const char *name;

	/* Could start() succeed on this machine? Opens nothing that stays open. */
	bool (*probe)(void);

	/* Locking: the process lock, for both. stop() brings every page home first. */
	int (*start)(const struct hmm_config *config);
	void (*stop)(void);

	/*
	 * The process ends: every page is home and stays there, and no touch needs a thread of
	 * ours any more. NULL: none ever does. Locking: as stop().
	 */
	void (*leave)(void);

	/* In a forked child: forget the parent's state, close its descriptors. */
	void (*forget)(void);

	unsigned int (*device_count)(void);
	void (*device_info)(unsigned int device, struct hmm_device_info *info);
	void (*stats)(unsigned int device, struct hmm_stats *stats);

	/* As hmm_migrate(), for device targets and HMM_SYSTEM. Blocks. Never called
	 * with a runtime lock held; runs on the caller's stack. */
	long (*migrate)(uintptr_t start, uintptr_t end, int target);

	/*
	 * Advice was given, and core/advice.h tells of it; what goes beyond is done here. NULL:
	 * nothing. Called as migrate(). 0 or -errno.
	 */
	int (*advised)(uintptr_t start, uintptr_t end, int advice, int target);

	/* Fills location, flags of one page each; node is the core's. */
	int (*query)(uintptr_t start, uintptr_t end, struct hmm_page_status *status);

	long (*device_io)(unsigned int device, uintptr_t addr, char *buffer, size_t length,
			  bool write);

	/*
	 * Files; NULL: this backend has none. map_file() has a regular file open for what prot
	 * asks. unmap() and sync() get ranges that it mapped, in whole pages.
	 */
	int (*map_file)(int fd, off_t offset, size_t length, int prot, bool coherent,
			uintptr_t *addr);
	int (*unmap)(uintptr_t start, uintptr_t end);
	int (*sync)(uintptr_t start, uintptr_t end);

	/* As the hmm_engine_* functions. */
	int (*connect)(unsigned int device, int *fd, unsigned int *generation);
	int (*launch_begin)(unsigned int device, unsigned int launches);
	int (*launch_end)(unsigned int device, unsigned int generation,
			  struct hmm_device_fault *fault);
};

extern const struct hmm_backend_ops hmm_drm_ops, hmm_emulated_ops;

#endif /* HMM_CORE_BACKEND_H */

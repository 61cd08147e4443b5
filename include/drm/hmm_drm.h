/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * Ioctls of the hmm DRM driver: device-private memory for the pages of a process.
 *
 * A render node that is opened is a client: it serves the address space of the process
 * that opened it, and no other. Calls from another address space (a forked child, after
 * exec, through a passed descriptor) fail with -EPERM. Structures grow at their ends and
 * what an older caller does not know is zero (the DRM convention); fields and flags that
 * are reserved must be zero (-EINVAL).
 */
#ifndef HMM_DRM_H
#define HMM_DRM_H

#ifdef __KERNEL__
#include <drm/drm.h>
#else
#include <drm.h> /* libdrm's */
#endif

#if defined(__cplusplus)
extern "C" {
#endif

#define HMM_DRM_ABI 1

#define HMMFS_SUPER_MAGIC 0x686d6d66 /* statfs.f_type of hmmfs */

#define DRM_HMM_QUERY 0x00
#define DRM_HMM_MIGRATE 0x01
#define DRM_HMM_PAGES 0x02
#define DRM_HMM_ENGINE_CREATE 0x03
#define DRM_HMM_STATS 0x04

/* Ask this first. @device: which one @bytes and @resident are of; -ENODEV beyond the last. */
struct drm_hmm_query {
	__u32 device; /* in */
	__u32 flags;  /* in, zero */
	__u32 abi;
	__u32 devices;
	__u64 bytes;
	__u64 resident;
	__u32 page_bytes;
	__u32 pad;
};

#define DRM_HMM_SYSTEM (-1)

/*
 * Moves the pages of [addr, addr + length), widened to whole pages, to a device or to the
 * system. @pages: how many are there when it returns. Never-touched pages become zero-filled
 * device pages; pages that are pinned stay and are no error, busy ones are tried for 100 ms.
 * -EFAULT: a part is not mapped or, to a device, not readable (earlier pages may have moved).
 * -EOPNOTSUPP, to a device: memory that cannot move (shared and not of hmmfs, a read-only private
 * mapping of a file, hugetlb, of a device). -EIO: a page of a file on hmmfs cannot be read.
 */
struct drm_hmm_migrate {
	__u64 addr;
	__u64 length;
	__s32 target;
	__u32 flags; /* zero */
	__u64 pages; /* out */
};

#define DRM_HMM_NOT_POPULATED (-2)

/* One for each page. */
struct drm_hmm_page {
	__s32 location; /* a device, DRM_HMM_SYSTEM, DRM_HMM_NOT_POPULATED */
	__s32 node;     /* of a system page; else -1 */
	__u32 flags;
	__u32 pad;
};

#define DRM_HMM_PAGE_WRITABLE (1u << 0) /* without a fault */
/*
 * A page of the system that a device has where it is: for itself, until the CPU touches it
 * (pinned memory; then not WRITABLE), or together with the CPU (shared memory; a device may
 * have let go of that unnoticed).
 */
#define DRM_HMM_PAGE_REMOTE (1u << 1)
#define DRM_HMM_PAGE_PINNED (1u << 2) /* others hold it: it does not move */
#define DRM_HMM_PAGE_SHARED (1u << 3) /* of a shared mapping */
#define DRM_HMM_PAGE_DIRTY (1u << 4)  /* of a file, which does not have its bytes yet */

/*
 * Fills @pages entries at @status, of the pages from @addr on. -EFAULT: not mapped. What lies in a
 * mapping without access is not looked at: DRM_HMM_NOT_POPULATED.
 */
struct drm_hmm_pages {
	__u64 addr;
	__u64 pages;
	__u64 status;
	__u32 entry_bytes; /* sizeof(struct drm_hmm_page) as the caller knows it */
	__u32 flags;       /* zero */
};

/*
 * A descriptor through which one other process maps the client's memory as the device sees
 * it: mmap(MAP_SHARED) with the offset equal to the address, at that very address. The first
 * to map it is served, with the client's rights; the client itself never (-EPERM).
 */
struct drm_hmm_engine_create {
	__u32 device;
	__u32 flags; /* zero */
	__s32 fd;    /* out, close-on-exec */
	__u32 pad;
};

/* Of one device, since it was made. Pages, if not said otherwise. */
struct drm_hmm_stats {
	__u32 device;
	__u32 flags; /* zero */
	__u64 to_device;
	__u64 to_system;
	__u64 evicted;
	__u64 cpu_faults;    /* faults */
	__u64 device_faults; /* faults */
	__u64 remote;
};

#define DRM_IOCTL_HMM_QUERY DRM_IOWR(DRM_COMMAND_BASE + DRM_HMM_QUERY, struct drm_hmm_query)
#define DRM_IOCTL_HMM_MIGRATE DRM_IOWR(DRM_COMMAND_BASE + DRM_HMM_MIGRATE, struct drm_hmm_migrate)
#define DRM_IOCTL_HMM_PAGES DRM_IOWR(DRM_COMMAND_BASE + DRM_HMM_PAGES, struct drm_hmm_pages)
#define DRM_IOCTL_HMM_ENGINE_CREATE \
	DRM_IOWR(DRM_COMMAND_BASE + DRM_HMM_ENGINE_CREATE, struct drm_hmm_engine_create)
#define DRM_IOCTL_HMM_STATS DRM_IOWR(DRM_COMMAND_BASE + DRM_HMM_STATS, struct drm_hmm_stats)

#if defined(__cplusplus)
}
#endif

#endif /* HMM_DRM_H */

/* SPDX-License-Identifier: MIT */
/*
 * libhmm: heterogeneous memory migration for accelerators.
 *
 * Every function returns 0 or a count, else a negative errno; `errno` itself is
 * not part of the contract. Lengths are bytes, and a range is widened to whole
 * pages. All functions are thread-safe and none is async-signal-safe. Device
 * state is one per process: every handle shares devices, engine and residency.
 * A handle that is NULL is -EINVAL, a forked parent's is -EPERM, in every function.
 *
 * The names follow the kernel's Documentation/mm/hmm.rst.
 */
#ifndef HMM_HMM_H
#define HMM_HMM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HMM_VERSION_MAJOR 0
#define HMM_VERSION_MINOR 1
#define HMM_VERSION_PATCH 0

/* Targets of a migration: a device index (0, 1, ...) or one of these. */
#define HMM_SYSTEM (-1)                  /* system memory, on any node */
#define HMM_NUMA_NODE(n) (-0x1000 - (n)) /* system memory of NUMA node n */

struct hmm;

/**
 * Options of hmm_open(). Zero-initialise, then set @sz to sizeof(struct
 * hmm_open_opts); a zero field means "the default, or what the environment
 * says". The first handle of a process decides; later handles share its devices.
 */
struct hmm_open_opts {
	size_t sz;             /* size of this struct, for compatibility */
	const char *backend;   /* "emulated" or "drm"; NULL: HMM_BACKEND, or by itself */
	unsigned int devices;  /* emulated devices, 1..8; 0: HMM_EMULATED_DEVICES or 1 */
	unsigned int flags;    /* HMM_OPEN_* */
	uint64_t device_bytes; /* capacity of each; 0: HMM_EMULATED_BYTES or 256 MiB */
};

/* Use the write-protect algorithm even where UFFDIO_MOVE exists (emulated). */
#define HMM_OPEN_NO_MOVE 0x1u

/**
 * hmm_open() - attach this process to its devices.
 * @out:  receives the handle; untouched on failure.
 * @opts: NULL for the defaults.
 *
 * The first handle of a process starts the backend and the device engines. A
 * child after fork() may open its own handle; the parent's answers -EPERM there.
 *
 * Return: 0, or -EINVAL (@out NULL, opts->sz too small, unknown flag or backend,
 * more than 8 devices, capacity not a multiple of 2 MiB, an environment variable has none
 * of its values), -E2BIG (non-zero bytes in fields that this library does not know),
 * -ENODEV or -EACCES (the driver was asked for: it has no node, or none that may be opened),
 * -ENOENT (no hmm-engine binary), -EPROTO (hmm-engine speaks another protocol version),
 * -ETIMEDOUT (it says nothing for 20 s), -EOPNOTSUPP (HMM_MIGRATE asks for what the backend
 * cannot keep), -EPERM or -ENOSYS (userfaultfd refused, e.g. by seccomp), -ENOMEM, -EMFILE,
 * -ENFILE, -EAGAIN (no more processes or threads).
 * Blocks while engines start. Inverse: hmm_close().
 */
int hmm_open(struct hmm **out, const struct hmm_open_opts *opts);

/**
 * hmm_close() - drop a handle; the last one brings every page home first, then
 * stops the engines. NULL is allowed. No other thread may be using @h.
 */
void hmm_close(struct hmm *h);

/** hmm_device_count() - number of devices, or -EPERM in a forked child. */
int hmm_device_count(struct hmm *h);

struct hmm_device_info {
	char name[64];      /* "HMM emulated device 0" */
	char backend[16];   /* "emulated", "drm" */
	uint64_t bytes;     /* capacity */
	uint64_t resident;  /* bytes resident now */
	int32_t numa_node;  /* always -1 in this version */
	uint32_t flags;     /* HMM_DEVICE_* */
	int32_t engine_pid; /* process that is the device, 0 if none */
	uint32_t reserved;
};

#define HMM_DEVICE_CAN_FAULT 0x1u      /* resolves its own page faults */
#define HMM_DEVICE_LOST 0x2u           /* its engine died; its pages came home */
#define HMM_DEVICE_USER_MODE_ONLY 0x4u /* system calls fail on migrated pages, see hmm(7) */
#define HMM_DEVICE_MOVE 0x8u           /* pages move by UFFDIO_MOVE (emulated) */

/** hmm_device_info() - Return: 0, -EINVAL (@info NULL, no such device), -EPERM. */
int hmm_device_info(struct hmm *h, int device, struct hmm_device_info *info);

/* Counters since the devices were opened; device < 0 sums all of them. */
struct hmm_stats {
	uint64_t sz;              /* in: sizeof(struct hmm_stats) */
	uint64_t pages_to_device; /* migrated to the device, any reason */
	uint64_t pages_to_system; /* brought home, any reason */
	uint64_t cpu_faults;      /* CPU touches of device pages */
	uint64_t device_faults;   /* device touches of non-resident pages */
	uint64_t pages_evicted;   /* went home for want of device memory */
	uint64_t pages_remote;    /* mapped remotely instead of migrated */
	uint64_t launches;        /* kernels launched through the OpenCL platform */
	uint64_t invalid_faults;  /* device accesses that could not be */
	uint64_t resident_pages;  /* on the device now */
	uint64_t pages_across;    /* of pages_to_device: straight from another one (emulated) */
};

/** hmm_stats() - Return: 0, -EINVAL (@stats NULL, sz too small, no such device), -EPERM. */
int hmm_stats(struct hmm *h, int device, struct hmm_stats *stats);

/**
 * hmm_migrate() - move a range of pages to @target, and wait.
 * @addr, @length: any range of this process; widened to whole pages.
 * @target: device index, HMM_SYSTEM or HMM_NUMA_NODE(n).
 * @flags:  0.
 *
 * Never-touched pages become zero-filled device pages; HMM_SYSTEM leaves them
 * alone, uncounted. From one device to another pages are copied straight (emulated; what the drm
 * backend does, hmm_migrate(3) tells). A pinned page stays where it is and is not an error (where
 * pages are copied, not moved, it is not recognised: see hmm(7)). Busy
 * pages are retried for up to 100 ms. What was advised not to migrate is left out; with
 * HMM_MIGRATE=off (see hmm(7)) nothing goes to a device, and the count is 0.
 *
 * Return: how many pages of the range are on the target, or -EINVAL (zero or
 * wrapping length, unknown flag or target), -EFAULT (a page is unmapped or, when the
 * target is a device, has no access; earlier pages may have moved), -ENODEV (device gone), -ENOMEM,
 * -EPERM (forked child); to a device also -EOPNOTSUPP (hugetlb, device mappings, shared mappings
 * that hmm_map_file() did not make, read-only private mappings of files, the runtime's own memory),
 * -EIO (a page of a mapped file cannot be read), and as hmm_open() when the engine ended by an
 * invalid access and a new one does not start.
 */
long hmm_migrate(struct hmm *h, void *addr, size_t length, int target, unsigned int flags);

/**
 * hmm_migrate_async() - hmm_migrate() in the background.
 * @fence_fd: receives a descriptor that polls readable when the migration is
 *            over; the caller closes it, at any time.
 *
 * Arguments are checked before it returns; page errors show in hmm_query().
 * Return: 0, or as hmm_migrate() for the arguments, -ENOMEM, -EMFILE, -ENFILE (no descriptor for
 * the fence), -EAGAIN (no thread). The last hmm_close() waits for all that were asked for.
 */
int hmm_migrate_async(struct hmm *h, void *addr, size_t length, int target, unsigned int flags,
		      int *fence_fd);

/* hmm_page_status.location when the page is nowhere. */
#define HMM_NOT_POPULATED (-2)

struct hmm_page_status {
	int32_t location; /* device index, HMM_SYSTEM or HMM_NOT_POPULATED */
	int32_t node;     /* NUMA node when location is HMM_SYSTEM, else -1 */
	uint32_t flags;   /* HMM_PAGE_* */
	uint32_t reserved;
};

#define HMM_PAGE_DIRTY 0x1u   /* not in its file yet, or (emulated) not durable there */
#define HMM_PAGE_PINNED 0x2u  /* refused its last migration: pinned or busy */
#define HMM_PAGE_SHARED 0x4u  /* belongs to a shared mapping */
#define HMM_PAGE_REMOTE 0x8u  /* the device maps it where it is */
#define HMM_PAGE_COPIED 0x10u /* devices have copies of it, to read */

/**
 * hmm_query() - where each page of a range is. A snapshot.
 * @status: one entry for each page; undefined after an error.
 * Return: entries written, or -EINVAL (zero or wrapping length, NULL), -EFAULT
 * (a page is unmapped), -ENOMEM, -EPERM.
 */
int hmm_query(struct hmm *h, const void *addr, size_t length, struct hmm_page_status *status);

/* Advice for hmm_advise(); docs/man/hmm_advise.3 tells what each backend does about it. */
#define HMM_ADVICE_PREFERRED 1 /* target: where the pages should be */
#define HMM_ADVICE_NOT_PREFERRED 2
#define HMM_ADVICE_READ_MOSTLY 3 /* copies of private pages may be on devices, too */
#define HMM_ADVICE_NOT_READ_MOSTLY 4
#define HMM_ADVICE_ACCESSED_BY 5 /* target: a device that should not have to fault */
#define HMM_ADVICE_NOT_ACCESSED_BY 6
#define HMM_ADVICE_NORMAL 7       /* takes back the next two */
#define HMM_ADVICE_SEQUENTIAL 8   /* a fault brings all that follows, up to 2 MiB */
#define HMM_ADVICE_RANDOM 9       /* a fault brings one page */
#define HMM_ADVICE_EVICT_FIRST 10 /* goes home first when a device is full */
#define HMM_ADVICE_NOT_EVICT_FIRST 11
#define HMM_ADVICE_NO_MIGRATE 12 /* stays in system memory; what is not there comes home */
#define HMM_ADVICE_MAY_MIGRATE 13

/**
 * hmm_advise() - tell how a range will be used.
 * @addr, @length: bytes; widened to whole pages, all of them mapped.
 * @advice: HMM_ADVICE_*.
 * @target: for PREFERRED as hmm_migrate() takes it, for (NOT_)ACCESSED_BY a device index; else
 *          ignored.
 *
 * Advice holds for addresses, whatever is mapped there later, until its opposite is given or the
 * last handle is closed; a forked child starts without any. No advice changes what is in memory.
 * With NO_MIGRATE hmm_migrate() to a device leaves the pages out, uncounted; a device that faults
 * on a page of it, private or of a mapped file, gets no access (emulated), or takes it none the
 * less (drm).
 *
 * Return: 0, or -EINVAL (zero or wrapping length, unknown advice or target), -EFAULT (a page is
 * unmapped), -ENODEV (ACCESSED_BY a device that is gone), -ENOMEM, -EPERM (forked child). With
 * NO_MIGRATE and ACCESSED_BY the advice is kept also when pages could not be brought home
 * (-ENOMEM), or a shared mapping not be mapped (an errno of opening its file).
 * Blocks while pages come home. Inverse: the advice's opposite.
 */
int hmm_advise(struct hmm *h, void *addr, size_t length, int advice, int target);

/**
 * hmm_device_read() - load from a range as the device would, through the
 * device's page table, faulting pages in; hmm_device_write() stores.
 * @buffer: any memory of the caller, at least @length bytes.
 * Return: bytes done; short only before an invalid page (unmapped, without the access that its
 * mapping must allow now, or one that may not go to the device), -EFAULT if that is the first;
 * -EINVAL (zero or wrapping length, @buffer NULL, no such device), -ENODEV, -ENOMEM, -EPERM.
 * One call at a time for each device; others wait.
 */
long hmm_device_read(struct hmm *h, int device, const void *addr, void *buffer, size_t length);
long hmm_device_write(struct hmm *h, int device, void *addr, const void *buffer, size_t length);

/**
 * hmm_map_file() - map a part of a file so that its pages can be on a device.
 * @fd:     a regular file; it may be closed afterwards.
 * @offset: a multiple of the page size. @length: bytes, not more than to the end of the file
 *          is useful: a touch beyond its last page is SIGBUS, as mmap(2) gives it.
 * @prot:   PROT_READ, with PROT_WRITE if the file is open for both.
 * @flags:  0 (shared), or HMM_MAP_COHERENT: what other processes read(2) and write(2), through the
 *          mount that the file was opened on, must be what the device has, at any time.
 * @addr:   receives the address, of a whole page; untouched on failure.
 *
 * What the CPU or a device stores there reaches the file, at the latest with hmm_sync(), and
 * pages may be on a device meanwhile, and afterwards. The kernel driver needs files that were
 * opened on hmmfs (docs/kernel-driver.md); the emulated backend maps every file, never
 * coherently: see hmm_map_file(3) for when others see what.
 *
 * Return: 0, or -EINVAL (zero or wrapping length, offset, prot, unknown flag, NULL), -EBADF,
 * -EACCES (the descriptor is not open for what @prot asks), -EOPNOTSUPP (not a regular file, or
 * this backend has no way to take it to a device), -EXDEV (it has, but not coherently),
 * -EOVERFLOW, -ENOMEM, -EMFILE, -ENFILE, -EAGAIN (no thread), -EPERM (forked child; or the file's
 * seals).
 */
int hmm_map_file(struct hmm *h, int fd, off_t offset, size_t length, int prot, unsigned int flags,
		 void **addr);

/* hmm_map_file(): coherent for all that open the file where @fd was opened, or -EXDEV. */
#define HMM_MAP_COHERENT 0x1u

/**
 * hmm_unmap() - end a mapping of hmm_map_file(), or a part of it in whole pages.
 * What was stored stays the file's; hmm_sync() first makes it durable, and tells of errors.
 * Return: 0, or -EINVAL (zero or wrapping length, or a page that hmm_map_file() did not map:
 * nothing is unmapped then), -ENOMEM, -EPERM.
 */
int hmm_unmap(struct hmm *h, void *addr, size_t length);

/**
 * hmm_sync() - write what the CPU and devices stored in a mapped file, and wait.
 * @addr, @length: a part of what hmm_map_file() mapped. @flags: 0.
 *
 * Pages stay where they are: those on a device are written from there through bounce pages.
 * Return: 0 when every byte stored before the call is on stable storage. -EIO, -ENOSPC,
 * -EDQUOT, -EROFS and others: the file's filesystem could not; the pages stay dirty, and a later
 * call that returns 0 has written all of them. -EINVAL (as hmm_unmap()), -ENOMEM, -EPERM.
 */
int hmm_sync(struct hmm *h, void *addr, size_t length, unsigned int flags);

/** hmm_version() - "major.minor.patch" of the library. */
const char *hmm_version(void);

#ifdef __cplusplus
}
#endif

#endif /* HMM_HMM_H */

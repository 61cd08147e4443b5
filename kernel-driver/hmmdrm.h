/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Device-private memory for the pages of processes (Documentation/mm/hmm.rst).
 *
 * Locks, outermost first; the kernel's own in brackets:
 *   [an engine's mmap_lock or VMA lock]
 *   [its client's mmap_lock]	taken nested: an engine's mm is never a client's
 *   [page locks of a migration; a folio's lock in hmmfs]
 *   client->lock		the engine's page table against what the notifier announces
 *   [the engine mapping's i_mmap_rwsem, page table locks]
 *   hmmdrm_mms_lock		leaf
 *   hd->lock			leaf, spinlock: free frames, LRU
 */
#ifndef HMMDRM_H
#define HMMDRM_H

#include <drm/drm_ioctl.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/memremap.h>
#include <linux/mm_types.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/xarray.h>

#include "provider.h"

#define HMMDRM_MAX_DEVICES 8
#define HMMDRM_BATCH 512      /* pages of one migrate_vma_setup() */
#define HMMDRM_FAULT_PAGES 16 /* neighbours that a fault takes along */

struct drm_device;
struct drm_file;
struct mem_cgroup;
struct migrate_vma;

enum hmmdrm_stat {
	HMMDRM_TO_DEVICE,
	HMMDRM_TO_SYSTEM,
	HMMDRM_EVICTED,
	HMMDRM_CPU_FAULTS,
	HMMDRM_DEVICE_FAULTS,
	HMMDRM_REMOTE,
	HMMDRM_NR_STATS
};

struct hmmdrm_frame {
	struct list_head link; /* hd->free or hd->lru */
	struct list_head rmap; /* rmap.c; of a file's frame */
};

struct hmmdrm_device {
	unsigned int index;
	const struct hmmdrm_device_ops *ops;
	void *provider;
	struct dev_pagemap pagemap;
	struct resource *resource;
	unsigned long nr_frames, first_pfn;
	struct hmmdrm_frame *frames;
	spinlock_t lock;
	struct list_head free, lru; /* locking: lock */
	unsigned long nr_free;      /* neither used nor promised; locking: lock */
	unsigned long hand;         /* where hmmdrm_evict_group() goes on; several may move it */
	atomic64_t stat[HMMDRM_NR_STATS];
};

#define HMMDRM_CHANGES 256

/* One for each open of the node. */
struct hmmdrm_client {
	struct kref users;                     /* the open node and the engines' descriptors */
	struct kref ref;                       /* its memory: users, and each engine */
	struct mm_struct *mm;                  /* grabbed */
	struct mmu_interval_notifier notifier; /* of the whole address space */
	struct mutex lock;
	struct list_head engines; /* locking: lock */
	/* What the notifier announced last; locking: lock, but nr_changes is read without. */
	unsigned long nr_changes;
	struct {
		unsigned long start, end;
	} change[HMMDRM_CHANGES];
	struct list_head node;         /* of all; locking: hmmdrm_mms_lock */
	struct xarray remote, refused; /* remote.c; by page number */
	struct list_head group;        /* pressure.c */
};

/* One for each DRM_IOCTL_HMM_ENGINE_CREATE; closed with its descriptor. */
struct hmmdrm_engine {
	struct kref ref;
	struct hmmdrm_client *client; /* referenced */
	struct hmmdrm_device *hd;
	struct mm_struct *mm;          /* grabbed by the first mmap; locking: hmmdrm_mms_lock */
	struct address_space *mapping; /* NULL when it is closed; locking: client->lock */
	struct list_head link;         /* client->engines */
	struct list_head node;         /* of all; locking: hmmdrm_mms_lock */
};

/* device.c */
extern unsigned int hmmdrm_devices;
struct hmmdrm_device *hmmdrm_device_get(unsigned int index);
int hmmdrm_devices_init(unsigned int devices, unsigned long bytes);
void hmmdrm_devices_exit(void);
static inline void hmmdrm_count(struct hmmdrm_device *hd, enum hmmdrm_stat s, long n)
{
	atomic64_add(n, &hd->stat[s]);
}

/* frame.c */
extern int hmmdrm_owner; /* its address is dev_pagemap.owner */
int hmmdrm_frames_init(struct hmmdrm_device *hd);
void hmmdrm_frames_exit(struct hmmdrm_device *hd);
bool hmmdrm_is_frame(const struct page *page);
struct hmmdrm_device *hmmdrm_frame_device(const struct page *page);
/* Promise frames, evicting for them; may sleep. 0 or -ENOMEM. */
int hmmdrm_frames_reserve(struct hmmdrm_device *hd, unsigned long pages);
void hmmdrm_frames_unreserve(struct hmmdrm_device *hd, unsigned long pages);
/* One that was promised: locked, one reference. */
struct page *hmmdrm_frame_alloc(struct hmmdrm_device *hd);
int hmmdrm_copy_to_device(struct page *dpage, struct page *spage);
int hmmdrm_copy_from_device(struct page *spage, struct page *dpage);
unsigned long hmmdrm_frame_pfn(struct page *dpage);
void hmmdrm_frame_touch(struct page *dpage);
/* Page number @frame, modulo how many there are, if @memcg is charged for it; with a reference. */
struct page *hmmdrm_frame_get_of(struct hmmdrm_device *hd, unsigned long frame,
				 struct mem_cgroup *memcg);
/* Page frame numbers of the least recently used. They may be anything by now: look again. */
unsigned int hmmdrm_frames_oldest(struct hmmdrm_device *hd, unsigned long *pfn, unsigned int max);
unsigned long hmmdrm_frames_resident(struct hmmdrm_device *hd);

struct list_head *hmmdrm_frame_rmap(struct page *dpage);

/* rmap.c: the engines that map a frame of a file. Locking: the frame's folio. */
int hmmdrm_rmap_add(struct page *dpage, struct hmmdrm_engine *engine, unsigned long addr);
void hmmdrm_frame_revoke(struct page *dpage);
void hmmdrm_frames_write_protect(struct page **dpage, unsigned int n);

/* remote.c: pages of the system that engines were given where they are. No locks; note() may sleep.
 */
int hmmdrm_remote_note(struct hmmdrm_client *client, unsigned long addr, unsigned long pfn);
int hmmdrm_remote_reserve(struct hmmdrm_client *client, unsigned long addr);
void hmmdrm_remote_taken(struct hmmdrm_client *client, unsigned long addr, unsigned long pfn);
bool hmmdrm_remote_is_taken(struct hmmdrm_client *client, unsigned long addr, unsigned long *pfn);
void hmmdrm_remote_forget(struct hmmdrm_client *client, unsigned long start, unsigned long end,
			  bool keep_exclusive);
bool hmmdrm_remote_at(struct hmmdrm_client *client, unsigned long addr, bool present,
		      unsigned long *pfn);
/* Pages that others hold, so that a migration left them; until the CPU's entry changes. */
void hmmdrm_refused_note(struct hmmdrm_client *client, unsigned long addr, unsigned long pfn);
bool hmmdrm_refused_at(struct hmmdrm_client *client, unsigned long addr, unsigned long pfn);

/* evict.c: how many frames came free. */
unsigned long hmmdrm_evict(struct hmmdrm_device *hd, unsigned long pages);
void hmmdrm_evict_all(void);
/* Those that @memcg is charged for; of files only if @files. From within its reclaim. */
unsigned long hmmdrm_evict_group(struct hmmdrm_device *hd, struct mem_cgroup *memcg,
				 unsigned long pages, bool files);

/* pressure.c */
int hmmdrm_pressure_init(void);
void hmmdrm_pressure_exit(void);
struct hmmdrm_client *hmmdrm_client_alloc(void);
void hmmdrm_client_free(struct hmmdrm_client *client);

/*
 * anon.c: pages of one VMA. Locking: the client's mmap_lock, shared.
 * @only_hole: the one never-touched page to take along, or all of them.
 */
#define HMMDRM_ALL_HOLES (~0ul)
/* How many pages went there, or -errno. */
long hmmdrm_to_device(struct hmmdrm_device *hd, struct vm_area_struct *vma, unsigned long start,
		      unsigned long end, unsigned long only_hole);
/* How many pages came home, or -errno. */
long hmmdrm_to_system(struct vm_area_struct *vma, unsigned long start, unsigned long end,
		      struct page *fault_page);
vm_fault_t hmmdrm_migrate_to_ram(struct vm_fault *vmf);
/* 0, -EFAULT or -EOPNOTSUPP. */
int hmmdrm_can_migrate(struct vm_area_struct *vma);

/* client.c */
int hmmdrm_client_open(struct drm_device *drm, struct drm_file *file);
void hmmdrm_client_postclose(struct drm_device *drm, struct drm_file *file);
/* The last user's: may sleep, and waits for invalidations of the client's. No locks held. */
void hmmdrm_client_close(struct hmmdrm_client *client);
void hmmdrm_client_put(struct hmmdrm_client *client);
/*
 * Has the CPU's page table changed in [start, end) since @since changes were announced? That was
 * read before mmu_interval_read_begin(). Locking: client->lock.
 */
bool hmmdrm_client_changed(const struct hmmdrm_client *client, unsigned long since,
			   unsigned long start, unsigned long end);
struct hmmdrm_client *hmmdrm_client_of(struct drm_file *file); /* NULL: not the caller's */
int hmmdrm_engine_bind(struct hmmdrm_engine *engine, struct mm_struct *mm);
void hmmdrm_engine_unbind(struct hmmdrm_engine *engine);
void hmmdrm_engine_link(struct hmmdrm_engine *engine);

/* engine.c */
void hmmdrm_engine_put(struct hmmdrm_engine *engine);
int hmmdrm_engine_create(struct hmmdrm_client *client, struct hmmdrm_device *hd);
/* No engine page table entry of [start, end) when it returns. Locking: client->lock. */
void hmmdrm_engine_zap(struct hmmdrm_engine *engine, unsigned long start, unsigned long end);

/* engine_fault.c */
extern const struct vm_operations_struct hmmdrm_engine_vm_ops;

/* ioctl.c */
extern const struct drm_ioctl_desc hmmdrm_ioctls[];
extern const int hmmdrm_nr_ioctls;

/* main.c: fences left out, for the tests that must be seen to fail. */
#define HMMDRM_SKIP_PROTECT 1u
#define HMMDRM_SKIP_REVOKE 2u
#define HMMDRM_SKIP_UPTODATE 4u
#define HMMDRM_SKIP_COLLECT 8u
#define HMMDRM_SKIP_SEQUENCE 16u
#define HMMDRM_SKIP_UNMAP 32u
#define HMMDRM_SKIP_HOLE 64u
#define HMMDRM_SKIP_MARK 128u
#define HMMDRM_SLOW_LEAVE 256u /* skips nothing: time for what the mark keeps away */
#define HMMDRM_SKIP_OTHERS 512u
#define HMMDRM_DIRECT 1024u /* skips nothing: single pages, too, are written past the lower cache */
#ifdef HMMDRM_SELFTEST
extern unsigned int hmmdrm_skip_fence;
#else
#define hmmdrm_skip_fence 0u
#endif

#endif /* HMMDRM_H */

/* SPDX-License-Identifier: MIT */
/*
 * The emulated backend: what its files share.
 *
 * Locks, outermost first (docs/locking.md):
 *   emu.mirror      shared: to change pages of a block; exclusive: to read events of
 *                   the client's userfaultfd and act on them, to detach by copying
 *   block->lock     one at a time, others only by trylock
 *   device mailbox  to talk to the engine's agents
 *   lru             leaf
 */
#ifndef HMM_EMULATED_EMU_H
#define HMM_EMULATED_EMU_H

#include <stdatomic.h>
#include <stdbool.h>

#include "core/advice.h"
#include "core/backend.h"
#include "core/block.h"
#include "core/window.h"
#include "device/proc.h"
#include "emulated/uffd.h"
#include "os/lock.h"
#include "os/log.h"
#include "os/maps.h"
#include "os/sys.h"

#define EMU_REFUSED 64

/* A device access that was invalid when a thread of the engine asked for it first. */
struct emu_refused {
	uintptr_t addr;
	uint32_t tid;
	uint64_t at; /* ns */
};

struct emu_device {
	unsigned int index;
	struct hmm_proc proc;
	int memory_fd; /* locking of the two: mirror; exclusively to close them */
	_Atomic int uffd;
	struct os_mutex agent_lock[2];
	uint64_t capacity;                       /* pages */
	_Atomic int64_t frames;                  /* pages of device memory in use or promised */
	struct emu_refused refused[EMU_REFUSED]; /* locking: proc.fault_lock */
	_Atomic bool has_copies;            /* of read-only memory, made since the last launch */
	_Atomic unsigned int copies_voided; /* how often copies of constants became void */
	struct emu_remote *remotes;         /* locking: remote_lock */
	_Atomic uint64_t stat[8];
};

enum emu_stat {
	EMU_TO_DEVICE,
	EMU_TO_SYSTEM,
	EMU_CPU_FAULTS,
	EMU_DEVICE_FAULTS,
	EMU_EVICTED,
	EMU_REMOTE,
	EMU_ACROSS, /* of EMU_TO_DEVICE: straight from another device */
};

struct emu {
	bool running;
	bool move; /* UFFDIO_MOVE, else write-protect and copy */
	enum hmm_policy policy;
	bool user_only; /* kernel accesses to migrated pages fail */
	int client;     /* userfaultfd of migratable memory and of staging, with events */
	struct os_rwlock mirror;
	struct hmm_table table;
	unsigned int devices;
	struct emu_device device[HMM_MAX_DEVICES];
	struct os_mutex window_lock;
	struct hmm_window cpu_window, device_window;
	_Atomic uint32_t hold;         /* forks under way: nothing goes to a device */
	_Atomic uint64_t staged_pages; /* frames kept in staging slots */
	/* In here, so that a forked child starts with all of them free. */
	struct os_mutex windows_lock, remote_lock; /* leaves */
	struct os_mutex guard_lock, restart_lock;  /* outer */
	/* Fences, for the tests only: left out; where others may come, time is made for them. */
	unsigned int test_skip, test_widen;
};

extern struct emu emu;

/* Without one of them, in emu.test_skip: */
#define EMU_FENCE_DEVICE 1u      /* the device's view is not revoked before copying home */
#define EMU_FENCE_CLIENT 2u      /* the page is not detached before copying out */
#define EMU_FENCE_SHARED 4u      /* devices' copies are not dropped before the CPU stores */
#define EMU_FENCE_WRITE 8u       /* a file's page is not write-protected before copying it */
#define EMU_FENCE_ARRIVAL 16u    /* events are not asked whose page was taken */
#define EMU_FENCE_ORIGIN 32u     /* nor what was where it came from */
#define EMU_FENCE_BACK 64u       /* what was taken of another mapping is not given back */
#define EMU_FENCE_REFUSED 128u   /* a page that may be protected is touched with locks held */
#define EMU_FENCE_HELD 256u      /* copies are put back though an event was read */
#define EMU_FENCE_HELPER 512u    /* who helps to write a file is not waited for */
#define EMU_FENCE_ASLEEP 1024u   /* events are read though a taker may only be slow */
#define EMU_FENCE_UNMAPPED 2048u /* what was read of a file while nobody mapped it is kept */
#define EMU_FENCE_CLOSING 4096u  /* stores to a file that is being closed are allowed */
#define EMU_FENCE_LATE 8192u     /* a file is forgotten though a device has pages of it */
#define EMU_FENCE_USERS 16384u   /* files are closed though handlers use them */
#define EMU_FENCE_MOVED 32768u   /* faults where there is no block are served without one */
#define EMU_FENCE_OLD 65536u     /* an old fault is served where a file is mapped by now */
#define EMU_FENCE_FIRST 131072u  /* (there is no going without the lock of the first mapping) */
/* What is taken, and waits in the middle. */
#define EMU_FENCES_TAKEN \
	(EMU_FENCE_ARRIVAL | EMU_FENCE_ORIGIN | EMU_FENCE_BACK | EMU_FENCE_HELD | EMU_FENCE_ASLEEP)

static inline void emu_count(struct emu_device *d, enum emu_stat s, uint64_t n)
{
	atomic_fetch_add_explicit(&d->stat[s], n, memory_order_relaxed);
}

static inline bool emu_device_up(struct emu_device *d)
{
	return hmm_proc_up(&d->proc);
}

/*
 * Internal results beside errnos: who gets one lets go of every lock, does what it
 * says, and tries again.
 */
#define EMU_DRAIN (-1001)     /* an event is pending: emu_events_drain() */
#define EMU_EXCLUSIVE (-1002) /* take the mirror exclusively */
#define EMU_NO_ROOM (-1003)   /* every victim was busy: yield */
#define EMU_WAIT (-1004)      /* the application is discarding these pages: yield */

#define EMU_TRACK_CLIENT (UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP)

/* windows.c: Locking: block->lock or mirror exclusively. NULL: out of memory. */
char *emu_alias(struct hmm_block *b, unsigned int dev, unsigned int i);
char *emu_staging(struct hmm_block *b, unsigned int i);
void emu_drop_staged(struct hmm_block *b, unsigned int i, unsigned int end);
/*
 * Staged frames of pages that are home: when there are some, or nothing of the block is on a device.
 */
void emu_drop_leftovers(struct hmm_block *b);
void emu_windows_unmap_device(unsigned int dev);
void emu_windows_unmap(void);
bool emu_windows_contain(uintptr_t start, uintptr_t end);

/* engine_map.c: the device page table. Locking: as above. */
void emu_engine_map(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end);
/* The same, and what writes there faults. */
void emu_engine_map_to_read(struct hmm_block *b, struct emu_device *d, unsigned int i,
			    unsigned int end);
void emu_engine_track(struct hmm_block *b, struct emu_device *d);
void emu_engine_zap(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end);
void emu_frames_free(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end);
/* What the device has of these pages, to @to: cheaper than the alias for a few. */
bool emu_frames_read(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end,
		     char *to);

/*
 * reserve.c: promise @pages of device memory, evicting where needed.
 * Locking: mirror (shared or exclusively), no block. 0, EMU_NO_ROOM, EMU_DRAIN, -ENOMEM.
 */
int emu_reserve(struct emu_device *d, unsigned int pages);
void emu_unreserve(struct emu_device *d, unsigned int pages);
/*
 * What the device has of pages [i, end) leaves it, or is dropped. 0, EMU_NO_ROOM (nothing left), or
 * as emu_to_system(). Locking: mirror, b->lock.
 */
int emu_evict(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end);

/*
 * Move pages [i, end) of a block. Locking: mirror and block->lock.
 * to_device: enough is reserved; *used counts the frames newly taken from it.
 * Return: 0 (pages that could not move are marked pinned), EMU_*, or -errno.
 */
int emu_to_device(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end,
		  bool exclusive, bool streaming, unsigned int *used);
int emu_to_system(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end,
		  bool streaming);
/*
 * For a CPU that waits for the first of them: what need not be done before it goes on is left for
 * emu_drop_leftovers().
 */
int emu_to_cpu(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end);

/* Where the program has pages of [i, end), for a trace; 0: nowhere any more. Locking: mirror. */
uintptr_t emu_address(const struct hmm_block *b, unsigned int i, unsigned int end);

/* Called before owners of pages of the block change. Locking: as above. */
static inline void emu_changing(struct hmm_block *b)
{
	__atomic_store_n(&b->changing_at, os_now_ns(), __ATOMIC_RELEASE);
}

/* No holes? */
bool emu_is_mapped(uintptr_t start, uintptr_t end);

/* kernel_used.c: note what the kernel itself needs of [i, end). 0 or -ENOMEM. Locking: as above. */
void emu_kernel_used_init(void);
int emu_find_kernel_used(struct hmm_block *b, unsigned int i, unsigned int end);

/* What emu_take() took: readable at @at, holes as zeros. */
struct emu_taken {
	char *at;
	size_t len;
	uint64_t map[HMM_BLOCK_PAGES]; /* the pages' pagemap entries */
};

/* detach.c: take pages out of the client. Locking: as emu_to_device(). */
int emu_detach(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end,
	       bool exclusive, bool streaming, struct hmm_bits *out);

/* range.c: whole operations; no lock held on entry. */
/* A device's fault: the moves of its page as the message was read, and whether it only reads. */
struct emu_touch {
	uint8_t moves;
	bool reads;
};
/* @touch: NULL, or of page @i: nothing leaves once its owner has changed since. */
int emu_block_out(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end,
		  bool streaming, const struct emu_touch *touch);
int emu_block_home(struct hmm_block *b, unsigned int i, unsigned int end, bool streaming);
int emu_home_device(struct emu_device *d);
long emu_migrate(uintptr_t start, uintptr_t end, int target);
/* Kind of memory of every page of a range: 0, -EFAULT, -EOPNOTSUPP or -EACCES. */
int emu_check_range(uintptr_t start, uintptr_t end);
/* Every page mapped at all: what a query asks, and a migration to the system. 0 or -EFAULT. */
int emu_check_mapped(uintptr_t start, uintptr_t end);
/* How many bytes from @addr, at most @length, their mappings allow to read, or to write. */
size_t emu_accessible(uintptr_t addr, size_t length, bool write);

/* advice.c */
/* Must the page stay in the system, whatever a device's fault wants? */
bool emu_is_kept(uintptr_t addr);
#define EMU_WHY_KEPT "HMM_MIGRATE, or its advice, keeps the page in system memory"
/*
 * Pages to bring along with a fault: at most to the end of the block, of which @at is the address
 * of the page; @addr, where it was touched, is another one in a mapped file. @place: a device, or
 * HMM_SYSTEM. Locking: leaves.
 */
unsigned int emu_window(struct hmm_window *w, uintptr_t addr, uintptr_t at, int place,
			unsigned int first);
/* Evict pages that were advised to go first; 0 (some went), EMU_NO_ROOM, or as emu_reserve(). */
int emu_evict_advised(struct emu_device *d); /* locking: mirror, no block */
/* Is the device the preferred location of a page of the block? Locking: mirror. */
bool emu_is_preferred(const struct hmm_block *b, const struct emu_device *d);
int emu_advised(uintptr_t start, uintptr_t end, int advice, int target);

/*
 * share.c: copies of pages on devices, to read. Locking but for the last two: as emu_to_device().
 * emu_share: what the device owns of [i, end) and was advised so goes home, and stays there to
 * read. 0, EMU_DRAIN, or -errno.
 */
int emu_share(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end);
/* The same of a run that the device owns, advised or not. The client's pages are write-protected. */
int emu_share_run(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end);
void emu_unshare(struct hmm_block *b, unsigned int i, unsigned int end);
/* Is there a copy that was advised? */
bool emu_keeps_shared(const struct hmm_block *b);
/* Where the copies from @i on end that nobody advised, at least i + 1. */
unsigned int emu_shared_run(const struct hmm_block *b, unsigned int i, unsigned int end);
bool emu_is_shared(const struct hmm_block *b, unsigned int i, unsigned int end);
/* The same for one more device. False: there is no copy. No lock held. */
bool emu_share_again(struct hmm_block *b, struct emu_device *d, unsigned int i);
int emu_unshare_range(uintptr_t start, uintptr_t end);

/* query.c: one entry a page. 0 or -errno. */
int emu_query(uintptr_t start, uintptr_t end, struct hmm_page_status *status);

/* events.c */
void emu_events_drain(void); /* no lock held */
/*
 * For a handler, without a lock: what waits up to the first fault, and some of what follows. True:
 * that fault is for the caller to serve, on the CPU that waits for it; others are queued.
 */
bool emu_events_next(struct uffd_msg *fault, uint8_t *homes);
/* The mirror lock, exclusively; unlocking first acts on the events read meanwhile. */
void emu_exclusive_lock(void);
void emu_exclusive_unlock(void);
bool emu_events_read(void); /* one, or a fault. Locking: mirror exclusively */
bool emu_events_held(void); /* read, and to be acted upon. Locking: as above */
/*
 * Of a page that was taken there, and is write-protected: has an mremap() of the application put it
 * there since the last look? Locking: as above
 */
bool emu_has_arrived(uintptr_t addr);
/* What an mremap() of the application has put at @addr, and we have taken. Locking: as above. */
void emu_put_back(uintptr_t addr, const char *src);
void emu_events_forget(void); /* in a forked child */

/*
 * take.c: what a private mapping of the client holds, into our own mapping. Locking: mirror
 * exclusively, and no event is held. The caller ends it by emu_taken_drop(), also after an error.
 */
int emu_take(uintptr_t start, size_t len, struct emu_taken *t);
void emu_taken_drop(struct emu_taken *t);
/* MADV_DONTNEED of a page of the client. 0, or -EAGAIN: an event is pending. Locking: as above. */
int emu_discard_page(uintptr_t addr);
bool emu_take_announced(const struct uffd_msg *m); /* is the event about one of these two? */
bool emu_take_contains(uintptr_t start, uintptr_t end);
int emu_taker_start(void);
void emu_taker_stop(void);
void emu_taker_forget(void); /* in a forked child */

/* discards.c: an event announced that the application discards. Locking: mirror exclusively. */
void emu_discard_announced(uintptr_t start, uintptr_t end);
/* May pages of the range still be discarded? Locking: mirror, and no event is pending. */
bool emu_discard_under_way(uintptr_t start, uintptr_t end);
void emu_discards_forget(void); /* in a forked child */

/* handlers.c */
int emu_handlers_start(void);
void emu_handlers_stop(void);
void emu_handlers_forget(void); /* in a forked child */
/*
 * Device -1: the client's. @seen: emu_homes(), or emu_moves() of a device's, as it was read;
 * @generation: of the device's engine.
 */
void emu_queue_fault(int device, const struct uffd_msg *msg, uint8_t seen, unsigned int generation);
void emu_kick(void);

/*
 * prefetch.c: a CPU's fault brings @window pages home; what follows from @start on, too, if it goes
 * on like that. @addr: where the program has that, for its advice. Locking: leaves.
 */
void emu_prefetch(struct hmm_window *w, uintptr_t start, uintptr_t addr, unsigned int window);
int emu_prefetch_start(void);
void emu_prefetch_stop(void);
void emu_prefetch_forget(void); /* in a forked child */

/* fault_cpu.c, fault_device.c: one fault, from message to wake-up. */
void emu_dwell(const struct hmm_block *b); /* hold ping-pong back; no lock held */
void emu_untrack_all(void);                /* everything is home, and nothing goes out again */
void emu_cpu_fault(const struct uffd_msg *msg, uint8_t homes);
uint8_t emu_homes(uintptr_t addr); /* locking: mirror */
uint8_t emu_moves(uintptr_t addr);
void emu_device_fault(struct emu_device *d, const struct uffd_msg *msg, uint8_t moves,
		      unsigned int generation);
/* Has a page of the block changed its owner, or begun to, after @since? */
bool emu_changed_since(uintptr_t addr, uint64_t since);

/* private_file.c: make a writable private file mapping anonymous. 0 or -errno. */
int emu_make_anonymous(const struct os_vma *vma);
void emu_make_all_anonymous(void);

/* remote.c: memory that stays with the CPU. */
int emu_remote_map(struct emu_device *d, const struct os_vma *vma);
void emu_remote_revalidate(struct emu_device *d);
void emu_remote_forget(struct emu_device *d);
bool emu_remote_contains(struct emu_device *d, uintptr_t addr);
int emu_copy_read_only(struct emu_device *d, uintptr_t addr);

/* engine_proc.c */
int emu_engine_start(struct emu_device *d);
void emu_engine_stop(struct emu_device *d);
void emu_engine_died(struct emu_device *d);
void emu_device_wake(struct emu_device *d, uintptr_t addr, size_t len); /* no lock held */
/* Locking: mirror, and the device was found up under it. */
int emu_engine_agent(struct emu_device *d, uint32_t op, uintptr_t start, size_t len);
long emu_device_io(unsigned int device, uintptr_t addr, char *buffer, size_t length, bool write);

/* fork.c */
void emu_fork_init(void);

#endif /* HMM_EMULATED_EMU_H */

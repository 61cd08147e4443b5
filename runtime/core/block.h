/* SPDX-License-Identifier: MIT */
/*
 * The page states of the process: a table of 2 MiB blocks found by address, and for
 * each device the blocks that hold its frames, by recency.
 *
 * A page has one owner: the system or one device. docs/design.md draws the states.
 */
#ifndef HMM_CORE_BLOCK_H
#define HMM_CORE_BLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "core/bits.h"
#include "os/lock.h"

#define HMM_PAGE_SHIFT 12
#define HMM_PAGE_BYTES 4096ul
#define HMM_BLOCK_SHIFT 21
#define HMM_BLOCK_BYTES (1ul << HMM_BLOCK_SHIFT)
#define HMM_SPAN_SHIFT 26 /* alias and staging windows are made in spans of 64 MiB */
#define HMM_SPAN_BYTES (1ul << HMM_SPAN_SHIFT)
#define HMM_SPAN_BLOCKS (HMM_SPAN_BYTES / HMM_BLOCK_BYTES)
#define HMM_VA_BITS 47
#define HMM_MAX_DEVICES 8

#define HMM_OWNER_SYSTEM 0
#define HMM_OWNER_DEVICE(d) ((uint8_t)((d) + 1))

/* What one device holds of a block. */
struct hmm_block_device {
	struct hmm_bits frames; /* backed by a device frame, resident or recycled */
	struct hmm_bits copies; /* read-only copies of pages that stay with the CPU */
	struct hmm_bits shared; /* copies, to read, of pages that the system owns */
	unsigned int resident;  /* pages whose owner this device is */
	bool native;            /* mapped without fault tracking: all 512 are resident */
	bool on_lru;
	struct hmm_block *newer, *older;
};

struct hmm_block {
	struct os_mutex lock;
	uintptr_t start;
	struct hmm_span *span;
	struct emu_fblock *file;     /* it stands for pages of a mapped file, else NULL */
	uint64_t moved_at;           /* ns; a page of it last came to a device: the dwell time */
	uint64_t changing_at;        /* ns; when a change of owner last began */
	struct hmm_bits registered;  /* pages of live, tracked mappings */
	struct hmm_bits staged;      /* staging slot may hold a frame */
	struct hmm_bits pinned;      /* refused its last migration */
	struct hmm_bits kernel_used; /* must stay where the kernel can fault on nothing */
	struct hmm_bits protected;   /* the client's page is there and may be write-protected */
	struct hmm_bits read_only;   /* mapping had no write access when it migrated */
	uint16_t leftovers;          /* staged frames, about, of pages that are home */
	uint8_t alone;               /* CPU faults that are to leave no copy on the device */
	uint8_t owner[HMM_BLOCK_PAGES];
	uint8_t homes[HMM_BLOCK_PAGES]; /* how often it left a device for the system, modulo 256 */
	uint8_t moves[HMM_BLOCK_PAGES]; /* how often its owner changed, modulo 256 */
	struct hmm_block_device dev[HMM_MAX_DEVICES];
};

struct hmm_span {
	uintptr_t start;
	char *alias[HMM_MAX_DEVICES]; /* device memory of these addresses, CPU-addressable */
	char *staging;                /* system frames in transit, slot = address */
	struct hmm_block *block[HMM_SPAN_BLOCKS];
	struct hmm_span *next; /* all spans */
};

struct hmm_lru {
	struct os_mutex lock; /* leaf */
	struct hmm_block *oldest, *newest;
};

#define HMM_REGION_SHIFT 36 /* what hmm_block_next() skips as one when it is empty */

struct hmm_table {
	uint8_t used[1u << (HMM_VA_BITS - HMM_REGION_SHIFT)]; /* region has spans */
	struct hmm_span **top;                                /* by address >> HMM_SPAN_SHIFT */
	struct hmm_span *spans;
	struct os_mutex lock; /* growth; look-ups take no lock */
	struct hmm_lru lru[HMM_MAX_DEVICES];
};

int hmm_table_init(struct hmm_table *t);
void hmm_table_exit(struct hmm_table *t); /* frees blocks and spans, not their windows */

/* NULL when the block was never made. Lock-free. */
struct hmm_block *hmm_block_find(struct hmm_table *t, uintptr_t addr);
/* Made if missing; NULL when out of memory. */
struct hmm_block *hmm_block_get(struct hmm_table *t, uintptr_t addr);
/* First block that exists in [addr, end), else NULL. Lock-free. */
struct hmm_block *hmm_block_next(struct hmm_table *t, uintptr_t addr, uintptr_t end);

/*
 * Locking: the block's, or the mirror's exclusively. Changes of owner keep
 * dev[].resident right.
 */
void hmm_block_set_owner(struct hmm_block *b, unsigned int i, uint8_t owner);
unsigned int hmm_block_resident(const struct hmm_block *b); /* over all devices */
/* First page in [i, end) that is not @owner's, else @end. */
unsigned int hmm_block_owner_run(const struct hmm_block *b, unsigned int i, unsigned int end,
				 uint8_t owner);

void hmm_lru_touch(struct hmm_table *t, struct hmm_block *b, unsigned int dev);
void hmm_lru_remove(struct hmm_table *t, struct hmm_block *b, unsigned int dev);
/*
 * The @skip-th oldest block of a device, locked by trylock; busy blocks are passed
 * over. NULL at the end. @recycled: only blocks with frames that no page owns.
 */
struct hmm_block *hmm_lru_victim(struct hmm_table *t, unsigned int dev, bool recycled,
				 unsigned int skip);

static inline unsigned int hmm_block_index(uintptr_t addr)
{
	return (unsigned int)(addr >> HMM_PAGE_SHIFT) & (HMM_BLOCK_PAGES - 1);
}

/* Without a lock, what was so a moment ago. */
static inline uint8_t hmm_block_owner(const struct hmm_block *b, unsigned int i)
{
	return __atomic_load_n(&b->owner[i], __ATOMIC_RELAXED);
}

static inline uintptr_t hmm_block_addr(const struct hmm_block *b, unsigned int i)
{
	return b->start + ((uintptr_t)i << HMM_PAGE_SHIFT);
}

#endif /* HMM_CORE_BLOCK_H */

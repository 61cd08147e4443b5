// SPDX-License-Identifier: MIT
/*
 * Device memory runs full: frames that are only kept for reuse go first, then the
 * pages of the least recently used block go home.
 */
#include "core/trace.h"
#include "emulated/file.h"

#include <errno.h>

static bool promise(struct emu_device *d, unsigned int pages)
{
	int64_t now = atomic_load(&d->frames);

	do {
		if (now + pages > (int64_t)d->capacity)
			return false;
	} while (!atomic_compare_exchange_weak(&d->frames, &now, now + pages));
	return true;
}

void emu_unreserve(struct emu_device *d, unsigned int pages)
{
	atomic_fetch_sub(&d->frames, pages);
}

/* Locking: b->lock. */
static void free_recycled(struct hmm_block *b, struct emu_device *d)
{
	struct hmm_block_device *n = &b->dev[d->index];
	uint8_t owner = HMM_OWNER_DEVICE(d->index);

	for (unsigned int i = 0; i < HMM_BLOCK_PAGES; i++) {
		unsigned int stop = i;

		while (stop < HMM_BLOCK_PAGES && b->owner[stop] != owner)
			stop++;
		if (stop > i)
			emu_frames_free(b, d, i, stop);
		i = stop;
	}
	hmm_bits_clear_range(&n->copies, 0, HMM_BLOCK_PAGES);
}

/* Locking: b->lock. */
static int evict(struct hmm_block *b, struct emu_device *d)
{
	unsigned int before = b->dev[d->index].resident;
	uint64_t began = hmm_trace_begin();
	unsigned int after;
	int err;

	if (b->file)
		emu_file_drop_clean(b, d);
	err = emu_to_system(b, d, 0, HMM_BLOCK_PAGES, false);
	after = b->dev[d->index].resident;

	emu_count(d, EMU_EVICTED, before - after);
	HMM_TRACE(HMM_TRACE_EVICT, evict, began, d->index, b->start, before - after);
	free_recycled(b, d);
	/* Pages that would not leave must not be the next victim again. */
	if (after)
		hmm_lru_touch(&emu.table, b, d->index);
	if (err)
		return err;
	return before == after ? EMU_NO_ROOM : 0;
}

/* The oldest, but blocks with pages that prefer this device only when there is no other. */
static struct hmm_block *victim(struct emu_device *d)
{
	struct hmm_block *b;

	for (unsigned int skip = 0; (b = hmm_lru_victim(&emu.table, d->index, false, skip));
	     skip++) {
		if (!hmm_advice_prefers(b->start, b->start + HMM_BLOCK_BYTES, (int)d->index))
			return b;
		os_mutex_unlock(&b->lock);
	}
	return hmm_lru_victim(&emu.table, d->index, false, 0);
}

int emu_reserve(struct emu_device *d, unsigned int pages)
{
	if (pages > d->capacity)
		return -ENOMEM;
	while (!promise(d, pages)) {
		struct hmm_block *b = hmm_lru_victim(&emu.table, d->index, true, 0);
		int err = 0;

		if (b) {
			free_recycled(b, d);
		} else {
			err = emu_evict_advised(d);
			b = err == EMU_NO_ROOM ? victim(d) : NULL;
			if (b)
				err = evict(b, d);
		}
		if (b)
			os_mutex_unlock(&b->lock);
		if (err)
			return err;
	}
	return 0;
}

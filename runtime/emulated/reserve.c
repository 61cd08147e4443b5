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
static void free_recycled(struct hmm_block *b, struct emu_device *d, unsigned int i,
			  unsigned int end)
{
	uint8_t owner = HMM_OWNER_DEVICE(d->index);

	hmm_bits_clear_range(&b->dev[d->index].copies, i, end);
	for (; i < end; i++) {
		unsigned int stop = i;

		while (stop < end && b->owner[stop] != owner)
			stop++;
		if (stop > i)
			emu_frames_free(b, d, i, stop);
		i = stop;
	}
}

int emu_evict(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end)
{
	unsigned int before = b->dev[d->index].resident;
	uint64_t began = hmm_trace_begin();
	unsigned int after;
	int err;

	if (b->file)
		emu_file_drop_clean(b, d, i, end);
	err = emu_to_system(b, d, i, end, false);
	after = b->dev[d->index].resident;

	emu_count(d, EMU_EVICTED, before - after);
	HMM_TRACE(HMM_TRACE_EVICT, evict, began, d->index, emu_address(b, i, end), before - after);
	free_recycled(b, d, i, end);
	if (err)
		return err;
	return before == after ? EMU_NO_ROOM : 0;
}

/* Locking: b->lock. */
static int evict_block(struct hmm_block *b, struct emu_device *d)
{
	int err = emu_evict(b, d, 0, HMM_BLOCK_PAGES);

	/* Pages that would not leave must not be the next victim again. */
	if (b->dev[d->index].resident)
		hmm_lru_touch(&emu.table, b, d->index);
	return err;
}

/* The oldest, but blocks with pages that prefer this device only when there is no other. */
static struct hmm_block *victim(struct emu_device *d)
{
	struct hmm_block *b;

	for (unsigned int skip = 0; (b = hmm_lru_victim(&emu.table, d->index, false, skip));
	     skip++) {
		if (!emu_is_preferred(b, d))
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
			free_recycled(b, d, 0, HMM_BLOCK_PAGES);
		} else {
			err = emu_evict_advised(d);
			b = err == EMU_NO_ROOM ? victim(d) : NULL;
			if (b)
				err = evict_block(b, d);
		}
		if (b)
			os_mutex_unlock(&b->lock);
		if (err)
			return err;
	}
	return 0;
}

// SPDX-License-Identifier: MIT
/*
 * Read-mostly pages, and single pages that the CPU has only read so far: the system owns a page,
 * and devices have copies of it to read. The client's page is write-protected and so are the
 * engines' entries, so whoever writes faults: the CPU's store drops the copies first, a device's
 * takes the page as any other.
 *
 * A copy begins as a migration, which a pinned page refuses: the kernel's own stores into one
 * (O_DIRECT) would pass the write-protection by. It then goes home without leaving the device.
 */
#include "core/trace.h"
#include "emulated/emu.h"
#include "os/enter.h"

#include <errno.h>

#define FEW 4 /* pages: a window of loads here and there */

void emu_unshare(struct hmm_block *b, unsigned int i, unsigned int end)
{
	for (unsigned int d = 0; d < emu.devices; d++) {
		const struct hmm_bits *shared = &b->dev[d].shared;
		unsigned int p = i, stop;

		while ((p = hmm_bits_find(shared, p, end, true)) < end) {
			stop = hmm_bits_find(shared, p, end, false);
			emu_frames_free(b, &emu.device[d], p, stop);
			p = stop;
		}
	}
}

bool emu_is_shared(const struct hmm_block *b, unsigned int i, unsigned int end)
{
	for (unsigned int d = 0; d < emu.devices; d++)
		if (hmm_bits_find(&b->dev[d].shared, i, end, true) < end)
			return true;
	return false;
}

int emu_share_run(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end)
{
	char *alias = emu_alias(b, d->index, i), few[FEW * HMM_PAGE_BYTES], *src = alias;
	uint64_t began = hmm_trace_begin();
	const unsigned int first = i;
	int err;

	if (!alias)
		return -ENOMEM;
	emu_engine_track(b, d);
	err = uffd_protect(d->uffd, hmm_block_addr(b, i), (end - i) * HMM_PAGE_BYTES, true);
	if (!err && end - i <= FEW && emu_frames_read(b, d, i, end, few))
		src = few;
	emu_changing(b);
	while (!err && i < end) {
		unsigned int n;
		size_t done;

		err = uffd_copy(emu.client, hmm_block_addr(b, i),
				src + (i - first) * HMM_PAGE_BYTES, (end - i) * HMM_PAGE_BYTES,
				UFFDIO_COPY_MODE_WP, &done);
		n = (unsigned int)(done / HMM_PAGE_BYTES);
		hmm_bits_set_range(&b->dev[d->index].shared, i, i + n);
		hmm_bits_set_range(&b->protected, i, i + n);
		for (unsigned int p = i; p < i + n; p++)
			hmm_block_set_owner(b, p, HMM_OWNER_SYSTEM);
		emu_count(d, EMU_TO_SYSTEM, n);
		i += n;
		if (n)
			err = 0;
	}
	if (i > first)
		HMM_TRACE(HMM_TRACE_TO_SYSTEM, to_system, began, d->index, hmm_block_addr(b, first),
			  i - first);
	return err == -EAGAIN ? EMU_DRAIN : err;
}

int emu_share(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end)
{
	uint8_t owner = HMM_OWNER_DEVICE(d->index);
	int err = 0;

	while (!err && i < end) {
		unsigned int stop = hmm_block_owner_run(b, i, end, owner);
		uintptr_t last;
		bool mostly = hmm_advice_at(hmm_block_addr(b, i), &last).read_mostly;

		if (stop == i || !mostly) {
			i++;
			continue;
		}
		if (last < hmm_block_addr(b, stop))
			stop = i + (unsigned int)((last - hmm_block_addr(b, i)) >> HMM_PAGE_SHIFT);
		err = emu_share_run(b, d, i, stop);
		i = stop;
	}
	return err;
}

static bool is_mostly(const struct hmm_block *b, unsigned int i)
{
	uintptr_t end;

	return hmm_advice_at(hmm_block_addr(b, i), &end).read_mostly;
}

bool emu_keeps_shared(const struct hmm_block *b)
{
	for (unsigned int i = 0; i < HMM_BLOCK_PAGES; i++)
		if (emu_is_shared(b, i, i + 1) && is_mostly(b, i))
			return true;
	return false;
}

unsigned int emu_shared_run(const struct hmm_block *b, unsigned int i, unsigned int end)
{
	unsigned int stop = i + 1;

	while (!is_mostly(b, i) && stop < end && emu_is_shared(b, stop, stop + 1) &&
	       !is_mostly(b, stop))
		stop++;
	return stop;
}

/* Whose copy can be copied once more? Locking: b->lock. */
static struct emu_device *find_copy(struct hmm_block *b, unsigned int i)
{
	for (unsigned int d = 0; d < emu.devices; d++)
		if (hmm_bits_test(&b->dev[d].shared, i))
			return &emu.device[d];
	return NULL;
}

/* Locking: mirror shared, b->lock; a frame is promised. */
static bool copy_copy(struct hmm_block *b, struct emu_device *d, unsigned int i, bool *used)
{
	struct emu_device *from = find_copy(b, i);
	char *src = from ? emu_alias(b, from->index, i) : NULL;
	char *dst = from && from != d ? emu_alias(b, d->index, i) : NULL;

	if (!src || !dst || !emu_device_up(d))
		return false;
	os_copy(dst, src, HMM_PAGE_BYTES);
	*used = !hmm_bits_test(&b->dev[d->index].frames, i);
	hmm_bits_set(&b->dev[d->index].frames, i);
	hmm_bits_set(&b->dev[d->index].shared, i);
	emu_engine_map_to_read(b, d, i, i + 1);
	hmm_lru_touch(&emu.table, b, d->index);
	return true;
}

bool emu_share_again(struct hmm_block *b, struct emu_device *d, unsigned int i)
{
	bool done = false, used = false;

	if (!emu_is_shared(b, i, i + 1))
		return false;
	os_read_lock(&emu.mirror);
	if (!emu_reserve(d, 1)) {
		os_mutex_lock(&b->lock);
		done = copy_copy(b, d, i, &used);
		os_mutex_unlock(&b->lock);
		if (!used)
			emu_unreserve(d, 1);
	}
	os_read_unlock(&emu.mirror);
	return done;
}

struct unshare_args {
	uintptr_t start, end;
};

static long unshare_on_stack(void *arg)
{
	struct unshare_args *a = arg;
	struct hmm_block *b;

	for (uintptr_t at = a->start; at < a->end && (b = hmm_block_next(&emu.table, at, a->end));
	     at = b->start + HMM_BLOCK_BYTES) {
		unsigned int i = at > b->start ? hmm_block_index(at) : 0, end = HMM_BLOCK_PAGES;

		if (a->end < b->start + HMM_BLOCK_BYTES)
			end = hmm_block_index(a->end);
		os_read_lock(&emu.mirror);
		os_mutex_lock(&b->lock);
		emu_unshare(b, i, end);
		os_mutex_unlock(&b->lock);
		os_read_unlock(&emu.mirror);
	}
	return 0;
}

/* The client's pages are still protected: a store to one faults once, and finds no copy. */
int emu_unshare_range(uintptr_t start, uintptr_t end)
{
	struct unshare_args a = { start, end };

	return (int)os_enter(unshare_on_stack, &a, sizeof(a));
}

// SPDX-License-Identifier: MIT
/* What the emulated devices do about hmm_advise(), and about HMM_MIGRATE. */
#include "emulated/emu.h"
#include "os/enter.h"

#include <errno.h>

bool emu_is_kept(uintptr_t addr)
{
	uintptr_t end;

	return emu.policy != HMM_POLICY_FAULT || hmm_advice_at(addr, &end).no_migrate;
}

/* Is it a place where the page would rather not be? */
static bool is_elsewhere(const struct hmm_advice *a, int place)
{
	if (!a->has_preferred)
		return false;
	return place >= 0 ? a->preferred != place : a->preferred >= 0;
}

unsigned int emu_window(struct hmm_window *w, uintptr_t addr, int place, unsigned int first)
{
	uintptr_t end;
	struct hmm_advice a = hmm_advice_at(addr, &end);
	unsigned int pages = HMM_BLOCK_PAGES - hmm_block_index(addr);

	if (a.pattern == HMM_ADVICE_RANDOM || is_elsewhere(&a, place)) {
		pages = 1;
	} else if (a.pattern != HMM_ADVICE_SEQUENTIAL) {
		os_mutex_lock(&emu.window_lock);
		pages = hmm_window_pages(w, addr, first);
		os_mutex_unlock(&emu.window_lock);
	}
	/* What lies behind may have been advised otherwise. */
	return (end - addr) >> HMM_PAGE_SHIFT < pages ?
		       (unsigned int)((end - addr) >> HMM_PAGE_SHIFT) :
		       pages;
}

/* Pages [i, end) of a block. Locking: b->lock. */
static int evict(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end)
{
	unsigned int before = b->dev[d->index].resident, after;
	int err = emu_to_system(b, d, i, end, false);

	after = b->dev[d->index].resident;
	emu_count(d, EMU_EVICTED, before - after);
	for (; i < end; i++)
		if (b->owner[i] != HMM_OWNER_DEVICE(d->index))
			emu_frames_free(b, d, i, i + 1);
	return err || before != after ? err : EMU_NO_ROOM;
}

static int evict_range(struct emu_device *d, uintptr_t at, uintptr_t end)
{
	int err = EMU_NO_ROOM;
	struct hmm_block *b;

	while (err == EMU_NO_ROOM && at < end && (b = hmm_block_next(&emu.table, at, end))) {
		uintptr_t next = b->start + HMM_BLOCK_BYTES;

		if (b->dev[d->index].resident && os_mutex_trylock(&b->lock)) {
			err = evict(b, d, at > b->start ? hmm_block_index(at) : 0,
				    end < next ? hmm_block_index(end) : HMM_BLOCK_PAGES);
			os_mutex_unlock(&b->lock);
		}
		at = next;
	}
	return err;
}

int emu_evict_advised(struct emu_device *d)
{
	uintptr_t at = 0, start, end;
	int err = EMU_NO_ROOM;

	for (; err == EMU_NO_ROOM && hmm_advice_next_victim(at, &start, &end); at = end)
		err = evict_range(d, start, end);
	return err;
}

struct advised_args {
	uintptr_t start, end;
	struct emu_device *device;
};

/* Shared mappings are mapped at once, not when the device touches them. */
static long map_shared_on_stack(void *arg)
{
	struct advised_args *a = arg;
	struct os_vma v;
	int err = 0;

	for (uintptr_t at = a->start; !err && at < a->end; at = v.end) {
		if (os_vma_find(at, &v) || v.start > at)
			return -EFAULT;
		if (v.kind == OS_VMA_SHARED && v.read)
			err = emu_remote_map(a->device, &v);
	}
	return err;
}

int emu_advised(uintptr_t start, uintptr_t end, int advice, int target)
{
	struct advised_args a = { start, end, NULL };

	if (advice == HMM_ADVICE_NOT_READ_MOSTLY)
		return emu_unshare_range(start, end);
	if (advice != HMM_ADVICE_ACCESSED_BY)
		return 0;
	a.device = &emu.device[target];
	if (!emu_device_up(a.device))
		return -ENODEV;
	return (int)os_enter(map_shared_on_stack, &a, sizeof(a));
}

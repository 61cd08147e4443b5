// SPDX-License-Identifier: MIT
/* What the emulated devices do about hmm_advise(), and about HMM_MIGRATE. */
#include "emulated/file.h"
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

unsigned int emu_window(struct hmm_window *w, uintptr_t addr, uintptr_t at, int place,
			unsigned int first)
{
	uintptr_t end;
	struct hmm_advice a = hmm_advice_at(addr, &end);
	unsigned int pages = HMM_BLOCK_PAGES - hmm_block_index(at);

	if (a.pattern == HMM_ADVICE_RANDOM || is_elsewhere(&a, place)) {
		pages = 1;
	} else if (a.pattern != HMM_ADVICE_SEQUENTIAL) {
		os_mutex_lock(&emu.window_lock);
		pages = hmm_window_pages(w, at, first);
		os_mutex_unlock(&emu.window_lock);
	}
	/* What lies behind may have been advised otherwise. */
	return (end - addr) >> HMM_PAGE_SHIFT < pages ?
		       (unsigned int)((end - addr) >> HMM_PAGE_SHIFT) :
		       pages;
}

/* One that is busy is passed over. */
static int try_evict(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end)
{
	int err;

	if (!b->dev[d->index].resident || !os_mutex_trylock(&b->lock))
		return EMU_NO_ROOM;
	err = emu_evict(b, d, i, end);
	os_mutex_unlock(&b->lock);
	return err;
}

static int evict_range(struct emu_device *d, uintptr_t at, uintptr_t end)
{
	int err = EMU_NO_ROOM;
	struct hmm_block *b;

	while (err == EMU_NO_ROOM && at < end && (b = hmm_block_next(&emu.table, at, end))) {
		uintptr_t next = b->start + HMM_BLOCK_BYTES;

		err = try_evict(b, d, at > b->start ? hmm_block_index(at) : 0,
				end < next ? hmm_block_index(end) : HMM_BLOCK_PAGES);
		at = next;
	}
	return err;
}

/* Pages [page, end) of a file. */
static int evict_pages(struct emu_device *d, struct emu_file *f, uint64_t page, uint64_t end)
{
	int err = EMU_NO_ROOM;
	struct emu_fblock *fb;

	while (err == EMU_NO_ROOM && page < end && (fb = emu_fblock_next(f, page, end))) {
		uint64_t next = fb->first + HMM_BLOCK_PAGES;

		err = try_evict(fb->block, d,
				page > fb->first ? (unsigned int)(page - fb->first) : 0,
				end < next ? (unsigned int)(end - fb->first) : HMM_BLOCK_PAGES);
		page = next;
	}
	return err;
}

/* What of the range is of mapped files, whose blocks are elsewhere. */
static int evict_files(struct emu_device *d, uintptr_t at, uintptr_t end)
{
	int err = EMU_NO_ROOM;
	const struct emu_map *m;

	for (; err == EMU_NO_ROOM && (m = emu_map_next(at, end)); at = m->end)
		err = evict_pages(d, m->file, emu_map_page(m, at > m->start ? at : m->start),
				  emu_map_page(m, end < m->end ? end : m->end));
	return err;
}

int emu_evict_advised(struct emu_device *d)
{
	uintptr_t at = 0, start, end;
	int err = EMU_NO_ROOM;

	for (; err == EMU_NO_ROOM && hmm_advice_next_victim(at, &start, &end); at = end)
		if ((err = evict_range(d, start, end)) == EMU_NO_ROOM)
			err = evict_files(d, start, end);
	return err;
}

bool emu_is_preferred(const struct hmm_block *b, const struct emu_device *d)
{
	struct emu_piece p = { 0 };
	bool found = false;

	if (!b->file)
		return hmm_advice_prefers(b->start, b->start + HMM_BLOCK_BYTES, (int)d->index);
	while (!found && emu_piece_next(b->file, 0, HMM_BLOCK_PAGES, &p))
		found = hmm_advice_prefers(p.addr, p.addr + (p.end - p.i) * HMM_PAGE_BYTES,
					   (int)d->index);
	return found;
}

struct advised_args {
	uintptr_t start, end;
	struct emu_device *device;
};

/*
 * The kernel's shared mappings are mapped at once, not when the device touches them. A mapped
 * file's memory is not all there, and the device's stores to it must be seen.
 */
static long map_shared_on_stack(void *arg)
{
	struct advised_args *a = arg;
	struct os_vma v;
	bool is_file;
	int err = 0;

	for (uintptr_t at = a->start; !err && at < a->end; at = v.end) {
		if (os_vma_find(at, &v) || v.start > at)
			return -EFAULT;
		emu_file_border(at, v.end, &is_file);
		if (v.kind == OS_VMA_SHARED && v.read && !is_file)
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

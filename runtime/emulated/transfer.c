// SPDX-License-Identifier: MIT
/* Pages of one block from the system to a device, between devices, and home. */
#include "core/trace.h"
#include "emulated/file.h"
#include "os/sys.h"

#include <errno.h>

#define LEAVE_PAGES 4
#define PUNCH_PAGES 16 /* up to here freeing the frames is cheaper than an agent's round trip */

bool emu_is_mapped(uintptr_t start, uintptr_t end)
{
	struct os_vma v;

	while (start < end) {
		if (os_vma_find(start, &v) || v.start > start)
			return false;
		start = v.end;
	}
	return true;
}

/*
 * The kernel skips holes. What another thread maps there a moment later would pass for tracked,
 * and no store to it would be seen. So look whether all is mapped, and all that is mapped tracked.
 */
static int register_client(uintptr_t start, uintptr_t end)
{
	int err = uffd_register(emu.client, start, end - start, EMU_TRACK_CLIENT);

	if (err)
		return err == -EBUSY ? -EOPNOTSUPP : err == -EINVAL ? -EFAULT : err;
	if (!emu_is_mapped(start, end))
		return uffd_events_pending(emu.client) ? EMU_DRAIN : -EFAULT;
	err = uffd_protect(emu.client, start, end - start, false);
	return err == -EAGAIN || err == -ENOENT ? EMU_DRAIN : err;
}

static int track_client(struct hmm_block *b, unsigned int i, unsigned int end)
{
	while ((i = hmm_bits_find(&b->registered, i, end, false)) < end) {
		unsigned int stop = hmm_bits_find(&b->registered, i, end, true);
		int err = register_client(hmm_block_addr(b, i), hmm_block_addr(b, stop));

		if (err)
			return err;
		hmm_bits_set_range(&b->registered, i, stop);
		hmm_bits_clear_range(&b->protected, i, stop);
		i = stop;
	}
	return 0;
}

static void mark_read_only(struct hmm_block *b, unsigned int i, unsigned int end)
{
	struct os_vma vma;

	for (; i < end; i++) {
		if (os_vma_find(hmm_block_addr(b, i), &vma) || vma.write)
			hmm_bits_clear(&b->read_only, i);
		else
			hmm_bits_set(&b->read_only, i);
	}
}

static void arrived(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end,
		    unsigned int *used)
{
	emu_changing(b);
	for (unsigned int p = i; p < end; p++) {
		if (!hmm_bits_test(&b->dev[d->index].frames, p)) {
			hmm_bits_set(&b->dev[d->index].frames, p);
			++*used;
		}
		hmm_bits_clear(&b->dev[d->index].copies, p);
		hmm_block_set_owner(b, p, HMM_OWNER_DEVICE(d->index));
	}
	__atomic_store_n(&b->moved_at, os_now_ns(), __ATOMIC_RELAXED);
	emu_count(d, EMU_TO_DEVICE, end - i);
}

static int from_system(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end,
		       bool exclusive, bool streaming, unsigned int *used)
{
	struct hmm_bits out;
	int err = emu_detach(b, d, i, end, exclusive, streaming, &out);

	while ((i = hmm_bits_find(&out, i, end, true)) < end) {
		unsigned int stop = hmm_bits_find(&out, i, end, false);

		if (exclusive)
			mark_read_only(b, i, stop);
		else
			hmm_bits_clear_range(&b->read_only, i, stop);
		hmm_bits_clear_range(&b->protected, i, stop);
		arrived(b, d, i, stop, used);
		i = stop;
	}
	return err;
}

static void copy(char *to, const char *from, unsigned int pages, bool streaming)
{
	if (streaming)
		os_copy_streaming(to, from, pages * HMM_PAGE_BYTES);
	else
		os_copy(to, from, pages * HMM_PAGE_BYTES);
}

/*
 * Straight across. The agent, however few they are: their frames stay, which costs less than to
 * make them again when the pages come back.
 */
static int from_device(struct hmm_block *b, struct emu_device *from, struct emu_device *d,
		       unsigned int i, unsigned int end, bool streaming, unsigned int *used)
{
	char *dst = emu_alias(b, d->index, i), *src = emu_alias(b, from->index, i);
	uint64_t began = hmm_trace_begin();

	if (!dst || !src)
		return -ENOMEM;
	emu_engine_zap(b, from, i, end);
	copy(dst, src, end - i, streaming);
	arrived(b, d, i, end, used);
	emu_count(d, EMU_ACROSS, end - i);
	HMM_TRACE(HMM_TRACE_ACROSS, across, began, d->index, hmm_block_addr(b, i), end - i);
	return 0;
}

int emu_to_device(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end,
		  bool exclusive, bool streaming, unsigned int *used)
{
	unsigned int first = i, moved = b->dev[d->index].resident;
	uint64_t began = hmm_trace_begin();
	int err = track_client(b, i, end);

	if (!err)
		err = emu_find_kernel_used(b, i, end);
	while (!err && i < end) {
		uint8_t owner = b->owner[i];
		bool kept = hmm_bits_test(&b->kernel_used, i);
		unsigned int stop = hmm_block_owner_run(
			b, i, hmm_bits_find(&b->kernel_used, i, end, !kept), owner);

		if (owner == HMM_OWNER_SYSTEM && kept)
			; /* query says that it is pinned */
		else if (owner == HMM_OWNER_SYSTEM)
			err = from_system(b, d, i, stop, exclusive, streaming, used);
		else if (owner != HMM_OWNER_DEVICE(d->index))
			err = from_device(b, &emu.device[owner - 1], d, i, stop, streaming, used);
		i = stop;
	}
	for (i = first; i < end; i++) {
		unsigned int stop = hmm_block_owner_run(b, i, end, HMM_OWNER_DEVICE(d->index));

		emu_engine_map(b, d, i, stop);
		i = stop;
	}
	hmm_lru_touch(&emu.table, b, d->index);
	moved = b->dev[d->index].resident - moved;
	if (moved)
		HMM_TRACE(HMM_TRACE_TO_DEVICE, to_device, began, d->index, hmm_block_addr(b, first),
			  moved);
	return err;
}

/* The mapping of these pages is gone, or someone filled them: the device copy is void. */
static void left(struct hmm_block *b, unsigned int i, unsigned int end)
{
	for (; i < end; i++) {
		hmm_block_set_owner(b, i, HMM_OWNER_SYSTEM);
		hmm_bits_clear(&b->read_only, i);
	}
}

/* One page that cannot move into its mapping: read-only, mlocked, gone. */
static int fill_one(struct hmm_block *b, unsigned int i, const char *src)
{
	size_t done;
	int err = uffd_copy(emu.client, hmm_block_addr(b, i), src, HMM_PAGE_BYTES, 0, &done);

	if (err == -EAGAIN)
		return EMU_DRAIN;
	if (err == -ENOMEM)
		return err;
	return 0; /* done, or -EEXIST, -ENOENT, -EINVAL: nothing to fill any more */
}

/* What moved and was not counted (see move_run()) when something came between the tries. */
static void find_filled(struct hmm_block *b, unsigned int i, unsigned int end)
{
	uint64_t map;

	for (; i < end; i++) {
		if (os_pagemap(hmm_block_addr(b, i), 1, &map) ||
		    !(map & (OS_PAGEMAP_PRESENT | OS_PAGEMAP_SWAP)))
			continue;
		left(b, i, i + 1); /* its slot may still be full */
	}
}

/*
 * Frames of [i, end) into the client: moved from staging, or copied from @src where
 * moving is not to be had. *stop: how far it came.
 */
static int fill(struct hmm_block *b, unsigned int i, unsigned int end, char *src,
		unsigned int first, bool move, unsigned int *stop)
{
	unsigned int chunk = end - i, tries = 0;
	int err = 0;

	while (!err && i < end) {
		unsigned int n = chunk < end - i ? chunk : end - i;
		char *from = src + (size_t)(i - first) * HMM_PAGE_BYTES;
		size_t done;

		err = move ? uffd_move(emu.client, hmm_block_addr(b, i), (uintptr_t)from,
				       n * HMM_PAGE_BYTES, 0, &done) :
			     uffd_copy(emu.client, hmm_block_addr(b, i), from, n * HMM_PAGE_BYTES,
				       0, &done);
		n = (unsigned int)(done / HMM_PAGE_BYTES);
		left(b, i, i + n);
		if (move)
			hmm_bits_clear_range(&b->staged, i, i + n);
		i += n;
		if (!err || n) {
			err = 0;
			tries = 0;
			continue;
		}
		if (err == -EAGAIN) {
			err = ++tries < 4 ? 0 : EMU_DRAIN;
			continue;
		}
		if (err == -ENOMEM)
			continue;
		if (chunk > 1) {
			chunk = chunk > 8 ? chunk / 8 : 1;
			err = 0;
			continue;
		}
		err = fill_one(b, i, from);
		if (!err)
			left(b, i, i + 1), i++;
	}
	*stop = i;
	if (err)
		find_filled(b, i, end);
	return err;
}

/* Its frames are punched out but the page did not get home: put the bytes back. */
static void restore(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end)
{
	for (; i < end; i++) {
		if (b->owner[i] != HMM_OWNER_DEVICE(d->index))
			continue;
		os_copy(emu_alias(b, d->index, i), emu_staging(b, i), HMM_PAGE_BYTES);
		hmm_bits_set(&b->dev[d->index].frames, i);
		atomic_fetch_add(&d->frames, 1);
	}
	hmm_lru_touch(&emu.table, b, d->index);
}

enum way { PLAIN, STREAMING, FOR_CPU };

/*
 * To move a staged page takes it out of the program's page table, and all CPUs that run the program
 * flush their TLBs meanwhile: that takes longer than a new frame. So a page, or a few, come home
 * as a copy, and their staged frames are let go of later, together.
 */
static bool may_leave(const struct hmm_block *b, unsigned int i, unsigned int end)
{
	return end - i <= LEAVE_PAGES && hmm_bits_find(&b->staged, i, end, false) == end;
}

static int run_home(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end,
		    enum way way)
{
	bool punch = emu.move && end - i <= PUNCH_PAGES && emu_device_up(d);
	/* Where no frames are staged the kernel makes some, and fills them at once. */
	bool move = emu.move && (punch || hmm_bits_find(&b->staged, i, end, true) < end);
	bool leave = punch && way == FOR_CPU && may_leave(b, i, end);
	char *alias = emu_alias(b, d->index, i);
	char *src = move ? emu_staging(b, i) : alias;
	uint64_t began = hmm_trace_begin();
	unsigned int stop;
	int err;

	if (!alias || !src)
		return -ENOMEM;
	if (punch) {
		/* Device stores stop here, device loads when the frames go. */
		emu_engine_track(b, d);
		if (!(emu.test_skip & EMU_FENCE_DEVICE))
			punch = !uffd_protect(d->uffd, hmm_block_addr(b, i),
					      (end - i) * HMM_PAGE_BYTES, true);
	}
	if (!punch)
		emu_engine_zap(b, d, i, end);
	if (move) {
		if (!punch || !emu_frames_read(b, d, i, end, src))
			copy(src, alias, end - i, way == STREAMING);
		hmm_bits_set_range(&b->staged, i, end);
	}
	if (punch)
		emu_frames_free(b, d, i, end);
	emu_changing(b);
	err = fill(b, i, end, src, i, move && !leave, &stop);
	if (leave)
		b->leftovers += stop - i;
	if (leave && err == -ENOMEM)
		err = fill(b, stop, end, src, i, true, &stop);
	if (stop < end && punch)
		restore(b, d, stop, end);
	emu_count(d, EMU_TO_SYSTEM, stop - i);
	if (stop > i)
		HMM_TRACE(HMM_TRACE_TO_SYSTEM, to_system, began, d->index, hmm_block_addr(b, i),
			  stop - i);
	return err;
}

static int to_system(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end,
		     enum way way)
{
	uint8_t owner = HMM_OWNER_DEVICE(d->index);
	int err = 0;

	if (b->file)
		return emu_file_home(b, d, i, end);
	for (; !err && i < end; i++) {
		unsigned int stop;

		if (b->owner[i] != owner)
			continue;
		stop = hmm_block_owner_run(b, i, end, owner);
		err = run_home(b, d, i, stop, way);
		i = stop - 1;
	}
	return err;
}

int emu_to_system(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end,
		  bool streaming)
{
	return to_system(b, d, i, end, streaming ? STREAMING : PLAIN);
}

int emu_to_cpu(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end)
{
	return to_system(b, d, i, end, FOR_CPU);
}

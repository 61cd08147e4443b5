// SPDX-License-Identifier: MIT
/* Whole operations on address ranges: locks are taken here, and retries happen here. */
#include "emulated/file.h"
#include "os/arena.h"
#include "os/enter.h"
#include "os/self.h"
#include "os/sys.h"

#include <errno.h>

#define BUSY_NS 100000000ull     /* pinned pages are tried again for so long */
#define ROOM_NS 5000000000ull    /* device memory that never comes free */
#define STREAM_BYTES (4ul << 20) /* copies from here on bypass the cache */

static unsigned int missing_frames(const struct hmm_block *b, unsigned int dev, unsigned int i,
				   unsigned int end)
{
	unsigned int n = 0;

	for (; i < end; i++)
		n += !hmm_bits_test(&b->dev[dev].frames, i);
	return n;
}

static void lock_mirror(bool exclusive)
{
	if (exclusive)
		emu_exclusive_lock();
	else
		os_read_lock(&emu.mirror);
}

static void unlock_mirror(bool exclusive)
{
	if (exclusive)
		emu_exclusive_unlock();
	else
		os_read_unlock(&emu.mirror);
}

/*
 * What was advised not to migrate stays; hmm_advise() said so before it locks the block to bring
 * such pages home. Locking: as emu_to_device().
 */
static int allowed_out(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end,
		       bool exclusive, bool streaming, unsigned int *used)
{
	uintptr_t at = hmm_block_addr(b, i), last = hmm_block_addr(b, end), stop;
	int err = 0;

	for (; !err && at < last; at = stop) {
		bool kept = hmm_advice_at(at, &stop).no_migrate;

		if (stop > last)
			stop = last;
		i = (unsigned int)((at - b->start) >> HMM_PAGE_SHIFT);
		end = (unsigned int)((stop - b->start) >> HMM_PAGE_SHIFT);
		if (!kept)
			err = emu_to_device(b, d, i, end, exclusive, streaming, used);
	}
	return err;
}

/* One try. Frames are promised before the block is locked: eviction locks blocks. */
static int try_out(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end,
		   bool exclusive, bool streaming, const struct emu_touch *touch)
{
	unsigned int reserved = 0, used = 0, need;
	int err = 0;

	lock_mirror(exclusive);
	/* Its mapping may be another one by now: emu_detach() looks again. */
	if (uffd_events_pending(emu.client)) {
		unlock_mirror(exclusive);
		return EMU_DRAIN;
	}
	if (emu_discard_under_way(hmm_block_addr(b, i), hmm_block_addr(b, end))) {
		unlock_mirror(exclusive);
		return EMU_WAIT;
	}
	for (;;) {
		os_mutex_lock(&b->lock);
		if (!touch || b->moves[i] == touch->moves)
			emu_unshare(b, i, end); /* their frames, too */
		need = missing_frames(b, d->index, i, end);
		if (need <= reserved)
			break;
		os_mutex_unlock(&b->lock);
		err = emu_reserve(d, need - reserved);
		if (err)
			goto out;
		reserved = need;
	}
	if (atomic_load(&emu.hold))
		err = EMU_NO_ROOM; /* a fork is under way */
	else if (touch && b->moves[i] != touch->moves)
		err = 0;
	else if (!emu_device_up(d))
		err = -ENODEV;
	else
		err = allowed_out(b, d, i, end, exclusive, streaming, &used);
	/*
	 * Where that fails they are the device's alone. Not when an event was read meanwhile: its
	 * caller runs again, and may have discarded already what would be put there now.
	 */
	if (!err && touch && touch->reads &&
	    (!emu_events_held() || (emu.test_skip & EMU_FENCE_HELD)))
		emu_share(b, d, i, end);
	os_mutex_unlock(&b->lock);
out:
	emu_unreserve(d, reserved - used);
	unlock_mirror(exclusive);
	return err;
}

int emu_block_out(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end,
		  bool streaming, const struct emu_touch *touch)
{
	uint64_t until = os_now_ns() + ROOM_NS;
	bool exclusive = false;
	int err;

	for (;;) {
		err = try_out(b, d, i, end, exclusive, streaming, touch);
		if (err == EMU_EXCLUSIVE)
			exclusive = true;
		else if (err == EMU_DRAIN)
			emu_events_drain();
		else if (err == EMU_WAIT || (err == EMU_NO_ROOM && os_now_ns() < until))
			os_sleep_ns(20000);
		else
			return err == EMU_NO_ROOM ? -ENOMEM : err;
	}
}

int emu_block_home(struct hmm_block *b, unsigned int i, unsigned int end, bool streaming)
{
	int err;

	do {
		err = 0;
		os_read_lock(&emu.mirror);
		os_mutex_lock(&b->lock);
		for (unsigned int d = 0; d < emu.devices && !err; d++)
			if (b->dev[d].resident)
				err = emu_to_system(b, &emu.device[d], i, end, streaming);
		os_mutex_unlock(&b->lock);
		os_read_unlock(&emu.mirror);
		if (err == EMU_DRAIN)
			emu_events_drain();
	} while (err == EMU_DRAIN);
	return err;
}

int emu_home_device(struct emu_device *d)
{
	uintptr_t at = 0;
	struct hmm_block *b;
	int err = 0;

	/*
	 * A barrier: who was on the way to the device before our caller forbade it (hold, or the
	 * device's state) holds the mirror lock until its pages are counted as resident.
	 */
	emu_exclusive_lock();
	emu_exclusive_unlock();
	while ((b = hmm_block_next(&emu.table, at, 1ul << HMM_VA_BITS))) {
		int failed = 0;

		if (__atomic_load_n(&b->dev[d->index].resident, __ATOMIC_RELAXED))
			failed = emu_block_home(b, 0, HMM_BLOCK_PAGES, false);
		if (!err)
			err = failed;
		at = b->start + HMM_BLOCK_BYTES;
	}
	return err;
}

/* All tracked: then the mappings are known to be there without asking the kernel. */
static bool all_registered(uintptr_t start, uintptr_t end)
{
	while (start < end) {
		struct hmm_block *b = hmm_block_find(&emu.table, start);
		uintptr_t next = (start & ~(HMM_BLOCK_BYTES - 1)) + HMM_BLOCK_BYTES;
		unsigned int i = hmm_block_index(start), stop;

		if (next > end)
			next = end;
		stop = i + (unsigned int)((next - start) >> HMM_PAGE_SHIFT);
		if (!b || hmm_bits_find(&b->registered, i, stop, false) != stop)
			return false;
		start = next;
	}
	return true;
}

static int check_vma(const struct os_vma *v, uintptr_t start, uintptr_t end)
{
	if (v->start > start)
		return -EFAULT;
	if (end > v->end)
		end = v->end;
	if (os_arena_contains(start, end) || os_self_contains(start, end) ||
	    emu_windows_contain(start, end))
		return -EOPNOTSUPP;
	if (v->kind == OS_VMA_SPECIAL || (v->kind == OS_VMA_SHARED && !emu_files_cover(start, end)))
		return -EOPNOTSUPP;
	if (!v->read)
		return -EFAULT;
	if (v->kind == OS_VMA_FILE_PRIVATE)
		return v->write ? emu_make_anonymous(v) : -EOPNOTSUPP;
	return 0;
}

int emu_check_range(uintptr_t start, uintptr_t end)
{
	struct os_vma v;
	int err = 0;

	while (!err && start < end) {
		err = os_vma_find(start, &v);
		if (err)
			return err == -ENOENT ? -EFAULT : err;
		err = check_vma(&v, start, end);
		start = v.end;
	}
	return err;
}

size_t emu_accessible(uintptr_t addr, size_t length, bool write)
{
	uintptr_t at = addr, end = addr + length;
	struct os_vma v;

	while (at < end && !os_vma_find(at, &v) && v.start <= at && v.read && (v.write || !write)) {
		uintptr_t limit = v.end;

		if (v.kind == OS_VMA_SHARED && atomic_load(&emu_files.n))
			limit = emu_file_limit(at, v.end < end ? v.end : end);
		if (limit < v.end && limit < end)
			return limit > addr ? limit - addr : 0;
		at = v.end;
	}
	return at < end ? at - addr : length;
}

int emu_check_mapped(uintptr_t start, uintptr_t end)
{
	struct os_vma v;
	bool tracked;

	/* An event that was read of may not have been acted upon. */
	os_read_lock(&emu.mirror);
	tracked = all_registered(start, end);
	os_read_unlock(&emu.mirror);
	if (tracked)
		return 0;
	while (start < end) {
		if (os_vma_find(start, &v) || v.start > start)
			return -EFAULT;
		start = v.end;
	}
	return 0;
}

struct migrate_args {
	uintptr_t start, end;
	struct emu_device *device;
	bool streaming;
	bool files;     /* out: some of it is of a mapped file */
	bool busy;      /* out: some of it was pinned or busy */
	bool again;     /* only what was so */
	uint64_t until; /* ns */
};

static long count_on(uintptr_t start, uintptr_t end, const struct emu_device *d);

/* Runs on a private stack: one block to a device. */
static long block_to_device(void *arg)
{
	struct migrate_args *a = arg;
	struct hmm_block *b = hmm_block_get(&emu.table, a->start);
	unsigned int i = hmm_block_index(a->start);
	unsigned int end = i + (unsigned int)((a->end - a->start) >> HMM_PAGE_SHIFT);
	int err;

	if (!b)
		return -ENOMEM;
	if (a->again && hmm_bits_find(&b->pinned, i, end, true) == end)
		return count_on(a->start, a->end, a->device);
	do {
		err = emu_block_out(b, a->device, i, end, a->streaming, NULL);
		/*
		 * A fork says nothing about room, and may take long on a busy machine. (A handler
		 * does not wait for it: the fork may wait for a CPU's fault to be served.)
		 */
	} while (err == -ENOMEM && emu.running && atomic_load(&emu.hold));
	a->busy |= hmm_bits_find(&b->pinned, i, end, true) < end;
	return err ? err : count_on(a->start, a->end, a->device);
}

/* Runs on a private stack: one block home; counts what the system holds of it. */
static long block_to_system(void *arg)
{
	struct migrate_args *a = arg;
	struct hmm_block *b = hmm_block_find(&emu.table, a->start);
	unsigned int i = hmm_block_index(a->start);
	unsigned int n = (unsigned int)((a->end - a->start) >> HMM_PAGE_SHIFT);
	uint64_t *map = os_alloc(n * sizeof(*map));
	long on = 0;
	int err = map ? 0 : -ENOMEM;

	if (!err && b)
		err = emu_block_home(b, i, i + n, a->streaming);
	if (!err)
		err = os_pagemap(a->start, n, map);
	for (unsigned int p = 0; !err && p < n; p++)
		on += !!(map[p] & (OS_PAGEMAP_PRESENT | OS_PAGEMAP_SWAP));
	os_free(map, n * sizeof(*map));
	return err ? err : on;
}

/* As far as it is of a file, or is not. */
static long chunk_to_target(void *arg)
{
	struct migrate_args *a = arg;
	bool is_file = false;

	if (atomic_load(&emu_files.n))
		a->end = emu_file_border(a->start, a->end, &is_file);
	a->files |= is_file;
	if (is_file && a->again)
		return emu_file_count(a->start, a->end, a->device);
	if (is_file)
		return emu_file_migrate(a->start, a->end, a->device);
	return a->device ? block_to_device(a) : block_to_system(a);
}

static long check_on_stack(void *arg)
{
	struct migrate_args *a = arg;

	return a->device ? emu_check_range(a->start, a->end) : emu_check_mapped(a->start, a->end);
}

/* A long range may push its own beginning out again. Lock-free: a snapshot is asked for. */
static long count_on(uintptr_t start, uintptr_t end, const struct emu_device *d)
{
	struct hmm_block *b;
	long on = 0;

	while (start < end && (b = hmm_block_next(&emu.table, start, end))) {
		uintptr_t next = b->start + HMM_BLOCK_BYTES;
		unsigned int i = start > b->start ? hmm_block_index(start) : 0;
		unsigned int stop = end < next ? hmm_block_index(end) : HMM_BLOCK_PAGES;

		for (; i < stop; i++)
			on += hmm_block_owner(b, i) == HMM_OWNER_DEVICE(d->index);
		start = next;
	}
	return on;
}

/* Runs on a private stack. */
static long chunk_on(void *arg)
{
	struct migrate_args *a = arg;
	bool is_file;

	a->end = emu_file_border(a->start, a->end, &is_file);
	return is_file ? emu_file_count(a->start, a->end, a->device) :
			 count_on(a->start, a->end, a->device);
}

/* The sum of what @fn says of each part of [start, end), or its first error. */
static long each_chunk(struct migrate_args *a, uintptr_t start, uintptr_t end, long (*fn)(void *))
{
	long total = 0, n;

	for (; start < end; start = a->end) {
		a->start = start;
		a->end = (start & ~(HMM_BLOCK_BYTES - 1)) + HMM_BLOCK_BYTES;
		if (a->end > end)
			a->end = end;
		n = os_enter(fn, a, sizeof(*a));
		if (n < 0)
			return n;
		total += n;
	}
	return total;
}

/* Shall it be tried again? */
static long wait_on_stack(void *arg)
{
	struct migrate_args *a = arg;
	uint64_t now = os_now_ns();

	if (!a->again)
		a->until = now + BUSY_NS;
	a->again = true;
	a->busy = false;
	if (now >= a->until)
		return false;
	os_sleep_ns(2000000);
	return true;
}

long emu_migrate(uintptr_t start, uintptr_t end, int target)
{
	struct migrate_args a = {
		.start = start,
		.end = end,
		.device = target < 0 ? NULL : &emu.device[target],
		.streaming = end - start >= STREAM_BYTES,
	};
	long n;

	if (a.device && !emu_device_up(a.device))
		return -ENODEV;
	n = os_enter(check_on_stack, &a, sizeof(a));
	if (n < 0 || (a.device && emu.policy == HMM_POLICY_OFF))
		return n;
	n = each_chunk(&a, start, end, chunk_to_target);
	/* All of it has been tried once: then the patience is for all of it. */
	while (n >= 0 && a.busy && os_enter(wait_on_stack, &a, sizeof(a)))
		n = each_chunk(&a, start, end, chunk_to_target);
	if (n < 0 || !a.device || end - start <= HMM_BLOCK_BYTES)
		return n;
	return a.files ? each_chunk(&a, start, end, chunk_on) : count_on(start, end, a.device);
}

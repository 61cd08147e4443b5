// SPDX-License-Identifier: MIT
/*
 * Taking pages out of the client, so that a CPU touch faults from here on, and their
 * bytes into device memory.
 *
 * With UFFDIO_MOVE the frames move to the staging slots in one atomic step: no store
 * can be lost, and a pinned page refuses. Without it (Linux < 6.8), and for mappings
 * that refuse to move (read-only, mlocked), the range is write-protected, copied and
 * discarded; that needs the mirror lock exclusively.
 */
#include "emulated/emu.h"
#include "os/arena.h"
#include "os/sys.h"

#include <errno.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define SPIN 8 /* tries of a page that is only locked for a moment */

static void copy_pages(char *dst, const char *src, unsigned int pages, bool streaming)
{
	if (streaming)
		os_copy_streaming(dst, src, pages * HMM_PAGE_BYTES);
	else
		os_copy(dst, src, pages * HMM_PAGE_BYTES);
}

/*
 * Locking: mirror exclusively, so that no madvise() of the application can make a
 * page vanish between the look at the pagemap and the read. mremap() can: then the read fails.
 */
static int detach_by_copy(struct hmm_block *b, struct emu_device *d, unsigned int i,
			  unsigned int end, struct hmm_bits *out)
{
	uintptr_t start = hmm_block_addr(b, i);
	size_t len = (end - i) * HMM_PAGE_BYTES;
	uint64_t *map = os_alloc(HMM_BLOCK_PAGES * sizeof(*map));
	char *alias = emu_alias(b, d->index, i);
	size_t done;
	int err = -ENOMEM;

	if (!map || !alias)
		goto out;
	err = os_pagemap(start, end - i, map);
	if (!err && !(emu.test_skip & EMU_SKIP_CLIENT_FENCE))
		err = uffd_protect(emu.client, start, len, true);
	for (unsigned int p = 0; !err && p < end - i; p++) {
		char *to = alias + p * HMM_PAGE_BYTES;

		if (map[p] & (OS_PAGEMAP_PRESENT | OS_PAGEMAP_SWAP))
			err = os_peek(to, start + p * HMM_PAGE_BYTES, HMM_PAGE_BYTES);
		else
			os_zero(to, HMM_PAGE_BYTES);
	}
	if (err) {
		uffd_protect(emu.client, start, len, false);
		if (err == -EAGAIN || (err == -EFAULT && uffd_events_pending(emu.client)))
			err = EMU_DRAIN;
		else if (err == -ENOENT)
			err = -EFAULT;
		goto out;
	}
	done = emu_discard(start, len) / HMM_PAGE_BYTES;
	if (os_pagemap(start, done, map))
		os_zero(map, done * sizeof(*map));
	/* What is still there was not discarded: its mapping was split or replaced meanwhile. */
	for (unsigned int p = 0; p < end - i; p++)
		if (p < done && !(map[p] & (OS_PAGEMAP_PRESENT | OS_PAGEMAP_SWAP)))
			hmm_bits_set(out, i + p);
		else
			uffd_protect(emu.client, start + p * HMM_PAGE_BYTES, HMM_PAGE_BYTES, false);
	if (hmm_bits_find(out, i, end, false) < end)
		err = EMU_DRAIN;
out:
	os_free(map, HMM_BLOCK_PAGES * sizeof(*map));
	return err;
}

/* A page that will not move: break copy-on-write sharing once, then call it pinned. */
static int move_refused(struct hmm_block *b, unsigned int i, int err, unsigned int *tries)
{
	uintptr_t addr = hmm_block_addr(b, i);

	if (err == -EBUSY && *tries == 0) {
		os_madvise(addr, HMM_PAGE_BYTES, MADV_POPULATE_WRITE);
	} else {
		os_syscall1(SYS_sched_yield, 0);
	}
	return ++*tries > SPIN ? -EBUSY : 0;
}

/* To their staging slots, which are empty, until something is in the way. */
static int move_run(struct hmm_block *b, unsigned int i, unsigned int end, struct hmm_bits *out,
		    unsigned int *stop)
{
	const uint64_t mode = UFFDIO_MOVE_MODE_DONTWAKE | UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES;
	char *staging = emu_staging(b, 0);
	unsigned int chunk = end - i, tries = 0;

	while (i < end) {
		unsigned int n = chunk < end - i ? chunk : end - i;
		size_t done;
		int err;

		/*
		 * Refused while an event is pending: b->registered may be of a mapping that another
		 * one has replaced, and what we take of that would be dropped with the first one.
		 */
		err = uffd_move(emu.client, (uintptr_t)staging + i * HMM_PAGE_BYTES,
				hmm_block_addr(b, i), n * HMM_PAGE_BYTES, mode, &done);
		n = (unsigned int)(done / HMM_PAGE_BYTES);
		/*
		 * Its slot was empty, so the page moved. Linux 6.18 leaves pages out of the
		 * count that it moved only at a second try (it keeps that try's -EAGAIN).
		 */
		if (err == -EEXIST && !n)
			n = 1;
		hmm_bits_set_range(out, i, i + n);
		hmm_bits_set_range(&b->staged, i, i + n);
		hmm_bits_clear_range(&b->pinned, i, i + n);
		i += n;
		if (n)
			tries = 0;
		if (!err || n)
			continue;
		*stop = i;
		if (err == -EINVAL && chunk > 1) {
			chunk = chunk > 8 ? chunk / 8 : 1; /* a mapping ends inside */
		} else if (err == -EINVAL) {
			return EMU_EXCLUSIVE;
		} else if (err == -ENOMEM) {
			return err;
		} else if (err == -EAGAIN && uffd_events_pending(emu.client)) {
			return EMU_DRAIN;
		} else if (err == -EFAULT || err == -ENOENT) {
			return -EFAULT; /* unmapped under us */
		} else if (move_refused(b, i, err, &tries)) {
			hmm_bits_set(&b->pinned, i++);
			tries = 0;
		}
	}
	return 0;
}

/* What moved and was not counted when something came between the tries: its slot is full. */
static void find_moved(struct hmm_block *b, unsigned int i, unsigned int end, struct hmm_bits *out)
{
	uint64_t map[64];

	for (unsigned int p = i; p < end; p++) {
		if ((p - i) % 64 == 0 &&
		    os_pagemap((uintptr_t)emu_staging(b, p), end - p < 64 ? end - p : 64, map))
			return;
		if (!(map[(p - i) % 64] & (OS_PAGEMAP_PRESENT | OS_PAGEMAP_SWAP)))
			continue;
		hmm_bits_set(out, p);
		hmm_bits_set(&b->staged, p);
		hmm_bits_clear(&b->pinned, p);
	}
}

/*
 * Frames of [i, end) to their staging slots. Pages done are set in *out; holes count
 * as done, their slots read as zeros. EMU_EXCLUSIVE: page *stop must be copied.
 */
static int move_out(struct hmm_block *b, unsigned int i, unsigned int end, struct hmm_bits *out,
		    unsigned int *stop)
{
	int err;

	if (!emu_staging(b, 0))
		return -ENOMEM;
	/* A slot still full would pass for the page where the client has a hole. */
	emu_drop_staged(b, i, end);
	err = move_run(b, i, end, out, stop);
	if (err)
		find_moved(b, i, end, out);
	return err;
}

static int copy_staged(struct hmm_block *b, struct emu_device *d, unsigned int i,
		       unsigned int end, bool streaming, const struct hmm_bits *out)
{
	while ((i = hmm_bits_find(out, i, end, true)) < end) {
		unsigned int stop = hmm_bits_find(out, i, end, false);
		char *alias = emu_alias(b, d->index, i);

		if (!alias)
			return -ENOMEM;
		copy_pages(alias, emu_staging(b, i), stop - i, streaming);
		i = stop;
	}
	return 0;
}

/*
 * A page that cannot move, one at a time: the mapping may end at any page. A writable one is
 * asked once more, for its mapping may have been another one a moment ago; if it still
 * refuses it is mlocked.
 */
static int detach_refused(struct hmm_block *b, struct emu_device *d, unsigned int i,
			  unsigned int end, struct hmm_bits *out)
{
	struct hmm_bits copied = { 0 };
	struct os_vma v;
	unsigned int stop;
	int err = EMU_EXCLUSIVE;

	if (os_vma_find(hmm_block_addr(b, i), &v) || v.start > hmm_block_addr(b, i) || !v.read)
		return -EFAULT;
	if (v.write) {
		err = move_out(b, i, i + 1, out, &stop);
		if (!err)
			err = copy_staged(b, d, i, i + 1, false, out);
	}
	if (err == EMU_EXCLUSIVE) {
		err = detach_by_copy(b, d, i, i + 1, &copied);
		if (!err)
			hmm_bits_set(out, i);
	}
	return !err && i + 1 < end ? EMU_EXCLUSIVE : err; /* the rest, with another look */
}

int emu_detach(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end,
	       bool exclusive, bool streaming, struct hmm_bits *out)
{
	unsigned int first = i, stop = i;
	int err;

	*out = (struct hmm_bits){ 0 };
	if (!emu_alias(b, d->index, i))
		return -ENOMEM;
	if (!emu.move || (emu.test_skip & EMU_SKIP_CLIENT_FENCE))
		return exclusive ? detach_by_copy(b, d, i, end, out) : EMU_EXCLUSIVE;
	err = move_out(b, i, end, out, &stop);
	if (copy_staged(b, d, first, end, streaming, out))
		return -ENOMEM;
	if (err == EMU_EXCLUSIVE && exclusive && !hmm_bits_test(out, stop))
		err = detach_refused(b, d, stop, end, out);
	return err;
}

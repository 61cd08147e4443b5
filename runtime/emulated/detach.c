// SPDX-License-Identifier: MIT
/*
 * Taking pages out of the client, so that a CPU touch faults from here on, and their
 * bytes into device memory.
 *
 * With UFFDIO_MOVE the frames move to the staging slots in one atomic step: no store
 * can be lost, and a pinned page refuses. Without it (Linux < 6.8), and for mappings
 * that refuse to move (read-only, mlocked), mremap() takes the frames (take.c) and their bytes
 * are copied; that needs the mirror lock exclusively.
 */
#include "emulated/emu.h"
#include "os/arena.h"
#include "os/sys.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#ifndef MADV_COLD
#define MADV_COLD 20
#endif

#define ZEROS 16 /* pages written at once */
#define SPIN 8   /* tries of a page that is only locked for a moment */

static void copy_pages(char *dst, const char *src, unsigned int pages, bool streaming)
{
	if (streaming)
		os_copy_streaming(dst, src, pages * HMM_PAGE_BYTES);
	else
		os_copy(dst, src, pages * HMM_PAGE_BYTES);
}

static bool is_there(uint64_t map)
{
	return map & (OS_PAGEMAP_PRESENT | OS_PAGEMAP_SWAP);
}

/*
 * Locking: mirror exclusively, for both. An event that is held may tell of an mremap() that has
 * taken a page away while it was protected.
 */
static int protect(struct hmm_block *b, unsigned int i, unsigned int end)
{
	hmm_bits_set_range(&b->protected, i, end);
	return uffd_protect(emu.client, hmm_block_addr(b, i), (end - i) * HMM_PAGE_BYTES, true);
}

static void unprotect(struct hmm_block *b, unsigned int i, unsigned int end)
{
	if (!uffd_protect(emu.client, hmm_block_addr(b, i), (end - i) * HMM_PAGE_BYTES, false) &&
	    !emu_events_held())
		hmm_bits_clear_range(&b->protected, i, end);
}

/*
 * An mlocked page. It is copied and then discarded, and what mremap() of another thread puts in
 * its place in between is lost. Locking: mirror exclusively.
 */
static int detach_locked(struct hmm_block *b, struct emu_device *d, unsigned int i,
			 struct hmm_bits *out)
{
	char *alias = emu_alias(b, d->index, i);
	uintptr_t addr = hmm_block_addr(b, i);
	uint64_t map = 0;
	int err = os_pagemap(addr, 1, &map);

	if (!err)
		err = protect(b, i, i + 1);
	if (!err && is_there(map))
		err = os_peek(alias, addr, HMM_PAGE_BYTES);
	else if (!err)
		os_zero(alias, HMM_PAGE_BYTES);
	if (!err)
		err = emu_discard_page(addr);
	if (!err && !os_pagemap(addr, 1, &map) && !is_there(map)) {
		hmm_bits_set(out, i);
		return 0;
	}
	unprotect(b, i, i + 1);
	return err && err != -EAGAIN && !uffd_events_pending(emu.client) ? -EFAULT : EMU_DRAIN;
}

/*
 * What was taken is what we protected, or was put there by mremap() of another thread just before:
 * the event of that is pending, and it goes back. It may have been protected where it was, if a
 * device reads it, too; then the event tells, and what we know of that place.
 */
static int copy_taken(struct hmm_block *b, struct emu_device *d, unsigned int i,
		      const struct emu_taken *t, bool streaming, struct hmm_bits *out)
{
	unsigned int n = (unsigned int)(t->len >> HMM_PAGE_SHIFT);
	char *alias = emu_alias(b, d->index, i);
	bool fence = !(emu.test_skip & EMU_FENCE_CLIENT);
	int err = 0;

	if (fence)
		copy_pages(alias, t->at, n, streaming);
	for (unsigned int p = 0; p < n; p++) {
		if (fence && is_there(t->map[p]) &&
		    (!(t->map[p] & OS_PAGEMAP_WP) || emu_has_arrived(hmm_block_addr(b, i + p)))) {
			emu_put_back(hmm_block_addr(b, i + p), t->at + p * HMM_PAGE_BYTES);
			err = EMU_DRAIN;
		} else {
			hmm_bits_set(out, i + p);
		}
	}
	return err;
}

/* Pages of one mapping, which the kernel takes out in one step. Locking: mirror exclusively. */
static int detach_taking(struct hmm_block *b, struct emu_device *d, unsigned int i,
			 unsigned int end, bool streaming, struct hmm_bits *out)
{
	size_t len = (end - i) * HMM_PAGE_BYTES;
	uintptr_t start = hmm_block_addr(b, i);
	struct emu_taken *t = os_alloc(sizeof(*t));
	int err = t ? 0 : -ENOMEM;

	if (!err && !(emu.test_skip & EMU_FENCE_CLIENT)) {
		err = protect(b, i, end);
	} else if (!err) {
		for (unsigned int p = i; p < end; p++)
			if (os_peek(emu_alias(b, d->index, p), hmm_block_addr(b, p),
				    HMM_PAGE_BYTES))
				os_zero(emu_alias(b, d->index, p), HMM_PAGE_BYTES);
		os_sleep_ns(100000); /* for the test to see what is stored meanwhile */
	}
	if (err == -ENOENT) {
		hmm_bits_clear_range(&b->registered, i, end); /* another mapping is there */
		err = EMU_DRAIN;
	}
	if (!err)
		err = emu_take(start, len, t);
	/* None is left there; nor has one moved to another place of the range, then it is split. */
	if (!err)
		hmm_bits_clear_range(&b->protected, i, end);
	if (!err)
		err = copy_taken(b, d, i, t, streaming, out);
	else if (err != EMU_DRAIN && uffd_events_pending(emu.client))
		err = EMU_DRAIN;
	if (t)
		emu_taken_drop(t);
	if (hmm_bits_find(out, i, end, true) == end)
		unprotect(b, i, end);
	os_free(t, sizeof(*t));
	return err == -EAGAIN ? EMU_DRAIN : err;
}

/* That would lose the lock. The advice itself is harmless: they go to a device. */
static bool is_mlocked(uintptr_t addr)
{
	return os_madvise(addr, HMM_PAGE_BYTES, MADV_COLD) == -EINVAL;
}

/*
 * By mappings, of which each may be of another kind. Whatever an event told meanwhile is acted
 * upon before the next one.
 */
static int detach_by_copy(struct hmm_block *b, struct emu_device *d, unsigned int i,
			  unsigned int end, bool streaming, struct hmm_bits *out)
{
	int err = 0;

	while (!err && i < end) {
		uintptr_t addr = hmm_block_addr(b, i);
		unsigned int stop = end;
		struct os_vma v;

		if (emu_events_held())
			return EMU_DRAIN;
		if (os_vma_find(addr, &v) || v.start > addr)
			return uffd_events_pending(emu.client) ? EMU_DRAIN : -EFAULT;
		if (v.end < hmm_block_addr(b, end))
			stop = i + (unsigned int)((v.end - addr) >> HMM_PAGE_SHIFT);
		if (is_mlocked(addr))
			err = detach_locked(b, d, i, out), stop = i + 1;
		else
			err = detach_taking(b, d, i, stop, streaming, out);
		i = stop;
	}
	return err;
}

/*
 * Break its copy-on-write sharing. The fault must not be one that we serve: not of a page that is
 * protected, as what devices read is, and stays so while an event is pending; nor of one that is
 * not there any more.
 */
static int make_exclusive(struct hmm_block *b, unsigned int i)
{
	uintptr_t addr = hmm_block_addr(b, i);
	uint64_t map = 0;
	int err;

	if (emu.test_widen & EMU_FENCE_REFUSED)
		os_sleep_ns(1000000);
	err = uffd_protect(emu.client, addr, HMM_PAGE_BYTES, false);
	if (!err)
		hmm_bits_clear(&b->protected, i);
	if (err == -EAGAIN && !(emu.test_skip & EMU_FENCE_REFUSED))
		return EMU_DRAIN;
	if (!os_pagemap(addr, 1, &map) && is_there(map))
		os_madvise(addr, HMM_PAGE_BYTES, MADV_POPULATE_WRITE);
	return 0;
}

/* A page that will not move: make it exclusive once, then call it pinned. */
static int move_refused(struct hmm_block *b, unsigned int i, int err, unsigned int *tries)
{
	if (err == -EBUSY && *tries == 0) {
		err = make_exclusive(b, i);
		if (err)
			return err;
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
		} else {
			err = move_refused(b, i, err, &tries);
			if (err == EMU_DRAIN)
				return err;
			if (!err)
				continue;
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

/* What nobody has touched needs no reading, and leaves its slot empty. */
static long write_some(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int n,
		       bool there)
{
	static const char zeros[ZEROS * HMM_PAGE_BYTES];
	const char *from = there ? emu_staging(b, i) : zeros;
	long done;

	n = there || n < ZEROS ? n : ZEROS;
	done = os_syscall4(SYS_pwrite64, d->memory_fd, from, n * HMM_PAGE_BYTES,
			   hmm_block_addr(b, i));
	if (done == (long)(n * HMM_PAGE_BYTES) && !there)
		hmm_bits_clear_range(&b->staged, i, i + n);
	return done > 0 ? done / (long)HMM_PAGE_BYTES : done;
}

/*
 * Frames that the device has not: what a write puts there the kernel allocates without zeroing it
 * first, and without a fault for each. Not where the application limits the size of files: who
 * writes past that gets a signal. False: it did not, or not all.
 */
static bool write_frames(struct hmm_block *b, struct emu_device *d, unsigned int i,
			 unsigned int end)
{
	struct rlimit files = { 0 };
	uint64_t map[64];

	if (os_syscall4(SYS_prlimit64, 0, RLIMIT_FSIZE, NULL, &files) ||
	    files.rlim_cur != RLIM_INFINITY)
		return false;
	while (i < end) {
		unsigned int n = end - i < 64 ? end - i : 64, p = 1;
		long done;

		if (os_pagemap((uintptr_t)emu_staging(b, i), n, map))
			return false;
		while (p < n && is_there(map[p]) == is_there(map[0]))
			p++;
		done = write_some(b, d, i, p, is_there(map[0]));
		if (done <= 0)
			return false;
		i += (unsigned int)done;
	}
	return true;
}

static int copy_run(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end,
		    bool streaming)
{
	const struct hmm_bits *frames = &b->dev[d->index].frames;

	while (i < end) {
		bool has = hmm_bits_test(frames, i);
		unsigned int stop = hmm_bits_find(frames, i, end, !has);

		if (has || !write_frames(b, d, i, stop)) {
			char *alias = emu_alias(b, d->index, i);

			if (!alias)
				return -ENOMEM;
			hmm_bits_set_range(&b->staged, i, stop); /* by reading them */
			copy_pages(alias, emu_staging(b, i), stop - i, streaming);
		}
		i = stop;
	}
	return 0;
}

static int copy_staged(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end,
		       bool streaming, const struct hmm_bits *out)
{
	while ((i = hmm_bits_find(out, i, end, true)) < end) {
		unsigned int stop = hmm_bits_find(out, i, end, false);

		if (copy_run(b, d, i, stop, streaming))
			return -ENOMEM;
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
		err = detach_by_copy(b, d, i, i + 1, false, &copied);
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
	if (!emu.move || (emu.test_skip & EMU_FENCE_CLIENT))
		return exclusive ? detach_by_copy(b, d, i, end, streaming, out) : EMU_EXCLUSIVE;
	err = move_out(b, i, end, out, &stop);
	if (copy_staged(b, d, first, end, streaming, out))
		return -ENOMEM;
	if (err == EMU_EXCLUSIVE && exclusive && !hmm_bits_test(out, stop))
		err = detach_refused(b, d, stop, end, out);
	return err;
}

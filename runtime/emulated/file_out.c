// SPDX-License-Identifier: MIT
/*
 * Pages of mapped files to a device: from the system, from another device, or from the file, when
 * nobody has read them yet.
 */
#include "core/trace.h"
#include "emulated/file.h"
#include "os/sys.h"

#include <errno.h>
#include <sys/resource.h>

#define ROOM_NS 5000000000ull /* device memory that never comes free */

/* Of one try, in pages. */
struct progress {
	unsigned int used; /* frames, of those that are reserved */
	unsigned int moved;
};

static void arrived(struct emu_fblock *fb, struct emu_device *d, unsigned int i, unsigned int end,
		    struct progress *p)
{
	struct hmm_block *b = fb->block;

	for (unsigned int n = i; n < end; n++) {
		if (!hmm_bits_test(&b->dev[d->index].frames, n)) {
			hmm_bits_set(&b->dev[d->index].frames, n);
			p->used++;
		}
		hmm_block_set_owner(b, n, HMM_OWNER_DEVICE(d->index));
	}
	p->moved += end - i;
	__atomic_store_n(&b->moved_at, os_now_ns(), __ATOMIC_RELAXED);
	emu_count(d, EMU_TO_DEVICE, end - i);
}

static int from_system(struct emu_fblock *fb, struct emu_device *d, unsigned int i,
		       unsigned int end, struct progress *p)
{
	size_t len = (end - i) * HMM_PAGE_BYTES;
	char *alias = emu_alias(fb->block, d->index, i);
	bool fence = !(emu.test_skip & EMU_FENCE_CLIENT);
	int err = alias ? 0 : -ENOMEM;

	if (!err && fence)
		err = emu_file_protect(fb, i, end);
	if (err)
		return err;
	if (os_syscall4(SYS_pread64, fb->file->memory, alias, len,
			(fb->first + i) << HMM_PAGE_SHIFT) != (long)len)
		return -ENOMEM;
	if (!fence)
		os_sleep_ns(100000); /* for the test to see what is stored meanwhile */
	emu_file_punch(fb, i, end);
	emu_file_dress(fb, i, end); /* if not, whoever puts a page there tries again */
	arrived(fb, d, i, end, p);
	return 0;
}

static int from_device(struct emu_fblock *fb, struct emu_device *from, struct emu_device *d,
		       unsigned int i, unsigned int end, struct progress *p)
{
	char *dst = emu_alias(fb->block, d->index, i), *src = emu_alias(fb->block, from->index, i);
	uint64_t began = hmm_trace_begin();

	if (!dst || !src)
		return -ENOMEM;
	if (!(emu.test_skip & EMU_FENCE_DEVICE))
		emu_file_protect_device(fb, from, i, end);
	os_copy(dst, src, (end - i) * HMM_PAGE_BYTES);
	arrived(fb, d, i, end, p);
	emu_frames_free(fb->block, from, i, end);
	emu_count(d, EMU_ACROSS, end - i);
	HMM_TRACE(HMM_TRACE_ACROSS, across, began, d->index, emu_address(fb->block, i, end),
		  end - i);
	return 0;
}

/* Locking: mirror, block->lock; enough is reserved. EMU_READ: a page must be read first. */
static int move_out(struct emu_fblock *fb, struct emu_device *d, unsigned int i, unsigned int end,
		    struct progress *p)
{
	const uint8_t *owner = fb->block->owner;
	int err = 0;

	while (!err && i < end) {
		unsigned int stop = hmm_block_owner_run(fb->block, i, end, owner[i]);

		if (!owner[i] && !hmm_bits_test(&fb->present, i))
			return EMU_READ;
		if (!owner[i]) {
			stop = hmm_bits_find(&fb->present, i, stop, false);
			err = from_system(fb, d, i, stop, p);
		} else if (owner[i] != HMM_OWNER_DEVICE(d->index)) {
			err = from_device(fb, &emu.device[owner[i] - 1], d, i, stop, p);
		}
		i = stop;
	}
	return err;
}

/* What was read of a file, for pages that nobody has. */
struct read {
	const char *bytes;
	unsigned int first; /* page */
	uint64_t epoch;     /* the file's, before it was read */
};

/*
 * Into the device's memory by a write, which zeroes no frame first and faults for none; by stores
 * where the application limits the size of files: who writes past that gets a signal.
 */
static int put_frames(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end,
		      const char *bytes)
{
	size_t len = (end - i) * HMM_PAGE_BYTES;
	struct rlimit files = { 0 };
	char *alias;

	if (!os_syscall4(SYS_prlimit64, 0, RLIMIT_FSIZE, NULL, &files) &&
	    files.rlim_cur == RLIM_INFINITY &&
	    os_syscall4(SYS_pwrite64, d->memory_fd, bytes, len, hmm_block_addr(b, i)) == (long)len)
		return 0;
	alias = emu_alias(b, d->index, i);
	if (alias)
		os_copy(alias, bytes, len);
	return alias ? 0 : -ENOMEM;
}

/* Unless something was taken away since it was read. Locking: mirror, block->lock; as move_out(). */
static int put_read(struct emu_fblock *fb, struct emu_device *d, unsigned int i, unsigned int end,
		    const struct read *r, struct progress *p)
{
	int err = 0;

	while (!err && i < end && atomic_load(&fb->file->epoch) == r->epoch) {
		unsigned int stop = i;

		while (stop < end && emu_file_absent(fb, stop))
			stop++;
		if (stop > i)
			err = put_frames(fb->block, d, i, stop,
					 r->bytes + (i - r->first) * HMM_PAGE_BYTES);
		if (stop > i && !err)
			arrived(fb, d, i, stop, p);
		i = stop > i ? stop : i + 1;
	}
	return err;
}

/* How many of @n pages from @addr on have one advice; whether they may go. */
static unsigned int one_advice(uintptr_t addr, unsigned int n, bool *kept)
{
	uintptr_t last;

	*kept = hmm_advice_at(addr, &last).no_migrate;
	if ((last - addr) >> HMM_PAGE_SHIFT < n)
		n = (unsigned int)((last - addr) >> HMM_PAGE_SHIFT);
	return n;
}

/* As in range.c: the advice is asked again with the block locked. @addr: page @i. @r: or NULL */
static int allowed_out(struct emu_fblock *fb, struct emu_device *d, uintptr_t addr, unsigned int i,
		       unsigned int end, const struct read *r, struct progress *p)
{
	int err = 0;

	while (!err && i < end) {
		bool kept;
		unsigned int n = one_advice(addr, end - i, &kept);

		if (!kept)
			err = r ? put_read(fb, d, i, i + n, r, p) : move_out(fb, d, i, i + n, p);
		addr += n * HMM_PAGE_BYTES;
		i += n;
	}
	return err;
}

static unsigned int missing_frames(const struct hmm_block *b, const struct emu_device *d,
				   unsigned int i, unsigned int end)
{
	unsigned int n = 0;

	for (; i < end; i++)
		n += !hmm_bits_test(&b->dev[d->index].frames, i);
	return n;
}

/*
 * One try, of what was read or of what is there. Frames are promised before the block is locked:
 * eviction locks blocks.
 */
static int try_out(struct emu_fblock *fb, struct emu_device *d, uintptr_t addr, unsigned int i,
		   unsigned int end, bool store, const struct read *r)
{
	struct progress p = { 0, 0 };
	struct hmm_block *b = fb->block;
	unsigned int reserved = 0, need;
	uint64_t began = hmm_trace_begin();
	int err = 0;

	os_read_lock(&emu.mirror);
	for (;;) {
		os_mutex_lock(&b->lock);
		need = missing_frames(b, d, i, end);
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
	else if (!emu_device_up(d))
		err = -ENODEV;
	else
		err = allowed_out(fb, d, addr, i, end, r, &p);
	if (store && b->owner[i] == HMM_OWNER_DEVICE(d->index))
		hmm_bits_set(&fb->dirty, i);
	if (!r) /* else they are mapped with the others, and as dirty as they will be */
		emu_file_map_device(fb, d, i, end);
	hmm_lru_touch(&emu.table, b, d->index);
	if (p.moved)
		HMM_TRACE(HMM_TRACE_TO_DEVICE, to_device, began, d->index, addr, p.moved);
	os_mutex_unlock(&b->lock);
out:
	emu_unreserve(d, reserved - p.used);
	os_read_unlock(&emu.mirror);
	return err;
}

/* Where pages from @i on that nobody has end, at most at @stop. */
static unsigned int absent_run(const struct emu_fblock *fb, unsigned int i, unsigned int stop)
{
	unsigned int at = i;

	while (at < stop && at - i < FILE_CHUNK_PAGES && emu_file_absent(fb, at))
		at++;
	return at;
}

/* What neither side has goes straight to the device. @addr: page @i. */
static int read_out(struct emu_fblock *fb, struct emu_device *d, uintptr_t addr, unsigned int i,
		    unsigned int end)
{
	unsigned int first = i, stop;
	int err = 0;

	if (emu.test_widen & EMU_FENCE_LATE) /* others unmap it, and let go of what they had */
		os_sleep_ns(5000000);
	for (; !err && i < end; i = stop) {
		struct read r = { NULL, i, atomic_load(&fb->file->epoch) };
		uintptr_t at = addr + (i - first) * HMM_PAGE_BYTES;
		char *chunk;
		bool kept;

		stop = i + one_advice(at, end - i, &kept);
		if (kept)
			continue;
		stop = absent_run(fb, i, stop);
		if (stop == i) {
			stop++;
			continue;
		}
		chunk = emu_chunk_get(false);
		r.bytes = chunk;
		err = emu_file_read(fb->file, fb, i, &stop, chunk);
		if (!err)
			err = try_out(fb, d, at, i, stop, false, &r);
		emu_chunk_put(chunk);
	}
	return err;
}

int emu_file_out(struct emu_fblock *fb, struct emu_device *d, uintptr_t addr, unsigned int i,
		 unsigned int end, bool store)
{
	uint64_t until = os_now_ns() + ROOM_NS;
	int err;

	for (;;) {
		err = read_out(fb, d, addr, i, end);
		if (!err)
			err = try_out(fb, d, addr, i, end, store, NULL);
		if (err == EMU_DRAIN)
			emu_events_drain();
		else if (err == EMU_WAIT || (err == EMU_NO_ROOM && os_now_ns() < until))
			os_sleep_ns(20000);
		else if (err != EMU_READ)
			return err == EMU_NO_ROOM ? -ENOMEM : err;
	}
}

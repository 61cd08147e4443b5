// SPDX-License-Identifier: MIT
/*
 * Pages of mapped files to a device and home. They are copied: write-protected on the side that
 * has them, copied, handed over, taken away. A page keeps its dirty bit wherever it goes.
 */
#include "core/trace.h"
#include "emulated/file.h"
#include "os/sys.h"

#include <errno.h>

#define ROOM_NS 5000000000ull /* device memory that never comes free */

void emu_file_protect_device(struct emu_fblock *fb, struct emu_device *d, unsigned int i,
			     unsigned int end)
{
	struct emu_piece p = { 0 };

	while (emu_device_up(d) && emu_piece_next(fb, i, end, &p))
		uffd_protect(d->uffd, p.addr, (p.end - p.i) * HMM_PAGE_BYTES, true);
}

/* Entries for pages that are there; a clean one's first store is to be seen. */
static void map_run(struct emu_fblock *fb, struct emu_device *d, const struct emu_piece *p,
		    unsigned int i, unsigned int end, bool protect)
{
	uint64_t mode = protect ? UFFDIO_CONTINUE_MODE_WP : 0;

	while (i < end) {
		uintptr_t addr = p->addr + (i - p->i) * HMM_PAGE_BYTES;
		size_t done = 0;
		int err = uffd_continue(d->uffd, addr, (end - i) * HMM_PAGE_BYTES, mode, &done);
		unsigned int n = (unsigned int)(done / HMM_PAGE_BYTES);

		if (err == -EINVAL && mode) { /* before Linux 6.4: nobody sees the first store */
			mode = 0;
			hmm_bits_set_range(&fb->dirty, i, end);
			continue;
		}
		if (err == -EEXIST && !n)
			n = 1;
		else if (err && err != -EAGAIN && !n)
			return; /* the engine is gone: its death is handled elsewhere */
		if (protect && !mode && !p->write)
			uffd_protect(d->uffd, addr, n * HMM_PAGE_BYTES, true);
		i += n;
	}
}

void emu_file_map_device(struct emu_fblock *fb, struct emu_device *d, unsigned int i,
			 unsigned int end)
{
	const uint8_t owner = HMM_OWNER_DEVICE(d->index);
	struct emu_piece p = { 0 };

	while (emu_device_up(d) && emu_piece_next(fb, i, end, &p)) {
		for (unsigned int at = p.i; at < p.end;) {
			bool dirty = hmm_bits_test(&fb->dirty, at);
			unsigned int stop = hmm_bits_find(&fb->dirty, at, p.end, !dirty);

			stop = hmm_block_owner_run(fb->block, at, stop, owner);
			if (stop > at)
				map_run(fb, d, &p, at, stop, !dirty || !p.write);
			at = stop > at ? stop : at + 1;
		}
	}
}

static void arrived(struct emu_fblock *fb, struct emu_device *d, unsigned int i, unsigned int end,
		    unsigned int *used)
{
	struct hmm_block *b = fb->block;

	for (unsigned int p = i; p < end; p++) {
		if (!hmm_bits_test(&b->dev[d->index].frames, p)) {
			hmm_bits_set(&b->dev[d->index].frames, p);
			++*used;
		}
		hmm_block_set_owner(b, p, HMM_OWNER_DEVICE(d->index));
	}
	b->moved_at = os_now_ns();
	emu_count(d, EMU_TO_DEVICE, end - i);
}

static int from_system(struct emu_fblock *fb, struct emu_device *d, unsigned int i,
		       unsigned int end, unsigned int *used)
{
	size_t len = (end - i) * HMM_PAGE_BYTES;
	char *alias = emu_alias(fb->block, d->index, i);
	bool fence = !(emu.test_skip & EMU_SKIP_CLIENT_FENCE);
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
	arrived(fb, d, i, end, used);
	return 0;
}

static int from_device(struct emu_fblock *fb, struct emu_device *from, struct emu_device *d,
		       unsigned int i, unsigned int end, unsigned int *used)
{
	char *dst = emu_alias(fb->block, d->index, i), *src = emu_alias(fb->block, from->index, i);
	uint64_t began = hmm_trace_begin();

	if (!dst || !src)
		return -ENOMEM;
	if (!(emu.test_skip & EMU_SKIP_DEVICE_FENCE))
		emu_file_protect_device(fb, from, i, end);
	os_copy(dst, src, (end - i) * HMM_PAGE_BYTES);
	arrived(fb, d, i, end, used);
	emu_frames_free(fb->block, from, i, end);
	emu_count(d, EMU_ACROSS, end - i);
	HMM_TRACE(HMM_TRACE_ACROSS, across, began, d->index, hmm_block_addr(fb->block, i), end - i);
	return 0;
}

/* Locking: mirror, block->lock; enough is reserved. EMU_READ: a page must be read first. */
static int move_out(struct emu_fblock *fb, struct emu_device *d, unsigned int i, unsigned int end,
		    unsigned int *used)
{
	const uint8_t *owner = fb->block->owner;
	int err = 0;

	while (!err && i < end) {
		unsigned int stop = hmm_block_owner_run(fb->block, i, end, owner[i]);

		if (!owner[i] && !hmm_bits_test(&fb->present, i))
			return EMU_READ;
		if (!owner[i]) {
			stop = hmm_bits_find(&fb->present, i, stop, false);
			err = from_system(fb, d, i, stop, used);
		} else if (owner[i] != HMM_OWNER_DEVICE(d->index)) {
			err = from_device(fb, &emu.device[owner[i] - 1], d, i, stop, used);
		}
		i = stop;
	}
	return err;
}

/* As in range.c: the advice is asked again with the block locked. @addr: page @i. */
static int allowed_out(struct emu_fblock *fb, struct emu_device *d, uintptr_t addr, unsigned int i,
		       unsigned int end, unsigned int *used)
{
	int err = 0;

	while (!err && i < end) {
		uintptr_t last;
		bool kept = hmm_advice_at(addr, &last).no_migrate;
		unsigned int n = end - i;

		if ((last - addr) >> HMM_PAGE_SHIFT < n)
			n = (unsigned int)((last - addr) >> HMM_PAGE_SHIFT);
		if (!kept)
			err = move_out(fb, d, i, i + n, used);
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

/* One try. Frames are promised before the block is locked: eviction locks blocks. */
static int try_out(struct emu_fblock *fb, struct emu_device *d, uintptr_t addr, unsigned int i,
		   unsigned int end, bool store)
{
	struct hmm_block *b = fb->block;
	unsigned int reserved = 0, used = 0, need;
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
		err = allowed_out(fb, d, addr, i, end, &used);
	if (store && b->owner[i] == HMM_OWNER_DEVICE(d->index))
		hmm_bits_set(&fb->dirty, i);
	emu_file_map_device(fb, d, i, end);
	hmm_lru_touch(&emu.table, b, d->index);
	HMM_TRACE(HMM_TRACE_TO_DEVICE, to_device, began, d->index, hmm_block_addr(b, i), end - i);
	os_mutex_unlock(&b->lock);
out:
	emu_unreserve(d, reserved - used);
	os_read_unlock(&emu.mirror);
	return err;
}

int emu_file_out(struct emu_fblock *fb, struct emu_device *d, uintptr_t addr, unsigned int i,
		 unsigned int end, bool store)
{
	uint64_t until = os_now_ns() + ROOM_NS;
	int err;

	for (;;) {
		err = emu_file_populate(fb->file, fb, i, end);
		if (!err)
			err = try_out(fb, d, addr, i, end, store);
		if (err == EMU_DRAIN)
			emu_events_drain();
		else if (err == EMU_WAIT || (err == EMU_NO_ROOM && os_now_ns() < until))
			os_sleep_ns(20000);
		else if (err != EMU_READ)
			return err == EMU_NO_ROOM ? -ENOMEM : err;
	}
}

static int run_home(struct emu_fblock *fb, struct emu_device *d, unsigned int i, unsigned int end,
		    unsigned int *stop)
{
	struct hmm_block *b = fb->block;
	char *alias = emu_alias(b, d->index, i);
	uint64_t began = hmm_trace_begin();
	int err;

	*stop = i;
	if (!alias)
		return -ENOMEM;
	if (!(emu.test_skip & EMU_SKIP_DEVICE_FENCE))
		emu_file_protect_device(fb, d, i, end);
	err = emu_file_install(fb, i, end, alias, stop);
	if (*stop == i)
		return err;
	/* The CPU reads what is there; its first store waits for us. Now the device's loads end. */
	emu_frames_free(b, d, i, *stop);
	for (unsigned int p = i; p < *stop; p++)
		hmm_block_set_owner(b, p, HMM_OWNER_SYSTEM);
	b->moved_at = os_now_ns();
	emu_count(d, EMU_TO_SYSTEM, *stop - i);
	HMM_TRACE(HMM_TRACE_TO_SYSTEM, to_system, began, d->index, hmm_block_addr(b, i), *stop - i);
	return err;
}

int emu_file_home(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end)
{
	const uint8_t owner = HMM_OWNER_DEVICE(d->index);
	int err = 0;

	while (!err && i < end) {
		unsigned int stop = hmm_block_owner_run(b, i, end, owner);

		if (stop > i)
			err = run_home(b->file, d, i, stop, &stop);
		else
			stop = i + 1;
		i = stop;
	}
	return err == EMU_WAIT ? EMU_DRAIN : err;
}

static long part_out(struct emu_fblock *fb, struct emu_device *d, uintptr_t addr, unsigned int i,
		     unsigned int end)
{
	struct emu_file *f = fb->file;
	const uint8_t owner = HMM_OWNER_DEVICE(d->index);
	long on = 0;
	int err;

	do {
		uint64_t pages;

		err = emu_file_look(f);
		pages = emu_file_pages(f);
		if (fb->first + i >= pages)
			return err;
		if (!err)
			err = emu_file_out(
				fb, d, addr, i,
				fb->first + end > pages ? (unsigned int)(pages - fb->first) : end,
				false);
		/* A fork says nothing about room. */
	} while (err == EMU_EOF || (err == -ENOMEM && emu.running && atomic_load(&emu.hold)));
	for (; !err && i < end; i++)
		on += fb->block->owner[i] == owner;
	return err ? err : on;
}

static long part_home(struct emu_fblock *fb, unsigned int i, unsigned int end)
{
	int err = emu_block_home(fb->block, i, end, false);
	long on = 0;

	for (; !err && i < end; i++)
		on += hmm_bits_test(&fb->present, i);
	return err ? err : on;
}

/* A range with one advice. */
static long migrate_run(uintptr_t start, uintptr_t end, struct emu_device *d)
{
	struct emu_file *f;
	unsigned int pages;
	long n, on = 0;
	uint64_t page;

	for (; start < end && emu_file_part(&start, end, &f, &page, &pages);
	     start += pages * HMM_PAGE_BYTES) {
		unsigned int i;
		struct emu_fblock *fb = emu_fblock_get(f, page, &i);

		if (!fb)
			n = -ENOMEM;
		else
			n = d ? part_out(fb, d, start, i, i + pages) : part_home(fb, i, i + pages);
		emu_file_put(f);
		if (n < 0)
			return n;
		on += n;
	}
	return on;
}

/* What was advised not to migrate is not even read. */
long emu_file_migrate(uintptr_t start, uintptr_t end, struct emu_device *d)
{
	long n, on = 0;
	uintptr_t stop;

	for (; start < end; start = stop) {
		bool kept = d && hmm_advice_at(start, &stop).no_migrate;

		if (!d || stop > end)
			stop = end;
		n = kept ? emu_file_count(start, stop, d) : migrate_run(start, stop, d);
		if (n < 0)
			return n;
		on += n;
	}
	return on;
}

long emu_file_count(uintptr_t start, uintptr_t end, const struct emu_device *d)
{
	struct emu_file *f;
	unsigned int pages;
	uint64_t page;
	long on = 0;

	for (; start < end && emu_file_part(&start, end, &f, &page, &pages);
	     start += pages * HMM_PAGE_BYTES) {
		unsigned int i;
		struct emu_fblock *fb = emu_fblock_get(f, page, &i);

		for (unsigned int p = i; fb && p < i + pages; p++)
			on += hmm_block_owner(fb->block, p) == HMM_OWNER_DEVICE(d->index);
		emu_file_put(f);
	}
	return on;
}

bool emu_file_query(uintptr_t addr, struct hmm_page_status *s)
{
	const struct emu_map *m = atomic_load(&emu_files.n) ? emu_map_find(addr) : NULL;
	struct emu_fblock *fb;
	unsigned int i;

	if (!m)
		return false;
	*s = (struct hmm_page_status){ HMM_NOT_POPULATED, -1, HMM_PAGE_SHARED, 0 };
	fb = emu_fblock_get(m->file, emu_map_page(m, addr), &i);
	if (!fb)
		return true;
	os_mutex_lock(&fb->block->lock);
	if (fb->block->owner[i])
		s->location = fb->block->owner[i] - 1;
	else if (hmm_bits_test(&fb->present, i))
		s->location = HMM_SYSTEM;
	if (hmm_bits_test(&fb->dirty, i) || hmm_bits_test(&fb->written, i))
		s->flags |= HMM_PAGE_DIRTY;
	os_mutex_unlock(&fb->block->lock);
	return true;
}

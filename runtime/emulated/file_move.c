// SPDX-License-Identifier: MIT
/*
 * Pages of mapped files to a device and home. They are copied: write-protected on the side that
 * has them, copied, handed over, taken away. A page keeps its dirty bit wherever it goes.
 */
#include "core/trace.h"
#include "emulated/file.h"
#include "os/sys.h"

#include <errno.h>

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
	if (!(emu.test_skip & EMU_FENCE_DEVICE))
		emu_file_protect_device(fb, d, i, end);
	err = emu_file_install(fb, i, end, alias, stop);
	if (*stop == i)
		return err;
	/* The CPU reads what is there; its first store waits for us. Now the device's loads end. */
	emu_frames_free(b, d, i, *stop);
	for (unsigned int p = i; p < *stop; p++)
		hmm_block_set_owner(b, p, HMM_OWNER_SYSTEM);
	__atomic_store_n(&b->moved_at, os_now_ns(), __ATOMIC_RELAXED);
	emu_count(d, EMU_TO_SYSTEM, *stop - i);
	HMM_TRACE(HMM_TRACE_TO_SYSTEM, to_system, began, d->index, emu_address(b, i, *stop),
		  *stop - i);
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
		on += hmm_block_owner(fb->block, i) == owner;
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

// SPDX-License-Identifier: MIT
/*
 * Where a mapped file ends. The memfd is as long as the mappings are, for nobody tells us when the
 * file grows. A touch beyond the end asks us for a page; then the memfd is cut there, and the
 * kernel answers with SIGBUS, as it does for the file itself. Soon after it gets its length back.
 */
#include "emulated/file.h"
#include "os/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>

#define CUT_NS 20000000u

/* Pages from @page on were taken out of the memfd: stores to what comes there must fault. */
static void dress_from(struct emu_file *f, uint64_t page)
{
	int err;

	do {
		err = 0;
		os_read_lock(&emu.mirror);
		for (unsigned int i = 0; !err && i < atomic_load(&emu_files.n); i++) {
			const struct emu_map *m = &emu_files.map[i];
			uintptr_t at = m->start;

			if (m->file != f || emu_map_page(m, m->end) <= page)
				continue;
			if (page > m->first)
				at += (page - m->first) << HMM_PAGE_SHIFT;
			err = uffd_protect(emu.client, at, m->end - at, true);
		}
		os_read_unlock(&emu.mirror);
		if (err == -EAGAIN || err == -ENOENT)
			emu_events_drain();
	} while (err == -EAGAIN);
}

static void zero_tail(struct emu_fblock *fb, unsigned int i, size_t from)
{
	static const char zeros[4096];
	struct hmm_block *b = fb->block;
	char *alias = b->owner[i] ? emu_alias(b, b->owner[i] - 1u, i) : NULL;
	uint64_t offset = ((fb->first + i) << HMM_PAGE_SHIFT) + from;

	if (alias)
		os_zero(alias + from, HMM_PAGE_BYTES - from);
	else if (hmm_bits_test(&fb->present, i))
		os_syscall4(SYS_pwrite64, fb->file->memory, zeros, HMM_PAGE_BYTES - from, offset);
}

/* Locking: size_lock. */
static void shrunk(struct emu_file *f, uint64_t size)
{
	uint64_t keep = (size + HMM_PAGE_BYTES - 1) >> HMM_PAGE_SHIFT;
	struct emu_fblock *fb;

	atomic_fetch_add(&f->epoch, 1);
	for (uint64_t page = keep ? keep - 1 : 0; (fb = emu_fblock_next(f, page, UINT64_MAX));
	     page = fb->first + HMM_BLOCK_PAGES) {
		unsigned int i = keep > fb->first ? (unsigned int)(keep - fb->first) : 0;

		os_read_lock(&emu.mirror);
		os_mutex_lock(&fb->block->lock);
		if (i < HMM_BLOCK_PAGES)
			emu_file_drop(fb, i, HMM_BLOCK_PAGES);
		if (i && i <= HMM_BLOCK_PAGES && size % HMM_PAGE_BYTES)
			zero_tail(fb, i - 1, size % HMM_PAGE_BYTES);
		os_mutex_unlock(&fb->block->lock);
		os_read_unlock(&emu.mirror);
	}
	dress_from(f, keep);
}

/* Locking: size_lock. */
static void uncut(struct emu_file *f)
{
	os_syscall2(SYS_ftruncate, f->memory, f->bytes);
	__atomic_store_n(&f->cut_at, 0, __ATOMIC_RELAXED);
}

/* Locking: size_lock. */
static int look(struct emu_file *f)
{
	struct stat st = { 0 };
	uint64_t before = atomic_load(&f->size), now;
	int fd = __atomic_load_n(&f->rfd, __ATOMIC_RELAXED); /* -1: it is about to be opened */
	int err = (int)os_syscall2(SYS_fstat, fd, &st);

	if (err)
		return err;
	now = (uint64_t)st.st_size;
	if (now == before)
		return 0;
	atomic_store(&f->size, now);
	if (now < before)
		shrunk(f, now);
	else if (f->cut_at)
		uncut(f);
	return 0;
}

int emu_file_look(struct emu_file *f)
{
	int err;

	os_mutex_lock(&f->size_lock);
	err = look(f);
	os_mutex_unlock(&f->size_lock);
	return err;
}

bool emu_file_cut(struct emu_file *f, uintptr_t addr)
{
	const struct emu_map *m;
	bool beyond;

	os_mutex_lock(&f->size_lock);
	look(f);
	os_read_lock(&emu.mirror);
	m = emu_map_find(addr);
	beyond = m && m->file == f && emu_map_page(m, addr) >= emu_file_pages(f);
	os_read_unlock(&emu.mirror);
	if (beyond && !f->cut_at) {
		__atomic_store_n(&f->cut_at, os_now_ns(), __ATOMIC_RELAXED);
		os_syscall2(SYS_ftruncate, f->memory, emu_file_pages(f) << HMM_PAGE_SHIFT);
		dress_from(f, emu_file_pages(f));
		emu_flusher_kick();
	}
	os_mutex_unlock(&f->size_lock);
	if (beyond)
		uffd_wake(emu.client, addr, HMM_PAGE_BYTES);
	return beyond;
}

void emu_file_uncut(struct emu_file *f, uint64_t now)
{
	if (!__atomic_load_n(&f->cut_at, __ATOMIC_RELAXED))
		return;
	os_mutex_lock(&f->size_lock);
	if (f->cut_at && now > f->cut_at + CUT_NS)
		uncut(f);
	os_mutex_unlock(&f->size_lock);
}

uintptr_t emu_file_limit(uintptr_t addr, uintptr_t end)
{
	uintptr_t at = addr & ~(HMM_PAGE_BYTES - 1);
	struct emu_file *f;
	unsigned int pages;
	uint64_t page;

	end = (end + HMM_PAGE_BYTES - 1) & ~(HMM_PAGE_BYTES - 1);
	for (; at < end && emu_file_part(&at, end, &f, &page, &pages);
	     at += pages * HMM_PAGE_BYTES) {
		uint64_t last;

		emu_file_look(f);
		last = emu_file_pages(f);
		emu_file_put(f);
		if (page >= last)
			return at > addr ? at : addr;
		if (page + pages > last)
			return at + ((last - page) << HMM_PAGE_SHIFT);
	}
	return end;
}

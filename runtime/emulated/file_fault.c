// SPDX-License-Identifier: MIT
/* A device touches a page of a mapped file: it is there, or it is fetched with some that follow. */
#include "emulated/file.h"
#include "os/sys.h"

#include <errno.h>

#define FIRST_WINDOW 16

/* Served at once if it is there. Locking: mirror. */
static bool is_resident(struct emu_fblock *fb, struct emu_device *d, const struct emu_map *m,
			uintptr_t addr, unsigned int i, bool store, bool protected)
{
	const uint8_t owner = HMM_OWNER_DEVICE(d->index);
	unsigned int end = i + 1;
	bool here;

	os_mutex_lock(&fb->block->lock);
	here = fb->block->owner[i] == owner;
	if (here) {
		/* Reclaim takes entries as it likes; those around it are gone, too. */
		if (!protected)
			end = hmm_block_owner_run(fb->block, i, HMM_BLOCK_PAGES, owner);
		if (store && m->write) {
			/* Before a store can be: whoever writes it back must find it. */
			hmm_bits_set(&fb->dirty, i);
			uffd_protect(d->uffd, addr, HMM_PAGE_BYTES, false);
		}
		emu_file_map_device(fb, d, i, end);
		uffd_wake(d->uffd, addr, HMM_PAGE_BYTES);
		hmm_lru_touch(&emu.table, fb->block, d->index);
	}
	os_mutex_unlock(&fb->block->lock);
	return here;
}

struct touch {
	struct emu_file *f;
	struct emu_fblock *fb;
	uintptr_t addr;
	unsigned int i, pages;
	bool store, protected, served;
};

/* What a touch is of, with a user more; why it cannot be. */
static const char *find_touched(struct touch *t, struct emu_device *d)
{
	const char *why = NULL;
	const struct emu_map *m;

	os_read_lock(&emu.mirror);
	m = emu_map_find(t->addr);
	t->f = m ? m->file : NULL;
	t->fb = m ? emu_fblock_get(m->file, emu_map_page(m, t->addr), &t->i) : NULL;
	if (m && !t->fb)
		why = "out of memory";
	else if (m && t->store && !m->write)
		why = "the mapping is read-only";
	else if (m)
		t->served = is_resident(t->fb, d, m, t->addr, t->i, t->store, t->protected);
	if (m && !why && !t->served) {
		t->pages = emu_window(&emu.device_window, t->addr,
				      hmm_block_addr(t->fb->block, t->i), (int)d->index,
				      FIRST_WINDOW);
		if (t->pages > (m->end - t->addr) >> HMM_PAGE_SHIFT)
			t->pages = (unsigned int)((m->end - t->addr) >> HMM_PAGE_SHIFT);
	}
	if (m)
		atomic_fetch_add(&m->file->users, 1);
	os_read_unlock(&emu.mirror);
	return why;
}

static const char *fetch(struct touch *t, struct emu_device *d)
{
	uint64_t pages, page = t->fb->first + t->i;
	int err = emu_file_look(t->f);

	pages = emu_file_pages(t->f);
	if (page >= pages)
		return "beyond the end of the file";
	if (t->pages > pages - page)
		t->pages = (unsigned int)(pages - page);
	if (t->pages > d->capacity)
		t->pages = (unsigned int)d->capacity;
	emu_dwell(t->fb->block);
	if (!err)
		err = emu_file_out(t->fb, d, t->addr, t->i, t->i + t->pages, t->store);
	if (err == EMU_EOF)
		return NULL; /* it shrinks right now: it faults again */
	if (err == -ENOMEM)
		return "out of memory";
	if (err && err != -ENODEV)
		return "the file cannot be read";
	atomic_fetch_add(&d->proc.served_pages, t->pages);
	return NULL;
}

bool emu_file_device_fault(struct emu_device *d, uintptr_t addr, bool write, bool protected,
			   const char **why)
{
	struct touch t = { .addr = addr, .store = write, .protected = protected };
	struct os_vma v;

	*why = NULL;
	if (!atomic_load(&emu_files.n))
		return false;
	*why = find_touched(&t, d);
	if (!t.f)
		return false;
	if (!*why && !t.served) {
		if (os_vma_find(addr, &v) || v.start > addr || !v.read || (write && !v.write))
			*why = "the mapping has no such access";
		else if (emu_is_kept(addr))
			*why = EMU_WHY_KEPT;
		else
			*why = fetch(&t, d);
		if (!*why)
			emu_device_wake(d, addr, HMM_PAGE_BYTES);
	}
	emu_file_put(t.f);
	return true;
}

// SPDX-License-Identifier: MIT
/* Which addresses are of which file, and the blocks that stand for its pages. */
#include "emulated/file.h"
#include "os/arena.h"
#include "os/sys.h"

#include <errno.h>
#include <sys/mman.h>

#define EXTENT_PAGES (1ul << 18) /* a gigabyte of addresses, at the least */

struct emu_files emu_files;

/* The first that ends behind @addr. */
static unsigned int find(uintptr_t addr)
{
	unsigned int low = 0, high = atomic_load(&emu_files.n);

	while (low < high) {
		unsigned int mid = low + (high - low) / 2;

		if (emu_files.map[mid].end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

const struct emu_map *emu_map_find(uintptr_t addr)
{
	unsigned int i = find(addr);

	if (i == atomic_load(&emu_files.n) || emu_files.map[i].start > addr)
		return NULL;
	return &emu_files.map[i];
}

const struct emu_map *emu_map_next(uintptr_t addr, uintptr_t end)
{
	unsigned int i = find(addr);

	if (addr >= end || i == atomic_load(&emu_files.n) || emu_files.map[i].start >= end)
		return NULL;
	return &emu_files.map[i];
}

bool emu_piece_next(const struct emu_fblock *fb, unsigned int i, unsigned int end,
		    struct emu_piece *p)
{
	uint64_t from = fb->first + i, to = fb->first + end;

	while (p->next < atomic_load(&emu_files.n)) {
		const struct emu_map *m = &emu_files.map[p->next++];
		uint64_t last = emu_map_page(m, m->end);
		uint64_t a = from > m->first ? from : m->first, z = to < last ? to : last;

		if (m->file != fb->file || a >= z)
			continue;
		p->i = (unsigned int)(a - fb->first);
		p->end = (unsigned int)(z - fb->first);
		p->addr = m->start + ((a - m->first) << HMM_PAGE_SHIFT);
		p->write = m->write;
		return true;
	}
	return false;
}

uintptr_t emu_address(const struct hmm_block *b, unsigned int i, unsigned int end)
{
	struct emu_piece p = { 0 };

	if (!b->file)
		return hmm_block_addr(b, i);
	return emu_piece_next(b->file, i, end, &p) ? p.addr : 0;
}

static int add_room(void)
{
	unsigned int n = atomic_load(&emu_files.n);
	unsigned int room = emu_files.room ? 2 * emu_files.room : 64;
	struct emu_map *more;

	if (n + 1 < emu_files.room) /* one to spare: unmapping may cut one in two */
		return 0;
	more = os_alloc(room * sizeof(*more));
	if (!more)
		return -ENOMEM;
	if (n)
		os_copy(more, emu_files.map, n * sizeof(*more));
	os_free(emu_files.map, emu_files.room * sizeof(*more));
	emu_files.map = more;
	emu_files.room = room;
	return 0;
}

static void insert(unsigned int at, const struct emu_map *m)
{
	for (unsigned int i = atomic_load(&emu_files.n); i > at; i--)
		emu_files.map[i] = emu_files.map[i - 1];
	emu_files.map[at] = *m;
	atomic_fetch_add(&emu_files.n, 1);
	m->file->maps++;
}

static void erase(unsigned int at)
{
	emu_files.map[at].file->maps--;
	atomic_fetch_sub(&emu_files.n, 1);
	for (unsigned int i = at; i < atomic_load(&emu_files.n); i++)
		emu_files.map[i] = emu_files.map[i + 1];
}

int emu_map_add(const struct emu_map *m)
{
	int err = add_room();

	if (!err)
		insert(find(m->start), m);
	return err;
}

/* What is left of one that loses [start, end). */
static void shrink(unsigned int at, uintptr_t start, uintptr_t end)
{
	struct emu_map *m = &emu_files.map[at], rest = *m;

	if (m->start < start && m->end > end) {
		rest.first = emu_map_page(m, end);
		rest.start = end;
		m->end = start;
		if (add_room() || atomic_load(&emu_files.n) == emu_files.room)
			hmm_log(HMM_LOG_ERROR, "mapping %lx: out of memory", rest.start);
		else
			insert(at + 1, &rest);
	} else if (m->start < start) {
		m->end = start;
	} else if (m->end > end) {
		m->first = emu_map_page(m, end);
		m->start = end;
	} else {
		erase(at);
	}
}

static void engines_unmap(uintptr_t start, uintptr_t end)
{
	struct hmm_engine_msg msg = {
		.magic = HMM_ENGINE_MAGIC,
		.op = HMM_ENGINE_UNMAP_FILE,
		.start = start,
		.length = end - start,
	};

	for (unsigned int d = 0; d < emu.devices; d++)
		if (emu_device_up(&emu.device[d])) {
			hmm_proc_request(&emu.device[d].proc, &msg, -1);
			uffd_wake(emu.device[d].uffd, start, end - start);
		}
}

/* Its pages stay, until they are written and trimmed. */
void emu_files_unmapped(uintptr_t start, uintptr_t end)
{
	unsigned int i = find(start);

	while (i < atomic_load(&emu_files.n) && emu_files.map[i].start < end) {
		const struct emu_map *m = &emu_files.map[i];
		uintptr_t a = start > m->start ? start : m->start, z = end < m->end ? end : m->end;

		engines_unmap(a, z);
		atomic_store(&m->file->trim, true);
		shrink(i, a, z);
		uffd_wake(emu.client, a, z - a); /* who waits faults again, elsewhere */
		i = find(start);
	}
}

static struct emu_extent *extent_of(struct emu_file *f, uint64_t page)
{
	struct emu_extent *e = __atomic_load_n(&f->extents, __ATOMIC_ACQUIRE);

	while (e && (page < e->first || page >= e->first + e->pages))
		e = e->next;
	return e;
}

/* Addresses that nobody will have. */
static uintptr_t reserve(size_t bytes)
{
	size_t len = bytes + HMM_BLOCK_BYTES;
	uintptr_t p = os_mmap(0, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			      0);
	uintptr_t start;

	if (os_is_error(p))
		return p;
	start = (p + HMM_BLOCK_BYTES - 1) & ~(HMM_BLOCK_BYTES - 1);
	if (start > p)
		os_munmap((void *)p, start - p);
	os_munmap((void *)(start + bytes), p + len - start - bytes);
	return start;
}

static int add_extent(struct emu_file *f, uint64_t first, uint64_t pages)
{
	struct emu_extent *e = os_alloc(sizeof(*e));

	if (!e)
		return -ENOMEM;
	e->first = first;
	e->pages = pages;
	e->block = os_alloc(pages / HMM_BLOCK_PAGES * sizeof(struct emu_fblock *));
	e->base = e->block ? reserve(pages << HMM_PAGE_SHIFT) : (uintptr_t)-ENOMEM;
	if (os_is_error(e->base)) {
		os_free(e->block, pages / HMM_BLOCK_PAGES * sizeof(struct emu_fblock *));
		os_free(e, sizeof(*e));
		return -ENOMEM;
	}
	e->next = f->extents;
	__atomic_store_n(&f->extents, e, __ATOMIC_RELEASE);
	return 0;
}

/* Addresses for the blocks of [page, end). Locking: mirror exclusively. */
int emu_extents_add(struct emu_file *f, uint64_t page, uint64_t end)
{
	page &= ~(uint64_t)(HMM_BLOCK_PAGES - 1);
	end = (end + HMM_BLOCK_PAGES - 1) & ~(uint64_t)(HMM_BLOCK_PAGES - 1);
	while (page < end) {
		struct emu_extent *e = extent_of(f, page);
		uint64_t stop = end - page < EXTENT_PAGES ? page + EXTENT_PAGES : end;
		int err;

		if (e) {
			page = e->first + e->pages;
			continue;
		}
		for (e = f->extents; e; e = e->next)
			if (e->first > page && e->first < stop)
				stop = e->first;
		err = add_extent(f, page, stop - page);
		if (err)
			return err;
	}
	return 0;
}

void emu_extents_free(struct emu_file *f)
{
	struct emu_extent *e;

	while ((e = f->extents)) {
		uint64_t n = e->pages / HMM_BLOCK_PAGES;

		f->extents = e->next;
		for (uint64_t i = 0; i < n; i++) {
			if (!e->block[i])
				continue;
			e->block[i]->block->file = NULL;
			os_free(e->block[i], sizeof(*e->block[i]));
		}
		os_free(e->block, n * sizeof(*e->block));
		os_munmap((void *)e->base, e->pages << HMM_PAGE_SHIFT);
		os_free(e, sizeof(*e));
	}
}

static struct emu_fblock *make_block(struct emu_file *f, struct emu_extent *e, uint64_t n)
{
	struct emu_fblock *fb = os_alloc(sizeof(*fb));
	struct hmm_block *b = hmm_block_get(&emu.table, e->base + n * HMM_BLOCK_BYTES);

	if (!fb || !b) {
		os_free(fb, sizeof(*fb));
		return NULL;
	}
	fb->file = f;
	fb->block = b;
	fb->first = e->first + n * HMM_BLOCK_PAGES;
	b->file = fb;
	__atomic_store_n(&e->block[n], fb, __ATOMIC_RELEASE);
	return fb;
}

struct emu_fblock *emu_fblock_get(struct emu_file *f, uint64_t page, unsigned int *i)
{
	struct emu_extent *e = extent_of(f, page);
	uint64_t n = e ? (page - e->first) / HMM_BLOCK_PAGES : 0;
	struct emu_fblock *fb;

	*i = (unsigned int)(page & (HMM_BLOCK_PAGES - 1));
	if (!e)
		return NULL;
	fb = __atomic_load_n(&e->block[n], __ATOMIC_ACQUIRE);
	if (fb)
		return fb;
	os_mutex_lock(&emu_files.grow_lock);
	fb = e->block[n];
	if (!fb)
		fb = make_block(f, e, n);
	os_mutex_unlock(&emu_files.grow_lock);
	return fb;
}

struct emu_fblock *emu_fblock_next(struct emu_file *f, uint64_t page, uint64_t end)
{
	struct emu_fblock *best = NULL;
	struct emu_extent *e = __atomic_load_n(&f->extents, __ATOMIC_ACQUIRE);

	for (; e; e = e->next) {
		uint64_t n = page > e->first ? (page - e->first) / HMM_BLOCK_PAGES : 0;

		for (; n < e->pages / HMM_BLOCK_PAGES; n++) {
			struct emu_fblock *fb = __atomic_load_n(&e->block[n], __ATOMIC_ACQUIRE);

			if (!fb)
				continue;
			if (fb->first < end && (!best || fb->first < best->first))
				best = fb;
			break;
		}
	}
	return best;
}

void emu_file_put(struct emu_file *f)
{
	atomic_fetch_sub(&f->users, 1);
}

bool emu_file_part(uintptr_t *start, uintptr_t end, struct emu_file **f, uint64_t *page,
		   unsigned int *pages)
{
	unsigned int i;
	bool found;

	os_read_lock(&emu.mirror);
	i = find(*start);
	found = *start < end && i < atomic_load(&emu_files.n) && emu_files.map[i].start < end;
	if (found) {
		const struct emu_map *m = &emu_files.map[i];
		uint64_t left;

		if (*start < m->start)
			*start = m->start;
		if (end > m->end)
			end = m->end;
		*f = m->file;
		atomic_fetch_add(&m->file->users, 1);
		*page = emu_map_page(m, *start);
		left = HMM_BLOCK_PAGES - (*page & (HMM_BLOCK_PAGES - 1));
		*pages = (unsigned int)((end - *start) >> HMM_PAGE_SHIFT < left ?
						(end - *start) >> HMM_PAGE_SHIFT :
						left);
	}
	os_read_unlock(&emu.mirror);
	return found;
}

bool emu_files_cover(uintptr_t start, uintptr_t end)
{
	os_read_lock(&emu.mirror);
	for (unsigned int i = find(start); i < atomic_load(&emu_files.n) && start < end; i++) {
		if (emu_files.map[i].start > start)
			break;
		start = emu_files.map[i].end;
	}
	os_read_unlock(&emu.mirror);
	return start >= end;
}

uintptr_t emu_file_border(uintptr_t addr, uintptr_t end, bool *is_file)
{
	unsigned int i;

	os_read_lock(&emu.mirror);
	i = find(addr);
	*is_file = false;
	if (i < atomic_load(&emu_files.n)) {
		const struct emu_map *m = &emu_files.map[i];
		uintptr_t border = m->start > addr ? m->start : m->end;

		*is_file = m->start <= addr;
		if (border < end)
			end = border;
	}
	os_read_unlock(&emu.mirror);
	return end;
}

// SPDX-License-Identifier: MIT
/*
 * What the application does to its mappings: MADV_DONTNEED and the like, munmap,
 * mremap. The kernel holds the caller until its event is read, and not longer. So
 * events are read only under the mirror lock held exclusively, when no migration of
 * any block is under way, and acted upon before that lock is let go: nobody can see
 * the range afterwards in its old state.
 *
 * The same descriptor delivers the CPU's faults; those are queued for the handlers.
 */
#include "emulated/file.h"
#include "os/sys.h"

#include <errno.h>

#define MAX_EVENTS 256         /* held back by one exclusive section; the rest waits unread */
#define AT_ONCE 4              /* messages that a handler reads */
#define HOME_NS 10000000000ull /* the CPU has nowhere else to go */

static struct uffd_msg pending[MAX_EVENTS];  /* locking: mirror exclusively */
static unsigned int n_pending, next_pending; /* next_pending: the first not yet acted upon */

/* Which pages of a block a range covers. */
static void clip(const struct hmm_block *b, uintptr_t start, uintptr_t end, unsigned int *i,
		 unsigned int *stop)
{
	*i = start <= b->start ? 0 : hmm_block_index(start);
	*stop = end >= b->start + HMM_BLOCK_BYTES ? HMM_BLOCK_PAGES : hmm_block_index(end);
}

/* Locking: mirror exclusively. The bytes of these pages are gone by request. */
static void drop_pages(struct hmm_block *b, unsigned int i, unsigned int end, bool unmapped)
{
	for (unsigned int d = 0; d < emu.devices; d++) {
		struct emu_device *dev = &emu.device[d];

		if (hmm_bits_find(&b->dev[d].frames, i, end, true) == end)
			continue;
		emu_engine_track(b, dev);
		emu_frames_free(b, dev, i, end);
	}
	emu_drop_staged(b, i, end);
	if (hmm_block_resident(b))
		emu_changing(b);
	for (unsigned int p = i; p < end; p++)
		hmm_block_set_owner(b, p, HMM_OWNER_SYSTEM);
	hmm_bits_clear_range(&b->pinned, i, end);
	hmm_bits_clear_range(&b->protected, i, end);
	hmm_bits_clear_range(&b->read_only, i, end);
	if (unmapped)
		hmm_bits_clear_range(&b->registered, i, end);
}

static void drop_range(uintptr_t start, uintptr_t end, bool unmapped)
{
	uintptr_t at = start;
	struct hmm_block *b;

	while (at < end && (b = hmm_block_next(&emu.table, at, end))) {
		unsigned int i, stop;

		clip(b, start, end, &i, &stop);
		drop_pages(b, i, stop, unmapped);
		at = b->start + HMM_BLOCK_BYTES;
	}
}

static bool read_message(struct uffd_msg *m)
{
	return os_read(emu.client, m, sizeof(*m)) == sizeof(*m);
}

static void hold(const struct uffd_msg *m)
{
	if (!emu_take_announced(m))
		pending[n_pending++] = *m;
}

bool emu_events_read(void)
{
	struct uffd_msg m = { 0 };

	if (n_pending == MAX_EVENTS || !read_message(&m))
		return false;
	if (m.event == UFFD_EVENT_PAGEFAULT)
		emu_queue_fault(-1, &m, emu_homes(m.arg.pagefault.address), 0);
	else
		hold(&m);
	return true;
}

/*
 * Where the application has moved what it moved to @addr, by the events from the @i-th on; 0: it
 * gave it up.
 */
static uintptr_t moved_on(uintptr_t addr, unsigned int i)
{
	for (; i < n_pending && addr; i++) {
		const struct uffd_msg *m = &pending[i];

		if (m->event == UFFD_EVENT_REMAP) {
			if (addr >= m->arg.remap.from &&
			    addr - m->arg.remap.from < m->arg.remap.len)
				addr = addr - m->arg.remap.from + m->arg.remap.to;
		} else if (addr >= m->arg.remove.start && addr < m->arg.remove.end) {
			addr = 0; /* UNMAP has the same form */
		}
	}
	return addr;
}

/*
 * Device pages of a moved mapping come home at its new address. The caller of mremap
 * was let go a moment ago, and until it is out of the kernel copying answers -EAGAIN:
 * it may have a second event to deliver first, so keep reading. It may also change the mapping
 * again meanwhile; when copying is not refused, we have read of all that it did. Without
 * memory, wait.
 */
static void home_at(struct hmm_block *b, unsigned int i, uintptr_t dst)
{
	unsigned int dev = b->owner[i] - 1u;
	char *src = emu_alias(b, dev, i);
	uint64_t until = os_now_ns() + HOME_NS;
	size_t done;
	int err = src ? -EAGAIN : -EIO;

	while ((err == -EAGAIN || err == -ENOMEM) && os_now_ns() < until) {
		uintptr_t at = moved_on(dst, next_pending);

		if (err == -ENOMEM)
			os_sleep_ns(1000000);
		err = at ? uffd_copy(emu.client, at, src, HMM_PAGE_BYTES, 0, &done) : 0;
		if (err == -EAGAIN && !emu_events_read())
			os_syscall1(SYS_sched_yield, 0);
	}
	if (err && err != -EEXIST && err != -ENOENT)
		hmm_log(HMM_LOG_ERROR, "mremap: page %lx not moved to %lx (%d)",
			hmm_block_addr(b, i), dst, err);
	emu_count(&emu.device[dev], EMU_TO_SYSTEM, 1);
}

/* Did an event tell of an mremap() to this page? The first one after which it is right. */
static bool find_arrival(uintptr_t addr, unsigned int *next)
{
	for (unsigned int i = 0; i < n_pending; i++) {
		const struct uffd_msg *m = &pending[i];

		if (m->event != UFFD_EVENT_REMAP || addr < m->arg.remap.to ||
		    addr - m->arg.remap.to >= m->arg.remap.len)
			continue;
		*next = i + 1;
		return true;
	}
	return false;
}

/* Before the @i-th event and those that it follows: was the page there, and write-protected? */
static bool was_protected(uintptr_t addr, unsigned int i)
{
	struct hmm_block *b;

	if (emu.test_skip & EMU_FENCE_ORIGIN)
		return true;
	while (i--) {
		const struct uffd_msg *m = &pending[i];

		if (m->event == UFFD_EVENT_REMAP && addr >= m->arg.remap.to &&
		    addr - m->arg.remap.to < m->arg.remap.len)
			addr = addr - m->arg.remap.to + m->arg.remap.from;
	}
	b = hmm_block_find(&emu.table, addr);
	return b && hmm_bits_test(&b->protected, hmm_block_index(addr));
}

/*
 * The event alone does not say whether the page came before the others were taken, or after. What
 * came without a frame, from a device or never touched, has brought none; and where a frame came
 * later, putting back what was taken fails, for it is there.
 */
bool emu_has_arrived(uintptr_t addr)
{
	if (emu.test_skip & EMU_FENCE_ARRIVAL)
		return false;
	/* Its mremap() is over, its event may not be queued yet. */
	while (uffd_events_pending(emu.client) && n_pending < MAX_EVENTS)
		if (!emu_events_read())
			os_syscall1(SYS_sched_yield, 0);
	for (unsigned int i = 0; i < n_pending; i++) {
		const struct uffd_msg *m = &pending[i];

		if (m->event == UFFD_EVENT_REMAP && addr >= m->arg.remap.to &&
		    addr - m->arg.remap.to < m->arg.remap.len &&
		    was_protected(addr - m->arg.remap.to + m->arg.remap.from, i))
			return true;
	}
	return false;
}

void emu_put_back(uintptr_t addr, const char *src)
{
	uint64_t until = os_now_ns() + HOME_NS;
	unsigned int next = 0;
	int err = -EAGAIN;
	size_t done;

	while ((err == -EAGAIN || err == -ENOMEM) && os_now_ns() < until) {
		if (find_arrival(addr, &next)) {
			uintptr_t at = moved_on(addr, next);

			err = at ? uffd_copy(emu.client, at, src, HMM_PAGE_BYTES, 0, &done) : 0;
		}
		if (err && !emu_events_read())
			os_syscall1(SYS_sched_yield, 0);
	}
	if (err && err != -EEXIST && err != -ENOENT)
		hmm_log(HMM_LOG_ERROR, "page %lx not put back (%d)", addr, err);
}

/* It takes its protection along. */
static void still_protected(uintptr_t addr)
{
	struct hmm_block *b = hmm_block_get(&emu.table, addr);

	if (b)
		hmm_bits_set(&b->protected, hmm_block_index(addr));
}

static void remapped(uintptr_t from, uintptr_t to, size_t len)
{
	uintptr_t at = from, end = from + len;
	struct hmm_block *b;

	while (at < end && (b = hmm_block_next(&emu.table, at, end))) {
		unsigned int i, stop;

		clip(b, from, end, &i, &stop);
		for (unsigned int p = i; p < stop; p++) {
			if (hmm_bits_test(&b->protected, p))
				still_protected(to + (hmm_block_addr(b, p) - from));
			if (b->owner[p] == HMM_OWNER_SYSTEM)
				continue;
			for (unsigned int d = 0; d < emu.devices; d++)
				emu_engine_track(b, &emu.device[d]);
			home_at(b, p, to + (hmm_block_addr(b, p) - from));
		}
		at = b->start + HMM_BLOCK_BYTES;
	}
	drop_range(from, end, true);
}

static void act(const struct uffd_msg *m)
{
	switch (m->event) {
	case UFFD_EVENT_REMOVE:
		if (emu_map_find(m->arg.remove.start))
			break; /* a file's pages are not the mapping's */
		drop_range(m->arg.remove.start, m->arg.remove.end, false);
		emu_discard_announced(m->arg.remove.start, m->arg.remove.end);
		break;
	case UFFD_EVENT_UNMAP:
		emu_files_unmapped(m->arg.remove.start, m->arg.remove.end);
		drop_range(m->arg.remove.start, m->arg.remove.end, true);
		break;
	case UFFD_EVENT_REMAP:
		emu_files_remapped(m->arg.remap.from, m->arg.remap.to, m->arg.remap.len);
		remapped(m->arg.remap.from, m->arg.remap.to, m->arg.remap.len);
		break;
	}
}

/* Nested when acting reads a further @MAX_EVENTS: what is left of the first ones is older. */
static void act_on_pending(void)
{
	while (next_pending < n_pending) {
		struct uffd_msg m = pending[next_pending++];

		act(&m);
	}
	next_pending = n_pending = 0;
}

void emu_exclusive_lock(void)
{
	os_write_lock(&emu.mirror);
}

void emu_exclusive_unlock(void)
{
	act_on_pending();
	os_write_unlock(&emu.mirror);
}

void emu_events_drain(void)
{
	os_write_lock(&emu.mirror);
	while (emu_events_read())
		if (n_pending == MAX_EVENTS)
			act_on_pending();
	act_on_pending();
	os_write_unlock(&emu.mirror);
}

/* The first fault is *fault, the others wait for whoever is free. Locking: mirror exclusively. */
static bool sort(const struct uffd_msg *m, long n, struct uffd_msg *fault, uint8_t *homes)
{
	bool is_fault = false;

	for (; n > 0; n--, m++) {
		if (m->event != UFFD_EVENT_PAGEFAULT) {
			hold(m);
		} else if (is_fault) {
			emu_queue_fault(-1, m, emu_homes(m->arg.pagefault.address), 0);
		} else {
			*fault = *m;
			*homes = emu_homes(m->arg.pagefault.address);
			is_fault = true;
		}
	}
	return is_fault;
}

bool emu_events_next(struct uffd_msg *fault, uint8_t *homes)
{
	struct uffd_msg m[AT_ONCE] = { 0 };
	bool is_fault = false;
	long n = 1;

	os_write_lock(&emu.mirror);
	while (!is_fault && n > 0 && n_pending + AT_ONCE <= MAX_EVENTS) {
		n = os_read(emu.client, m, sizeof(m)) / (long)sizeof(*m);
		is_fault = sort(m, n, fault, homes);
	}
	act_on_pending();
	os_write_unlock(&emu.mirror);
	return is_fault;
}

bool emu_events_held(void)
{
	return n_pending != 0;
}

void emu_events_forget(void)
{
	n_pending = next_pending = 0;
	emu_discards_forget();
}

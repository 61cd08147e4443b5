// SPDX-License-Identifier: MIT
/* A CPU touch of a tracked page: bring it home, or give it its first frame. */
#include "core/trace.h"
#include "emulated/file.h"
#include "os/sys.h"

#include <errno.h>

#define DWELL_NS 100000u /* a page stays where it arrived at least so long */
#define FIRST_WINDOW 4
#define ALONE 32 /* faults that leave no copy after a store showed that it was of no use */

static const char zeros[4096] __attribute__((aligned(4096)));

void emu_dwell(const struct hmm_block *b)
{
	uint64_t age = os_now_ns() - __atomic_load_n(&b->moved_at, __ATOMIC_RELAXED);

	if (age < DWELL_NS)
		os_sleep_ns(DWELL_NS - age);
}

/*
 * When nothing of a block is on a device any more, tracking it only slows the CPU down:
 * let go of it, the kernel fills its pages again. Not while a thread waits for us to read
 * of its madvise: that is acted upon in the belief that no store passes us by.
 * Locking: mirror shared, b->lock.
 */
static int untrack(struct hmm_block *b)
{
	struct hmm_bits *tracked = &b->registered;
	unsigned int i = 0, stop;

	emu_unshare(b, 0, HMM_BLOCK_PAGES); /* no store to them would be seen */
	while ((i = hmm_bits_find(tracked, i, HMM_BLOCK_PAGES, true)) < HMM_BLOCK_PAGES) {
		stop = hmm_bits_find(tracked, i, HMM_BLOCK_PAGES, false);
		uffd_unregister(emu.client, hmm_block_addr(b, i), (stop - i) * HMM_PAGE_BYTES);
		if (uffd_events_pending(emu.client)) {
			/* It may be of this range, and came before we unregistered. */
			uffd_register(emu.client, hmm_block_addr(b, i), (stop - i) * HMM_PAGE_BYTES,
				      EMU_TRACK_CLIENT);
			if (!emu_is_mapped(hmm_block_addr(b, i), hmm_block_addr(b, stop)))
				hmm_bits_clear_range(tracked, i, stop); /* see transfer.c */
			return EMU_DRAIN;
		}
		hmm_bits_clear_range(tracked, i, stop);
		hmm_bits_clear_range(&b->protected, i, stop);
	}
	return 0;
}

void emu_untrack_all(void)
{
	struct hmm_block *b;
	int err;

	for (uintptr_t at = 0; (b = hmm_block_next(&emu.table, at, 1ul << HMM_VA_BITS));
	     at = b->start + HMM_BLOCK_BYTES)
		do {
			os_read_lock(&emu.mirror);
			os_mutex_lock(&b->lock);
			err = untrack(b);
			os_mutex_unlock(&b->lock);
			os_read_unlock(&emu.mirror);
			if (err)
				emu_events_drain();
		} while (err);
}

/* A never-touched page. Locking: mirror shared, b->lock (or no block). */
static int first_touch(struct hmm_block *b, uintptr_t addr)
{
	size_t done;
	int err = 0;

	if (b && !hmm_block_resident(b) && !emu_keeps_shared(b))
		err = untrack(b);
	if (err)
		return err;
	err = uffd_copy(emu.client, addr, zeros, HMM_PAGE_BYTES, 0, &done);
	if (err == -EAGAIN)
		return EMU_DRAIN;
	if (err)
		uffd_wake(emu.client, addr, HMM_PAGE_BYTES);
	return 0;
}

/*
 * A load here and there takes no page away: the device may go on reading it, and neither must its
 * frame be freed, which costs more than the rest, nor any TLB be flushed. Not where the kernel's
 * own stores to a write-protected page fail, and not where stores came after the loads of late.
 * Locking: mirror shared, b->lock.
 */
static bool may_share(struct hmm_block *b, unsigned int pages)
{
	if (pages > FIRST_WINDOW || emu.user_only || atomic_load(&emu.hold))
		return false;
	if (!b->alone)
		return true;
	b->alone--;
	return false;
}

/* *woken: who waits for the page was. Locking: mirror shared, b->lock. */
static int bring_home(struct hmm_block *b, uintptr_t addr, bool write, bool *woken)
{
	struct emu_device *d = &emu.device[b->owner[hmm_block_index(addr)] - 1];
	unsigned int i = hmm_block_index(addr), pages;
	int err = 0;

	pages = emu_window(&emu.cpu_window, addr, addr, HMM_SYSTEM, FIRST_WINDOW);
	emu_prefetch(&emu.cpu_window, hmm_block_addr(b, i + pages), addr + pages * HMM_PAGE_BYTES,
		     pages);
	emu_count(d, EMU_CPU_FAULTS, 1);
	if (!write && emu_device_up(d)) {
		if (may_share(b, pages))
			emu_share_run(b, d, i, hmm_block_owner_run(b, i, i + pages, b->owner[i]));
		else
			emu_share(b, d, i, i + pages);
	}
	*woken = !b->owner[i];
	if (!*woken)
		err = emu_to_cpu(b, d, i, i + pages);
	emu_drop_leftovers(b); /* the CPU runs again */
	return err;
}

uint8_t emu_homes(uintptr_t addr)
{
	const struct emu_map *m = atomic_load(&emu_files.n) ? emu_map_find(addr) : NULL;
	struct hmm_block *b = hmm_block_find(&emu.table, addr);
	struct emu_fblock *fb;
	unsigned int i = hmm_block_index(addr);

	if (m) {
		fb = emu_fblock_get(m->file, emu_map_page(m, addr), &i);
		b = fb ? fb->block : NULL;
	}
	return b ? __atomic_load_n(&b->homes[i], __ATOMIC_RELAXED) : 0;
}

/*
 * The message may be old: its page came home on behalf of someone else, the thread went on, and
 * let it go to a device again. To bring it back would undo what it has just asked for.
 */
static bool is_over(struct hmm_block *b, uintptr_t addr, uint8_t homes)
{
	return b->homes[hmm_block_index(addr)] != homes;
}

/* Locking: mirror shared, b->lock (or no block). */
static void unprotect(struct hmm_block *b, uintptr_t addr)
{
	unsigned int i = hmm_block_index(addr), stop = i + 1;

	if (b && emu_is_shared(b, i, stop)) {
		stop = emu_shared_run(b, i,
				      i + FIRST_WINDOW < HMM_BLOCK_PAGES ? i + FIRST_WINDOW :
									   HMM_BLOCK_PAGES);
		b->alone = ALONE;
		if (!(emu.test_skip & EMU_FENCE_SHARED))
			emu_unshare(b, i, stop);
	}
	/* Not while an mremap() is under way, which may have taken one of them away as it is. */
	if (!uffd_protect(emu.client, addr, (stop - i) * HMM_PAGE_BYTES, false) && b)
		hmm_bits_clear_range(&b->protected, i, stop);
}

/*
 * Tracked pages that mremap() has moved may be where there is no block yet. Without one a page
 * could leave for a device meanwhile, and what is put in its place would hide it.
 */
static struct hmm_block *block_of(uintptr_t addr)
{
	struct hmm_block *b = hmm_block_find(&emu.table, addr);

	if (b)
		return b;
	if (!(emu.test_skip & EMU_FENCE_MOVED))
		b = hmm_block_get(&emu.table, addr);
	if (emu.test_widen & EMU_FENCE_MOVED)
		os_sleep_ns(5000000);
	return b;
}

/* Locking: mirror. */
static bool is_file(uintptr_t addr)
{
	return atomic_load(&emu_files.n) && emu_map_find(addr) && !(emu.test_skip & EMU_FENCE_OLD);
}

static int serve(uintptr_t addr, uint64_t flags, uint8_t homes)
{
	struct hmm_block *b = block_of(addr);
	bool woken = false;
	int err = 0;

	if (!b && !(emu.test_skip & EMU_FENCE_MOVED))
		return -ENOMEM;
	os_read_lock(&emu.mirror);
	if (b)
		os_mutex_lock(&b->lock);
	if (is_file(addr))
		; /* the message is of what was mapped there before */
	else if (b && b->owner[hmm_block_index(addr)] && is_over(b, addr, homes))
		; /* a thread that waits none the less faults again */
	else if (b && hmm_block_owner(b, hmm_block_index(addr)))
		err = bring_home(b, addr, flags & UFFD_PAGEFAULT_FLAG_WRITE, &woken);
	else if (flags & UFFD_PAGEFAULT_FLAG_WP)
		/* Devices have copies, or a migration by copying was given up, or came and went. */
		unprotect(b, addr);
	else
		err = first_touch(b, addr);
	if (!err && !woken)
		uffd_wake(emu.client, addr, HMM_PAGE_BYTES);
	if (b)
		os_mutex_unlock(&b->lock);
	os_read_unlock(&emu.mirror);
	return err;
}

void emu_cpu_fault(const struct uffd_msg *msg, uint8_t homes)
{
	uintptr_t addr = msg->arg.pagefault.address & ~(HMM_PAGE_BYTES - 1);
	struct hmm_block *b = hmm_block_find(&emu.table, addr);
	uint64_t until = os_now_ns() + 10000000000ull, began = hmm_trace_begin();
	int err;

	HMM_PROBE(cpu_fault_begin, -1, addr, 0);
	if (emu_file_cpu_fault(msg, homes)) {
		HMM_TRACE(HMM_TRACE_CPU_FAULT, cpu_fault, began, -1, addr, 1);
		return;
	}
	if (b && hmm_block_owner(b, hmm_block_index(addr)))
		emu_dwell(b);
	do {
		err = serve(addr, msg->arg.pagefault.flags, homes);
		if (err == EMU_DRAIN)
			emu_events_drain();
		else if (err == -ENOMEM)
			os_sleep_ns(1000000); /* the CPU has nowhere else to go */
	} while (err && os_now_ns() < until);
	HMM_TRACE(HMM_TRACE_CPU_FAULT, cpu_fault, began, -1, addr, 1);
	if (err) {
		hmm_log(HMM_LOG_ERROR, "CPU fault at %lx: page cannot come home (%d)", addr, err);
		uffd_wake(emu.client, addr, HMM_PAGE_BYTES); /* it faults again */
	}
}

// SPDX-License-Identifier: MIT
/*
 * A device touch of a page that the device does not map: migrate it, or map it where
 * it is, or end what touched it.
 */
#include "core/trace.h"
#include "emulated/file.h"
#include "os/arena.h"
#include "os/self.h"
#include "os/sys.h"

#include <errno.h>

#define FIRST_WINDOW 16
#define AGAIN_NS 1000000000ull /* a thread that was told to try again has done so by then */
#define BUSY_NS 100000000ull   /* pinned pages are tried again for so long */

/*
 * Is it there already? Reclaim takes entries of a shared mapping away as it likes, so
 * a fault on a resident page is ordinary. Returns true when it was served.
 */
static bool remap_resident(struct emu_device *d, struct hmm_block *b, uintptr_t addr, bool write,
			   bool protected)
{
	unsigned int i = hmm_block_index(addr);
	bool here = false;

	os_read_lock(&emu.mirror);
	os_mutex_lock(&b->lock);
	if (!write && !b->owner[i] && hmm_bits_test(&b->dev[d->index].shared, i)) {
		emu_engine_map_to_read(b, d, i, i + 1);
		uffd_wake(d->uffd, addr, HMM_PAGE_BYTES);
		here = true;
	}
	if (b->owner[i] == HMM_OWNER_DEVICE(d->index) &&
	    !(write && hmm_bits_test(&b->read_only, i))) {
		unsigned int end = hmm_block_owner_run(b, i, HMM_BLOCK_PAGES, b->owner[i]);

		if (protected)
			uffd_protect(d->uffd, addr, HMM_PAGE_BYTES, false);
		emu_engine_map(b, d, i, end);
		uffd_wake(d->uffd, addr, HMM_PAGE_BYTES);
		hmm_lru_touch(&emu.table, b, d->index);
		here = true;
	}
	os_mutex_unlock(&b->lock);
	os_read_unlock(&emu.mirror);
	return here;
}

/* A page that came from a read-only mapping, which is writable by now. */
static bool allow_writes(struct emu_device *d, struct hmm_block *b, uintptr_t addr)
{
	unsigned int i = hmm_block_index(addr);
	bool here;

	os_read_lock(&emu.mirror);
	os_mutex_lock(&b->lock);
	here = b->owner[i] == HMM_OWNER_DEVICE(d->index);
	if (here) {
		hmm_bits_clear(&b->read_only, i);
		uffd_protect(d->uffd, addr, HMM_PAGE_BYTES, false);
		emu_engine_map(b, d, i, i + 1);
		uffd_wake(d->uffd, addr, HMM_PAGE_BYTES);
	}
	os_mutex_unlock(&b->lock);
	os_read_unlock(&emu.mirror);
	return here;
}

/* The window's pages, as far as their mapping goes. */
static unsigned int window_in(struct emu_device *d, const struct os_vma *v, uintptr_t addr)
{
	unsigned int pages = emu_window(&emu.device_window, addr, addr, (int)d->index,
					FIRST_WINDOW);

	if (addr + pages * HMM_PAGE_BYTES > v->end)
		pages = (unsigned int)((v->end - addr) >> HMM_PAGE_SHIFT);
	return pages;
}

static bool is_readable(uintptr_t addr)
{
	struct os_vma v;

	return !os_vma_find(addr, &v) && v.start <= addr && v.read;
}

/*
 * As is_over() in fault_cpu.c: once the page has been here the message is served, also when the
 * rest of its window is not.
 */
static int migrate_in(struct emu_device *d, const struct os_vma *v, uintptr_t addr,
		      const struct emu_touch *touch)
{
	struct hmm_block *b = hmm_block_get(&emu.table, addr);
	unsigned int i = hmm_block_index(addr), pages = window_in(d, v, addr);
	uint64_t until = os_now_ns() + BUSY_NS;
	int err;

	if (!b)
		return -ENOMEM;
	if (hmm_block_owner(b, i))
		emu_dwell(b);
	/* The copies that it has of what follows may stay. */
	pages = hmm_bits_find(&b->dev[d->index].shared, i + 1, i + pages, true) - i;
	if (pages > d->capacity)
		pages = (unsigned int)d->capacity;
	for (;;) {
		err = emu_block_out(b, d, i, i + pages, false, touch);
		if (__atomic_load_n(&b->moves[i], __ATOMIC_ACQUIRE) != touch->moves) {
			err = 0;
			break;
		}
		if (err == -EFAULT && pages > 1) {
			pages = 1; /* what lies around it was unmapped just now */
			until = os_now_ns() + BUSY_NS;
			continue;
		}
		if (err == -EFAULT && is_readable(addr) && os_now_ns() < until)
			continue;
		if (err || hmm_block_owner(b, i) || !hmm_bits_test(&b->pinned, i))
			break;
		if (os_now_ns() > until)
			return -EBUSY;
		pages = 1;
		os_sleep_ns(1000000);
	}
	if (!err && __atomic_load_n(&b->moves[i], __ATOMIC_ACQUIRE) == touch->moves &&
	    !hmm_block_owner(b, i) && hmm_bits_test(&b->kernel_used, i))
		return -EBUSY;
	if (!err) {
		atomic_fetch_add(&d->proc.served_pages, pages);
		emu_device_wake(d, addr, HMM_PAGE_BYTES);
	}
	return err;
}

/* Why a device access cannot be, or NULL. Serves it when it can. */
static const char *resolve(struct emu_device *d, uintptr_t addr, bool write, bool protected,
			   uint8_t moves)
{
	struct hmm_block *b = hmm_block_find(&emu.table, addr);
	struct emu_touch touch = { moves, !write };
	const char *why;
	struct os_vma v;
	int err;

	if (emu_file_device_fault(d, addr, write, protected, &why))
		return why;
	if (b && remap_resident(d, b, addr, write, protected))
		return NULL;
	if (os_vma_find(addr, &v) || v.start > addr)
		return "nothing is mapped there";
	if (!v.read)
		return "the mapping has no access";
	if (write && !v.write)
		return "the mapping is read-only";
	if (write && b && allow_writes(d, b, addr))
		return NULL;
	if (v.kind == OS_VMA_SPECIAL || os_arena_contains(addr, addr + 1) ||
	    os_self_contains(addr, addr + 1) || emu_windows_contain(addr, addr + 1))
		return "memory that a device may not touch";
	if (v.kind == OS_VMA_SHARED)
		err = emu_remote_map(d, &v);
	else if (v.kind == OS_VMA_FILE_PRIVATE && !v.write)
		err = emu_copy_read_only(d, addr);
	else if (v.kind == OS_VMA_FILE_PRIVATE && (err = emu_make_anonymous(&v)))
		;
	else if (emu_is_kept(addr))
		return EMU_WHY_KEPT;
	else if (!write && b && emu_share_again(b, d, hmm_block_index(addr)))
		err = 0;
	else
		err = migrate_in(d, &v, addr, &touch);
	if (err == -EBUSY)
		return "the page is pinned";
	if (err == -ENOMEM)
		return "out of memory";
	return err && err != -ENODEV ? "the page cannot be mapped" : NULL;
}

/*
 * A message may be old: its page was served on behalf of another one, the thread went on, and
 * the program has unmapped the page since. So a thread is told to try again, and only what it
 * asks for twice in a row is invalid: at once, for two old messages of a page may be far apart.
 * At once is until @began, when its second message was taken up: to refuse it may take long.
 */
static bool asked_before(struct emu_device *d, uintptr_t addr, uint32_t tid, uint64_t began)
{
	struct emu_refused *r = &d->refused[tid % EMU_REFUSED];
	bool before;

	os_mutex_lock(&d->proc.fault_lock);
	before = r->addr == addr && r->tid == tid && began >= r->at && began - r->at < AGAIN_NS;
	*r = before ? (struct emu_refused){ 0 } : (struct emu_refused){ addr, tid, os_now_ns() };
	os_mutex_unlock(&d->proc.fault_lock);
	return before;
}

uint8_t emu_moves(uintptr_t addr)
{
	struct hmm_block *b = hmm_block_find(&emu.table, addr);

	return b ? __atomic_load_n(&b->moves[hmm_block_index(addr)], __ATOMIC_ACQUIRE) : 0;
}

bool emu_changed_since(uintptr_t addr, uint64_t since)
{
	struct hmm_block *b = hmm_block_find(&emu.table, addr);

	return b && __atomic_load_n(&b->changing_at, __ATOMIC_ACQUIRE) >= since;
}

void emu_device_fault(struct emu_device *d, const struct uffd_msg *msg, uint8_t moves,
		      unsigned int generation)
{
	uintptr_t addr = msg->arg.pagefault.address & ~(HMM_PAGE_BYTES - 1);
	uint64_t flags = msg->arg.pagefault.flags;
	bool write = flags & (UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP);
	uint64_t began = hmm_trace_begin(), now = os_now_ns();
	const char *why;

	if (generation != atomic_load(&d->proc.generation))
		return; /* of an engine that was replaced */
	HMM_PROBE(device_fault_begin, d->index, addr, 0);
	if (atomic_load(&emu.hold)) { /* served when the fork is over */
		os_sleep_ns(20000);
		emu_queue_fault((int)d->index, msg, moves, generation);
		return;
	}
	/* Before it is served: whoever is woken may look at the counters. */
	emu_count(d, EMU_DEVICE_FAULTS, 1);
	atomic_fetch_add(&d->proc.served, 1);
	why = resolve(d, addr, write, flags & UFFD_PAGEFAULT_FLAG_WP, moves);
	HMM_TRACE(HMM_TRACE_DEVICE_FAULT, device_fault, began, d->index, addr, 1);
	if (!why)
		return;
	emu_count(d, EMU_DEVICE_FAULTS, -1ull);
	atomic_fetch_sub(&d->proc.served, 1);
	/* The page was here since the message was read: it is an old one. */
	if (emu_moves(addr) != moves || !asked_before(d, addr, msg->arg.pagefault.feat.ptid, now)) {
		emu_device_wake(d, addr, HMM_PAGE_BYTES);
		return;
	}
	hmm_proc_invalid(&d->proc, generation, msg->arg.pagefault.address, write,
			 msg->arg.pagefault.feat.ptid, why);
}

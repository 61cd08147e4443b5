// SPDX-License-Identifier: MIT
/*
 * Discards that are announced and not over. The kernel sends an event before madvise() discards,
 * and the caller goes on to do that after the event is read. Until it has, the old bytes are
 * still there for a migration to take, and they would come back. So no page of such a range
 * leaves for a device while it is present.
 *
 * The event does not say which advice it is of. After MADV_FREE the pages stay, hold what the
 * application stores next, and must not be touched. So a range is forgotten after a while in
 * which whoever discards has surely done it: no event is pending when that time begins, so the
 * caller runs again.
 */
#include "emulated/emu.h"
#include "os/sys.h"

#define MAX_DISCARDS 64
#define USUAL_NS 200000u      /* from the event to the end of its madvise */
#define LONGEST_NS 100000000u /* the same, of a caller that waits for its CPU in between */

/* Locking: mirror exclusively to add and remove, shared to look. */
static struct {
	uintptr_t start, end;
	_Atomic uint64_t since; /* 0: its caller may not have run since */
} discards[MAX_DISCARDS];
static unsigned int n_discards;

static bool any_present(uintptr_t start, uintptr_t end)
{
	uint64_t map[64];

	for (; start < end; start += 64 * HMM_PAGE_BYTES) {
		size_t n = (end - start) >> HMM_PAGE_SHIFT;

		n = n > 64 ? 64 : n;
		if (os_pagemap(start, n, map))
			return false;
		for (size_t i = 0; i < n; i++)
			if (map[i] & (OS_PAGEMAP_PRESENT | OS_PAGEMAP_SWAP))
				return true;
	}
	return false;
}

static void remove_at(unsigned int i)
{
	n_discards--;
	discards[i].start = discards[n_discards].start;
	discards[i].end = discards[n_discards].end;
	atomic_store(&discards[i].since, atomic_load(&discards[n_discards].since));
}

/* The oldest of so many has had its time. */
static void make_room(uint64_t now)
{
	unsigned int oldest = 0;

	for (unsigned int i = n_discards; i-- > 0;) {
		uint64_t since = atomic_load(&discards[i].since);

		if (since && now - since > LONGEST_NS)
			remove_at(i);
	}
	if (n_discards < MAX_DISCARDS)
		return;
	for (unsigned int i = 1; i < n_discards; i++)
		if (atomic_load(&discards[i].since) < atomic_load(&discards[oldest].since))
			oldest = i;
	remove_at(oldest);
}

void emu_discard_announced(uintptr_t start, uintptr_t end)
{
	uint64_t now = os_now_ns(), patience = now + USUAL_NS;

	while (any_present(start, end)) {
		if (now < patience) {
			os_syscall1(SYS_sched_yield, 0);
			now = os_now_ns();
			continue;
		}
		make_room(now);
		discards[n_discards].start = start;
		discards[n_discards].end = end;
		atomic_store(&discards[n_discards++].since,
			     uffd_events_pending(emu.client) ? 0 : now);
		return;
	}
}

bool emu_discard_under_way(uintptr_t start, uintptr_t end)
{
	for (unsigned int i = 0; i < n_discards; i++) {
		uintptr_t from = start > discards[i].start ? start : discards[i].start;
		uintptr_t to = end < discards[i].end ? end : discards[i].end;
		uint64_t since = atomic_load(&discards[i].since), now;

		if (from >= to)
			continue;
		now = os_now_ns();
		if (!since)
			atomic_store(&discards[i].since, since = now);
		if (now - since <= LONGEST_NS && any_present(from, to))
			return true;
	}
	return false;
}

void emu_discards_forget(void)
{
	n_discards = 0;
}

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
#include "emulated/emu.h"
#include "os/sys.h"
#include "os/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* Linux 5.18 */
#endif

#define MAX_EVENTS 256     /* held back by one exclusive section; the rest waits unread */
#define HOME_NS 10000000000ull /* the CPU has nowhere else to go */

static struct uffd_msg pending[MAX_EVENTS]; /* locking: mirror exclusively */
static unsigned int n_pending, next_pending; /* next_pending: the first not yet acted upon */

/*
 * Discards announced while our own madvise is under way, within its range. Which of them it made
 * is known in the end: the kernel makes one of each mapping, in order, and another thread may
 * have split the mapping that we know.
 */
#define MAX_SELF 16

static struct {
	uintptr_t start, end;
	bool expected;
	unsigned int n;
	struct uffd_msg msg[MAX_SELF];
} self;

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
	for (unsigned int p = i; p < end; p++)
		hmm_block_set_owner(b, p, HMM_OWNER_SYSTEM);
	hmm_bits_clear_range(&b->pinned, i, end);
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

/* Locking: mirror exclusively. True when something was read. */
static bool read_message(void)
{
	struct uffd_msg m = { 0 };

	if (n_pending + self.n == MAX_EVENTS || os_read(emu.client, &m, sizeof(m)) != sizeof(m))
		return false;
	if (m.event == UFFD_EVENT_PAGEFAULT)
		emu_queue_fault(-1, &m);
	else if (self.expected && m.event == UFFD_EVENT_REMOVE && self.n < MAX_SELF &&
		 m.arg.remove.start >= self.start && m.arg.remove.end <= self.end)
		self.msg[self.n++] = m;
	else
		pending[n_pending++] = m;
	return true;
}

/* Where the application has since moved what it moved to @addr; 0: it gave it up. */
static uintptr_t moved_on(uintptr_t addr)
{
	for (unsigned int i = next_pending; i < n_pending && addr; i++) {
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
		uintptr_t at = moved_on(dst);

		if (err == -ENOMEM)
			os_sleep_ns(1000000);
		err = at ? uffd_copy(emu.client, at, src, HMM_PAGE_BYTES, 0, &done) : 0;
		if (err == -EAGAIN && !read_message())
			os_syscall1(SYS_sched_yield, 0);
	}
	if (err && err != -EEXIST && err != -ENOENT)
		hmm_log(HMM_LOG_ERROR, "mremap: page %lx not moved to %lx (%d)",
			hmm_block_addr(b, i), dst, err);
	emu_count(&emu.device[dev], EMU_TO_SYSTEM, 1);
}

static void remapped(uintptr_t from, uintptr_t to, size_t len)
{
	uintptr_t at = from, end = from + len;
	struct hmm_block *b;

	while (at < end && (b = hmm_block_next(&emu.table, at, end))) {
		unsigned int i, stop;

		clip(b, from, end, &i, &stop);
		for (unsigned int p = i; p < stop; p++) {
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
		drop_range(m->arg.remove.start, m->arg.remove.end, false);
		emu_discard_announced(m->arg.remove.start, m->arg.remove.end);
		break;
	case UFFD_EVENT_UNMAP:
		drop_range(m->arg.remove.start, m->arg.remove.end, true);
		break;
	case UFFD_EVENT_REMAP:
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
	while (read_message())
		if (n_pending == MAX_EVENTS)
			act_on_pending();
	emu_exclusive_unlock();
}

/*
 * The kernel tells us about our own madvise, too, and holds it until that is read. So it
 * runs on a thread of its own while this one, which holds the lock, reads.
 *
 * But to read the event of an application's munmap lets its thread go on, and what it maps
 * and fills at the same place would be discarded. So nothing is read before the madvise
 * waits for its event: then it has found the mapping as we know it, and who replaces it
 * from here on is held by an event that we leave unread until the madvise is over.
 */
static struct {
	uint32_t go; /* futex: 1 request, 2 at it, 0 idle */
	uint32_t stop;
	bool refused;
	uintptr_t start;
	size_t len;
	int wchan; /* where the thread waits, as the kernel calls it */
	unsigned long thread;
} discarder = { .wchan = -1 };

static void discard_loop(void *unused)
{
	(void)unused;
	__atomic_store_n(&discarder.wchan,
			 (int)os_syscall4(SYS_openat, AT_FDCWD, "/proc/thread-self/wchan",
					  O_RDONLY | O_CLOEXEC, 0),
			 __ATOMIC_RELEASE);
	for (;;) {
		while (!__atomic_load_n(&discarder.go, __ATOMIC_ACQUIRE))
			os_futex_wait(&discarder.go, 0, 0, false);
		if (discarder.stop)
			return;
		/* An unmapping under way, of which we have not read. */
		discarder.refused = uffd_events_pending(emu.client);
		if (!discarder.refused) {
			__atomic_store_n(&discarder.go, 2, __ATOMIC_RELEASE);
			/* As MADV_DONTNEED, of mlocked memory, too. */
			os_madvise(discarder.start, discarder.len, MADV_DONTNEED_LOCKED);
		}
		__atomic_store_n(&discarder.go, 0, __ATOMIC_RELEASE);
	}
}

/* Does the discarder wait for an event to be read? @since: when it began. */
static bool held_by_event(uint64_t since)
{
	static const char waits[] = "userfaultfd_";
	char name[sizeof(waits) - 1] = { 0 };
	int fd = __atomic_load_n(&discarder.wchan, __ATOMIC_ACQUIRE);

	if (os_syscall4(SYS_pread64, fd, name, sizeof(name), 0) != sizeof(name))
		return os_now_ns() > since + 50000; /* a kernel that does not tell */
	/* Once its event is read it is runnable, and waits nowhere. */
	for (size_t i = 0; i < sizeof(name); i++)
		if (name[i] != waits[i])
			return false;
	return true;
}

/* Of those not yet taken the first one from @at on, and of several there the longest. */
static unsigned int next_self(uintptr_t at)
{
	unsigned int best = self.n;

	for (unsigned int i = 0; i < self.n; i++) {
		uintptr_t from = self.msg[i].arg.remove.start, to = self.msg[i].arg.remove.end;

		if (from < at)
			continue;
		if (best == self.n || from < self.msg[best].arg.remove.start ||
		    (from == self.msg[best].arg.remove.start && to > self.msg[best].arg.remove.end))
			best = i;
	}
	return best;
}

/* Does a mapping begin inside what was announced? Then the kernel announces the rest again. */
static bool is_repeated(const struct uffd_msg *m, uintptr_t announced)
{
	uintptr_t at = m->arg.remove.start;
	struct os_vma v;

	return at > self.start && at < announced && !os_vma_find(at, &v) && v.start == at;
}

/* Our madvise is over: what it did not announce is the application's, and to be acted upon. */
static void tell_self(void)
{
	uintptr_t at = self.start;
	unsigned int i;

	while ((i = next_self(at)) < self.n) {
		at = self.msg[i].arg.remove.end;
		self.msg[i] = self.msg[--self.n];
	}
	for (; self.n; self.n--)
		if (!is_repeated(&self.msg[self.n - 1], at))
			pending[n_pending++] = self.msg[self.n - 1];
	self.expected = false;
}

static bool discard(uintptr_t start, size_t len)
{
	uint64_t since = 0;
	uint32_t go;

	self.start = start;
	self.end = start + len;
	self.expected = true;
	discarder.start = start;
	discarder.len = len;
	__atomic_store_n(&discarder.go, 1, __ATOMIC_RELEASE);
	os_futex_wake(&discarder.go, 1, false);
	while ((go = __atomic_load_n(&discarder.go, __ATOMIC_ACQUIRE))) {
		if (go == 2 && !since)
			since = os_now_ns();
		if (n_pending + self.n == MAX_EVENTS)
			act_on_pending();
		if (go == 1 || !held_by_event(since) || !read_message())
			os_syscall1(SYS_sched_yield, 0);
	}
	tell_self();
	return !discarder.refused;
}

/* By mappings: the kernel makes an event of each. */
size_t emu_discard(uintptr_t start, size_t len)
{
	uintptr_t first = start, end = start + len, stop;
	struct os_vma v;

	for (; start < end && !os_vma_find(start, &v); start = stop) {
		stop = v.start > start ? v.start : v.end;
		stop = stop < end ? stop : end;
		if (v.start <= start && !discard(start, stop - start))
			break;
	}
	return start < end ? start - first : len;
}

int emu_discarder_start(void)
{
	return os_thread_start(&discarder.thread, discard_loop, NULL);
}

static void close_wchan(void)
{
	if (discarder.wchan >= 0)
		os_close(discarder.wchan);
	discarder.wchan = -1;
}

void emu_discarder_stop(void)
{
	if (!discarder.thread)
		return;
	discarder.stop = 1;
	__atomic_store_n(&discarder.go, 1, __ATOMIC_RELEASE);
	os_futex_wake(&discarder.go, 1, false);
	os_thread_join(discarder.thread);
	discarder.thread = 0;
	discarder.stop = discarder.go = 0;
	close_wchan();
}

void emu_events_forget(void)
{
	close_wchan();
	discarder.thread = 0;
	discarder.stop = discarder.go = 0;
	n_pending = 0;
	emu_discards_forget();
}

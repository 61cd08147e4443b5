// SPDX-License-Identifier: MIT
/*
 * Taking pages of the client without UFFDIO_MOVE: mremap() with MREMAP_DONTUNMAP moves what a
 * mapping holds to our own one and leaves the mapping, empty and registered. That is one atomic
 * step: no store and no page that another thread puts there is lost.
 *
 * The kernel tells us of it, too, and holds the caller until that is read. So it is called on a
 * thread of its own while this one, which holds the mirror lock, reads. The event is known by its
 * destination. (A discard's event would not be: it looks like one of the application's, and the
 * kernel repeats it when mappings are split meanwhile.)
 *
 * But to read the event of an application's munmap lets its thread go on. So nothing is read
 * before our thread waits for its event, for then the pages are taken; or has returned without
 * one: then the mapping was another one, not tracked, and gets its pages back while whoever has
 * made it still waits for us to read of that.
 */
#include "emulated/emu.h"
#include "os/sys.h"
#include "os/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4 /* Linux 5.7 */
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* Linux 5.18 */
#endif

#define TAKE (MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)

/* Locking: mirror exclusively. */
static struct {
	uint32_t go; /* futex: 1 request, 2 at it, 0 idle */
	uint32_t stop;
	uintptr_t start, to; /* @to: 0 to discard */
	size_t len;
	long result;
	bool expected, announced; /* an event of ours */
	int wchan;                /* where the thread waits, as the kernel calls it */
	bool looked, told;        /* the kernel tells */
	unsigned long thread;
} taker = { .wchan = -1 };

static uintptr_t room; /* of a block, at a block's border; nothing is mapped but for a moment */

static void work(void)
{
	/* A change of mappings is under way, of which we have not read. */
	if (uffd_events_pending(emu.client)) {
		taker.result = -EAGAIN;
		return;
	}
	if (emu.test_widen & EMU_FENCES_TAKEN)
		os_sleep_ns(1000000);
	__atomic_store_n(&taker.go, 2, __ATOMIC_RELEASE);
	if (taker.to)
		taker.result = os_syscall5(SYS_mremap, taker.start, taker.len, taker.len, TAKE,
					   taker.to);
	else /* as MADV_DONTNEED, of mlocked memory, too */
		taker.result = os_madvise(taker.start, taker.len, MADV_DONTNEED_LOCKED);
	if (emu.test_widen & EMU_FENCES_TAKEN) {
		uint64_t until = os_now_ns() + 300000;

		while (os_now_ns() < until)
			; /* running, not asleep */
	}
}

static void taker_loop(void *unused)
{
	(void)unused;
	__atomic_store_n(&taker.wchan,
			 (int)os_syscall4(SYS_openat, AT_FDCWD, "/proc/thread-self/wchan",
					  O_RDONLY | O_CLOEXEC, 0),
			 __ATOMIC_RELEASE);
	for (;;) {
		while (!__atomic_load_n(&taker.go, __ATOMIC_ACQUIRE))
			os_futex_wait(&taker.go, 0, 0, false);
		if (taker.stop)
			return;
		work();
		__atomic_store_n(&taker.go, 0, __ATOMIC_RELEASE);
	}
}

/* What our thread waits for in the kernel; none: it runs, or the kernel does not tell. */
static bool waits_for(const char *what, size_t len)
{
	char name[16] = { 0 };
	int fd = __atomic_load_n(&taker.wchan, __ATOMIC_ACQUIRE);

	if (os_syscall4(SYS_pread64, fd, name, sizeof(name), 0) < (long)len)
		return false;
	for (size_t i = 0; i < len; i++)
		if (name[i] != what[i])
			return false;
	return true;
}

/* Once, while it has nothing to do. */
static void look_whether_told(void)
{
	for (int i = 0; i < 1000 && !taker.told; i++) {
		taker.told = waits_for("futex_", 6);
		if (!taker.told)
			os_sleep_ns(10000);
	}
	taker.looked = true;
}

/*
 * Does our thread wait for an event to be read? @since: when it began. If it does not, but only has
 * not got a CPU, what we read were the event of another thread, which would go on and map anew what
 * is to go back there (give_back()).
 */
static bool held_by_event(uint64_t since)
{
	/* Once its event is read it is runnable, and waits nowhere. */
	if (taker.told && !(emu.test_skip & EMU_FENCE_ASLEEP))
		return waits_for("userfaultfd_", 12);
	return os_now_ns() > since + 50000;
}

/* Of several discards of one page it is all the same which one is ours. */
bool emu_take_announced(const struct uffd_msg *m)
{
	bool ours;

	if (!taker.expected || taker.announced)
		return false;
	ours = taker.to ? m->event == UFFD_EVENT_REMAP && m->arg.remap.to == taker.to :
			  m->event == UFFD_EVENT_REMOVE && m->arg.remove.start == taker.start &&
				  m->arg.remove.end == taker.start + taker.len;
	taker.announced |= ours;
	return ours;
}

static int run(uintptr_t start, size_t len, uintptr_t to)
{
	uint64_t since = 0;
	uint32_t go;

	if (!taker.looked)
		look_whether_told();
	taker.start = start;
	taker.len = len;
	taker.to = to;
	taker.announced = false;
	taker.expected = true;
	__atomic_store_n(&taker.go, 1, __ATOMIC_RELEASE);
	os_futex_wake(&taker.go, 1, false);
	while ((go = __atomic_load_n(&taker.go, __ATOMIC_ACQUIRE))) {
		if (go == 2 && !since)
			since = os_now_ns();
		if (go == 1 || taker.announced || !held_by_event(since) || !emu_events_read())
			os_syscall1(SYS_sched_yield, 0);
	}
	taker.expected = false;
	return os_is_error((uintptr_t)taker.result) ? (int)taker.result : 0;
}

int emu_discard_page(uintptr_t addr)
{
	return run(addr, HMM_PAGE_BYTES, 0);
}

/* All of it is the caller's to fill by moving pages there. Out of the way of forks. */
static int make_room(void)
{
	uintptr_t p;

	if (room)
		return 0;
	p = os_mmap(0, 2 * HMM_BLOCK_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		    -1, 0);
	if (os_is_error(p))
		return -ENOMEM;
	room = (p + HMM_BLOCK_BYTES - 1) & ~(HMM_BLOCK_BYTES - 1);
	return 0;
}

/*
 * What another thread has put there just before goes back while that thread waits for us to read
 * of it. From Linux 6.17 on that may be so after an error, too: of several mappings the first, which
 * are not tracked, have moved. Locking: mirror exclusively; nothing was read since it was taken.
 */
static void give_back(const struct emu_taken *t, uintptr_t start, bool all)
{
	size_t pages = t->len >> HMM_PAGE_SHIFT;

	while (!all && pages && !(t->map[pages - 1] & (OS_PAGEMAP_PRESENT | OS_PAGEMAP_SWAP)))
		pages--;
	if (pages && !(emu.test_skip & EMU_FENCE_BACK))
		os_syscall5(SYS_mremap, t->at, pages * HMM_PAGE_BYTES, pages * HMM_PAGE_BYTES, TAKE,
			    start);
}

int emu_take(uintptr_t start, size_t len, struct emu_taken *t)
{
	int err = make_room();
	uintptr_t to = room + (start & (HMM_BLOCK_BYTES - 1));

	t->len = 0;
	if (err)
		return err;
	err = run(start, len, to);
	t->at = (char *)to;
	t->len = len;
	if (emu.test_widen & EMU_FENCES_TAKEN)
		os_sleep_ns(1000000);
	if (os_pagemap(to, len >> HMM_PAGE_SHIFT, t->map))
		os_zero(t->map, sizeof(t->map)); /* nobody else's, as far as one can tell */
	if (err || !taker.announced) {
		give_back(t, start, !err);
		return err && err != -EFAULT ? err : EMU_DRAIN; /* split just now */
	}
	/* It came with its registration and its protection. */
	uffd_unregister(emu.client, to, len);
	return (int)os_syscall3(SYS_mprotect, to, len, PROT_READ);
}

void emu_taken_drop(struct emu_taken *t)
{
	if (!t->len)
		return;
	os_mmap((uintptr_t)t->at, t->len, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	t->len = 0;
}

bool emu_take_contains(uintptr_t start, uintptr_t end)
{
	return room && start < room + HMM_BLOCK_BYTES && end > room;
}

int emu_taker_start(void)
{
	return os_thread_start(&taker.thread, taker_loop, NULL);
}

static void close_wchan(void)
{
	if (taker.wchan >= 0)
		os_close(taker.wchan);
	taker.wchan = -1;
}

void emu_taker_stop(void)
{
	if (!taker.thread)
		return;
	taker.stop = 1;
	__atomic_store_n(&taker.go, 1, __ATOMIC_RELEASE);
	os_futex_wake(&taker.go, 1, false);
	os_thread_join(taker.thread);
	taker.thread = 0;
	taker.stop = taker.go = 0;
	close_wchan();
}

void emu_taker_forget(void)
{
	close_wchan();
	taker.thread = 0;
	taker.stop = taker.go = 0;
}

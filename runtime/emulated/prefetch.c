// SPDX-License-Identifier: MIT
/*
 * While a handler brings a window home for a CPU that reads on and on, a thread of its own brings
 * home what comes next, on another CPU if there is one. Only for windows that have grown large: to
 * wake that thread costs as much as to move some ten pages.
 */
#include "emulated/emu.h"
#include "os/sys.h"
#include "os/thread.h"

#define FROM_PAGES 256 /* of a window */
#define AHEAD_BYTES (2 * HMM_BLOCK_BYTES)
#define STAYED_NS 1000000u /* what came to the device later than that is in use there */
#define QUEUE_SIZE 8u

struct request {
	uintptr_t start, end;
	uint64_t at; /* ns */
};

static struct {
	unsigned long thread;
	struct os_mutex lock; /* leaf */
	struct request entry[QUEUE_SIZE];
	unsigned int head, tail;
	uint32_t asked; /* futex: requests, ever */
	bool stop;
} ahead;

/* @addr: where @start was touched, which is another address in a mapped file. */
static bool is_wanted(uintptr_t start, uintptr_t addr, uintptr_t *end)
{
	struct hmm_block *b = hmm_block_find(&emu.table, start);
	uintptr_t stop;
	struct hmm_advice a = hmm_advice_at(addr, &stop);

	if (stop - addr < *end - start)
		*end = start + (stop - addr);
	return !a.pattern && !a.read_mostly && !a.has_preferred && b && hmm_block_resident(b);
}

static void ask(uintptr_t start, uintptr_t end)
{
	bool full;

	os_mutex_lock(&ahead.lock);
	full = ahead.tail - ahead.head == QUEUE_SIZE;
	if (!full)
		ahead.entry[ahead.tail++ % QUEUE_SIZE] = (struct request){ start, end,
									   os_now_ns() };
	os_mutex_unlock(&ahead.lock);
	if (full)
		return; /* the CPU faults */
	__atomic_add_fetch(&ahead.asked, 1, __ATOMIC_RELEASE);
	os_futex_wake(&ahead.asked, 1, false);
}

void emu_prefetch(struct hmm_window *w, uintptr_t start, uintptr_t addr, unsigned int window)
{
	uintptr_t end = (start & ~(HMM_BLOCK_BYTES - 1)) + AHEAD_BYTES;
	bool goes_on;

	if (window < FROM_PAGES || !__atomic_load_n(&ahead.thread, __ATOMIC_RELAXED) ||
	    !is_wanted(start, addr, &end))
		return;
	os_mutex_lock(&emu.window_lock);
	goes_on = hmm_window_ahead(w, start, (unsigned int)((end - start) >> HMM_PAGE_SHIFT));
	os_mutex_unlock(&emu.window_lock);
	if (goes_on)
		ask(start, end);
}

/* What has been sent to the device since it was asked for stays. Locking: mirror shared, b->lock. */
static int bring(struct hmm_block *b, unsigned int i, unsigned int end, uint64_t asked)
{
	int err = 0;

	if (__atomic_load_n(&b->moved_at, __ATOMIC_RELAXED) + STAYED_NS > asked)
		return 0;
	for (unsigned int d = 0; d < emu.devices && !err; d++)
		if (b->dev[d].resident)
			err = emu_to_system(b, &emu.device[d], i, end, false);
	return err;
}

static void serve(const struct request *q)
{
	uintptr_t at = q->start, next;
	int err;

	for (; at < q->end; at = next) {
		struct hmm_block *b = hmm_block_find(&emu.table, at);
		unsigned int i = hmm_block_index(at), end = HMM_BLOCK_PAGES;

		next = (at & ~(HMM_BLOCK_BYTES - 1)) + HMM_BLOCK_BYTES;
		if (q->end < next)
			end = hmm_block_index(q->end);
		do {
			err = 0;
			os_read_lock(&emu.mirror);
			if (b) {
				os_mutex_lock(&b->lock);
				err = bring(b, i, end, q->at);
				os_mutex_unlock(&b->lock);
			}
			os_read_unlock(&emu.mirror);
			if (err == EMU_DRAIN)
				emu_events_drain();
		} while (err == EMU_DRAIN);
	}
}

static bool take(struct request *q)
{
	bool any;

	os_mutex_lock(&ahead.lock);
	any = ahead.head != ahead.tail;
	if (any)
		*q = ahead.entry[ahead.head++ % QUEUE_SIZE];
	os_mutex_unlock(&ahead.lock);
	return any;
}

static void loop(void *unused)
{
	struct request q;

	(void)unused;
	for (;;) {
		uint32_t asked = __atomic_load_n(&ahead.asked, __ATOMIC_ACQUIRE);

		if (__atomic_load_n(&ahead.stop, __ATOMIC_ACQUIRE))
			return;
		if (take(&q))
			serve(&q);
		else
			os_futex_wait(&ahead.asked, asked, 0, false);
	}
}

int emu_prefetch_start(void)
{
	return os_thread_start(&ahead.thread, loop, NULL);
}

void emu_prefetch_stop(void)
{
	if (!ahead.thread)
		return;
	__atomic_store_n(&ahead.stop, true, __ATOMIC_RELEASE);
	__atomic_add_fetch(&ahead.asked, 1, __ATOMIC_RELEASE);
	os_futex_wake(&ahead.asked, 1, false);
	os_thread_join(ahead.thread);
	os_mutex_lock(&ahead.lock); /* handlers still run */
	ahead.head = ahead.tail;
	os_mutex_unlock(&ahead.lock);
	__atomic_store_n(&ahead.thread, 0, __ATOMIC_RELAXED);
	ahead.stop = false;
}

void emu_prefetch_forget(void)
{
	ahead.thread = 0;
	ahead.lock = (struct os_mutex){ 0 };
	ahead.head = ahead.tail;
	ahead.stop = false;
}

// SPDX-License-Identifier: MIT
/*
 * The flusher: writes back what was stored, looks whether files have changed their size, and lets
 * go of files that nobody maps. And the ends of mappings: close, fork, munmap, mremap.
 */
#include "emulated/file.h"
#include "os/arena.h"
#include "os/enter.h"
#include "os/sys.h"
#include "os/thread.h"

#include <errno.h>
#include <sys/mman.h>

#define TICK_NS 50000000ull
#define FLUSH_NS 1000000000ull

static struct {
	struct os_mutex lock; /* start */
	uint32_t kicks;       /* futex */
	bool stop;
	unsigned long thread;
} flusher;

struct emu_file *emu_file_after(struct emu_file *last)
{
	struct emu_file *f;

	os_read_lock(&emu.mirror);
	f = last ? last->next : emu_files.list;
	if (f)
		atomic_fetch_add(&f->users, 1);
	if (last)
		emu_file_put(last);
	os_read_unlock(&emu.mirror);
	return f;
}

/* True: a dirty page is left. Locking: mirror, block->lock. */
static bool trim_block(struct emu_fblock *fb)
{
	struct hmm_block *b = fb->block;
	struct hmm_bits mapped = { 0 };
	struct emu_piece p = { 0 };
	bool left = false;

	while (emu_piece_next(fb, 0, HMM_BLOCK_PAGES, &p))
		hmm_bits_set_range(&mapped, p.i, p.end);
	for (unsigned int i = 0; i < HMM_BLOCK_PAGES; i++) {
		if ((!b->owner[i] && !hmm_bits_test(&fb->present, i)) || hmm_bits_test(&mapped, i))
			continue;
		if (hmm_bits_test(&fb->dirty, i) && fb->file->wfd >= 0)
			left = true;
		else
			emu_file_drop(fb, i, i + 1);
	}
	return left;
}

void emu_file_trim(struct emu_file *f)
{
	struct emu_fblock *fb;
	bool left = false;

	atomic_store(&f->trim, false);
	for (uint64_t page = 0; (fb = emu_fblock_next(f, page, UINT64_MAX));
	     page = fb->first + HMM_BLOCK_PAGES) {
		os_read_lock(&emu.mirror);
		os_mutex_lock(&fb->block->lock);
		atomic_fetch_add(&f->epoch, 1);
		left |= trim_block(fb);
		os_mutex_unlock(&fb->block->lock);
		os_read_unlock(&emu.mirror);
	}
	if (left)
		atomic_store(&f->trim, true);
}

/*
 * Who went on with it after it was trimmed may have put pages there, or on a device. True: one of
 * them is dirty. Locking: mirror exclusively, so no block's.
 */
static bool has_late(struct emu_file *f)
{
	struct emu_fblock *fb;
	bool left = false;

	if (emu.test_skip & EMU_FENCE_LATE)
		return false;
	for (uint64_t page = 0; (fb = emu_fblock_next(f, page, UINT64_MAX));
	     page = fb->first + HMM_BLOCK_PAGES)
		left |= trim_block(fb);
	atomic_store(&f->trim, left);
	return left;
}

/* Nobody maps them, and everything is written. */
static void reap(bool all)
{
	struct emu_file *f, *next;

	emu_exclusive_lock();
	for (f = emu_files.list; f; f = next) {
		next = f->next;
		if (all ||
		    (!f->maps && !atomic_load(&f->users) && !atomic_load(&f->trim) && !has_late(f)))
			emu_file_free(f);
	}
	emu_exclusive_unlock();
}

static void flush(struct emu_file *f)
{
	int err;

	if (!os_mutex_trylock(&f->io_lock))
		return; /* someone writes it right now */
	err = emu_file_write(f, 0, UINT64_MAX, false);
	if (err && !atomic_exchange(&f->failing, true))
		hmm_log(HMM_LOG_WARN, "a mapped file cannot be written (%d): its pages stay dirty",
			err);
	else if (!err)
		atomic_store(&f->failing, false);
	if (atomic_load(&f->trim))
		emu_file_trim(f);
	os_mutex_unlock(&f->io_lock);
}

static void flusher_loop(void *unused)
{
	uint64_t flushed = os_now_ns();

	(void)unused;
	while (!__atomic_load_n(&flusher.stop, __ATOMIC_ACQUIRE)) {
		uint32_t kicks = __atomic_load_n(&flusher.kicks, __ATOMIC_ACQUIRE);
		uint64_t now = os_now_ns();
		bool due = now > flushed + FLUSH_NS;

		emu_file_help();
		for (struct emu_file *f = NULL; (f = emu_file_after(f));) {
			emu_file_look(f);
			emu_file_uncut(f, now);
			if (due || atomic_load(&f->trim))
				flush(f);
		}
		reap(false);
		if (due)
			flushed = now;
		os_futex_wait(&flusher.kicks, kicks, TICK_NS, false);
	}
}

int emu_flusher_start(void)
{
	int err = 0;

	os_mutex_lock(&flusher.lock);
	if (!flusher.thread) {
		flusher.stop = false;
		err = os_thread_start(&flusher.thread, flusher_loop, NULL);
	}
	os_mutex_unlock(&flusher.lock);
	return err;
}

void emu_flusher_kick(void)
{
	__atomic_fetch_add(&flusher.kicks, 1, __ATOMIC_ACQ_REL);
	os_futex_wake(&flusher.kicks, 1, false);
}

void emu_flusher_stop(void)
{
	if (!flusher.thread)
		return;
	__atomic_store_n(&flusher.stop, true, __ATOMIC_RELEASE);
	emu_flusher_kick();
	os_thread_join(flusher.thread);
	flusher.thread = 0;
}

static long flush_on_stack(void *arg)
{
	int first = 0;

	(void)arg;
	for (struct emu_file *f = NULL; (f = emu_file_after(f));) {
		int err;

		os_mutex_lock(&f->io_lock);
		emu_file_look(f);
		err = emu_file_write(f, 0, UINT64_MAX, false);
		os_mutex_unlock(&f->io_lock);
		if (err && !first)
			first = err;
	}
	return first;
}

int emu_files_flush(void)
{
	char none = 0;

	return (int)os_enter(flush_on_stack, &none, sizeof(none));
}

/* From here nobody answers a store (see file_page.c), until the mapping is the file's own. */
static int protect_all(void)
{
	int err = 0;

	os_read_lock(&emu.mirror);
	for (unsigned int i = 0; !err && i < atomic_load(&emu_files.n); i++)
		err = uffd_protect(emu.client, emu_files.map[i].start,
				   emu_files.map[i].end - emu_files.map[i].start, true);
	os_read_unlock(&emu.mirror);
	return err;
}

static uintptr_t map_plainly(const struct emu_map *m)
{
	return os_mmap(m->start, m->end - m->start, m->write ? PROT_READ | PROT_WRITE : PROT_READ,
		       MAP_SHARED | MAP_FIXED, m->write ? m->file->wfd : m->file->rfd,
		       m->first << HMM_PAGE_SHIFT);
}

/*
 * A handler may be reading ahead for a thread that has gone on, and called hmm_close(). It counted
 * itself when there was a mapping.
 */
static void wait_for_users(void)
{
	bool used = !(emu.test_skip & EMU_FENCE_USERS);

	while (used) {
		used = false;
		os_read_lock(&emu.mirror);
		for (struct emu_file *f = emu_files.list; f; f = f->next)
			used |= atomic_load(&f->users) != 0;
		os_read_unlock(&emu.mirror);
		if (used)
			os_sleep_ns(100000);
	}
}

static long stop_on_stack(void *arg)
{
	int err;

	(void)arg;
	atomic_store(&emu_files.stopping, true);
	/* A barrier: who has not seen that holds the mirror lock until the store is allowed. */
	emu_exclusive_lock();
	emu_exclusive_unlock();
	while (protect_all() == -EAGAIN)
		emu_events_drain();
	err = (int)flush_on_stack(NULL);
	if (err)
		hmm_log(HMM_LOG_ERROR, "stores to a mapped file are lost (%d)", err);
	if (emu.test_widen & EMU_FENCE_CLOSING) /* no store is looked for any more */
		os_sleep_ns(20000000);
	/* Each is taken off the list by its event, which is read on another thread. */
	for (;;) {
		struct emu_map m;
		bool any;

		os_read_lock(&emu.mirror);
		any = atomic_load(&emu_files.n) != 0;
		if (any)
			m = emu_files.map[0];
		os_read_unlock(&emu.mirror);
		if (!any)
			break;
		if (os_is_error(map_plainly(&m))) {
			hmm_log(HMM_LOG_ERROR, "mapping %lx ends with its handle", m.start);
			os_munmap((void *)m.start, m.end - m.start);
		}
		/* The event is acted upon after our thread was let go. */
		emu_events_drain();
	}
	wait_for_users();
	reap(true);
	os_free(emu_files.map, emu_files.room * sizeof(*emu_files.map));
	emu_files.map = NULL;
	emu_files.room = 0;
	emu_pools_exit();
	atomic_store(&emu_files.stopping, false);
	return 0;
}

void emu_files_stop(void)
{
	char none = 0;

	emu_flusher_stop();
	if (emu_files.list)
		os_enter(stop_on_stack, &none, sizeof(none));
}

/* The parent's mappings are not here. The child's are the files' own: what was written is there. */
void emu_files_forget(void)
{
	for (unsigned int i = 0; i < atomic_load(&emu_files.n); i++)
		map_plainly(&emu_files.map[i]);
	for (struct emu_file *f = emu_files.list; f; f = f->next) {
		os_close(f->rfd);
		if (f->wfd >= 0)
			os_close(f->wfd);
		os_close(f->memory);
	}
	emu_files = (struct emu_files){ 0 };
	flusher.thread = 0;
	flusher.lock = (struct os_mutex){ 0 };
	emu_file_help_forget();
	emu_pools_forget();
}

/* Like a page cache at exit: what a program without hmm_close() has stored is not lost. */
static void __attribute__((destructor)) at_exit(void)
{
	if (emu.running && atomic_load(&emu_files.n))
		emu_files_flush();
}

void emu_files_remapped(uintptr_t from, uintptr_t to, size_t len)
{
	uintptr_t at = from, end = from + len;

	while (at < end) {
		const struct emu_map *m = emu_map_find(at);
		struct emu_map moved;

		if (!m) {
			at += HMM_PAGE_BYTES;
			continue;
		}
		moved = *m;
		moved.first = emu_map_page(m, at);
		if (moved.end > end)
			moved.end = end;
		emu_files_unmapped(at, moved.end);
		moved.start = to + (at - from);
		at = moved.end;
		moved.end = to + (moved.end - from);
		if (emu_map_enter(&moved))
			hmm_log(HMM_LOG_ERROR, "mremap: file mapping %lx is lost", moved.start);
	}
}

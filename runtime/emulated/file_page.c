// SPDX-License-Identifier: MIT
/*
 * Pages of mapped files in the system: read on first touch into the memfd, write-protected, so
 * that the first store to each tells that it is dirty.
 */
#include "emulated/file.h"
#include "os/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <unistd.h>

#define FIRST_READ 16 /* pages that a touch reads when no earlier one came right before */
#define FIRST_HOME 4
#define WAIT_NS 10000000000ull

static uint64_t offset_of(const struct emu_fblock *fb, unsigned int i)
{
	return (fb->first + i) << HMM_PAGE_SHIFT;
}

int emu_file_protect(struct emu_fblock *fb, unsigned int i, unsigned int end)
{
	struct emu_piece p = { 0 };

	while (emu_piece_next(fb, i, end, &p)) {
		int err = uffd_protect(emu.client, p.addr, (p.end - p.i) * HMM_PAGE_BYTES, true);

		if (err == -EAGAIN || (err && uffd_events_pending(emu.client)))
			return EMU_DRAIN;
		if (err)
			return err == -ENOENT ? 0 : err; /* not that mapping any more */
	}
	return 0;
}

int emu_file_dress(struct emu_fblock *fb, unsigned int i, unsigned int end)
{
	int err = 0;

	while (!err && (i = hmm_bits_find(&fb->bare, i, end, true)) < end) {
		unsigned int stop = hmm_bits_find(&fb->bare, i, end, false);

		err = emu_file_protect(fb, i, stop);
		if (!err)
			hmm_bits_clear_range(&fb->bare, i, stop);
		i = stop;
	}
	return err;
}

void emu_file_punch(struct emu_fblock *fb, unsigned int i, unsigned int end)
{
	os_syscall4(SYS_fallocate, fb->file->memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		    offset_of(fb, i), (end - i) * HMM_PAGE_BYTES);
	hmm_bits_clear_range(&fb->present, i, end);
	hmm_bits_set_range(&fb->bare, i, end);
}

/* Their bytes are not wanted any more. */
void emu_file_drop(struct emu_fblock *fb, unsigned int i, unsigned int end)
{
	struct hmm_block *b = fb->block;

	for (unsigned int d = 0; d < emu.devices; d++)
		emu_frames_free(b, &emu.device[d], i, end);
	for (unsigned int p = i; p < end; p++)
		hmm_block_set_owner(b, p, HMM_OWNER_SYSTEM);
	emu_file_punch(fb, i, end);
	hmm_bits_clear_range(&fb->dirty, i, end);
	hmm_bits_clear_range(&fb->written, i, end);
}

/* A store of the device to one of them faults, for they are clean, and waits for the block. */
void emu_file_drop_clean(struct hmm_block *b, struct emu_device *d, unsigned int i,
			 unsigned int end)
{
	struct emu_fblock *fb = b->file;

	atomic_fetch_add(&fb->file->epoch, 1);
	for (; i < end; i++) {
		if (b->owner[i] != HMM_OWNER_DEVICE(d->index) || hmm_bits_test(&fb->dirty, i) ||
		    hmm_bits_test(&fb->written, i))
			continue;
		emu_frames_free(b, d, i, i + 1);
		hmm_block_set_owner(b, i, HMM_OWNER_SYSTEM);
	}
}

/* Where page @i is mapped, and how far. */
static bool piece_at(const struct emu_fblock *fb, unsigned int i, unsigned int end,
		     struct emu_piece *p)
{
	p->next = 0;
	while (emu_piece_next(fb, i, end, p))
		if (p->i == i)
			return true;
	return false;
}

static int put_page(struct emu_fblock *fb, unsigned int i, const char *src)
{
	long n = os_syscall4(SYS_pwrite64, fb->file->memory, src, HMM_PAGE_BYTES, offset_of(fb, i));

	return n == (long)HMM_PAGE_BYTES ? 0 : -ENOMEM;
}

int emu_file_install(struct emu_fblock *fb, unsigned int i, unsigned int end, const char *src,
		     unsigned int *stop)
{
	const unsigned int first = i;
	int err = emu_file_dress(fb, i, end);

	while (!err && i < end) {
		const char *from = src + (i - first) * HMM_PAGE_BYTES;
		unsigned int n = 0;
		struct emu_piece p;
		size_t done = 0;

		if (piece_at(fb, i, end, &p)) {
			err = uffd_copy(emu.client, p.addr, from, (p.end - i) * HMM_PAGE_BYTES,
					UFFDIO_COPY_MODE_WP, &done);
			n = (unsigned int)(done / HMM_PAGE_BYTES);
			if (n)
				err = 0;
			else if (err == -EAGAIN || uffd_events_pending(emu.client))
				err = EMU_DRAIN;
			else if (err == -EFAULT)
				err = EMU_WAIT; /* it is cut for a moment */
			else if (err != -ENOMEM)
				err = put_page(fb, i, from), n = !err;
		} else {
			err = put_page(fb, i, from); /* not mapped any more */
			n = !err;
		}
		hmm_bits_set_range(&fb->present, i, i + n);
		i += n;
	}
	*stop = i;
	return err;
}

/* What was read, if nothing was taken away meanwhile. */
static int install_read(struct emu_file *f, struct emu_fblock *fb, unsigned int i, unsigned int end,
			const char *bytes, uint64_t epoch)
{
	const unsigned int first = i;
	int err = 0;

	os_read_lock(&emu.mirror);
	os_mutex_lock(&fb->block->lock);
	while (!err && i < end && atomic_load(&f->epoch) == epoch) {
		unsigned int stop = i;

		while (stop < end && emu_file_absent(fb, stop))
			stop++;
		if (stop > i)
			err = emu_file_install(fb, i, stop, bytes + (i - first) * HMM_PAGE_BYTES,
					       &stop);
		i = stop > i ? stop : i + 1;
	}
	os_mutex_unlock(&fb->block->lock);
	os_read_unlock(&emu.mirror);
	return err;
}

int emu_file_read(struct emu_file *f, struct emu_fblock *fb, unsigned int i, unsigned int *end,
		  char *bytes)
{
	size_t want = (*end - i) * HMM_PAGE_BYTES;
	long got = os_syscall4(SYS_pread64, f->rfd, bytes, want, offset_of(fb, i));

	if (got < 0)
		return (int)got;
	if ((size_t)got < want) {
		int err = emu_file_look(f);

		if (err)
			return err;
		if (fb->first + i >= emu_file_pages(f))
			return EMU_EOF;
		if (!got)
			return EMU_WAIT; /* it grew right now */
	}
	*end = i + (unsigned int)(((size_t)got + HMM_PAGE_BYTES - 1) >> HMM_PAGE_SHIFT);
	os_zero(bytes + got, (*end - i) * HMM_PAGE_BYTES - (size_t)got);
	return 0;
}

int emu_file_populate(struct emu_file *f, struct emu_fblock *fb, unsigned int i, unsigned int end)
{
	const unsigned int first = i;
	char *chunk;
	int err = 0;

	while (!err && i < end) {
		uint64_t epoch = atomic_load(&f->epoch);
		unsigned int stop = i;

		if (!emu_file_absent(fb, i)) { /* a hint; looked at again below */
			i++;
			continue;
		}
		while (stop < end && stop - i < FILE_CHUNK_PAGES && emu_file_absent(fb, stop))
			stop++;
		chunk = emu_chunk_get(false);
		err = emu_file_read(f, fb, i, &stop, chunk);
		/* Who touched the first one is gone already. */
		if ((emu.test_widen & EMU_FENCE_UNMAPPED) && i > first)
			os_sleep_ns(5000000);
		if ((emu.test_widen & EMU_FENCE_USERS) && atomic_load(&emu_files.stopping))
			os_sleep_ns(50000000);
		while (!err && (err = install_read(f, fb, i, stop, chunk, epoch)) == EMU_DRAIN) {
			emu_events_drain();
			err = 0;
		}
		emu_chunk_put(chunk);
		if (err == EMU_WAIT) {
			os_sleep_ns(1000000);
			err = 0;
		} else if (!err && atomic_load(&f->epoch) == epoch) {
			i = stop;
		}
	}
	return err;
}

/* A page that is there: let it be stored to, with those behind it that are dirty already. */
static int open_page(struct emu_fblock *fb, const struct emu_map *m, uintptr_t addr, unsigned int i)
{
	unsigned int end = i + 1;
	uintptr_t left = (m->end - addr) >> HMM_PAGE_SHIFT;
	int err;

	if (!m->write)
		return 0;
	while (end < HMM_BLOCK_PAGES && end - i < left && hmm_bits_test(&fb->dirty, end) &&
	       hmm_bits_test(&fb->present, end))
		end++;
	/* Before a store can be: whoever writes it back must find it. */
	hmm_bits_set(&fb->dirty, i);
	err = uffd_protect(emu.client, addr, (end - i) * HMM_PAGE_BYTES, false);
	return err == -EAGAIN || err == -ENOENT ? EMU_DRAIN : err;
}

/* MADV_REMOVE() of the application took it out of the memfd. */
static bool is_lost(const struct emu_fblock *fb, unsigned int i)
{
	uint64_t at = offset_of(fb, i);

	return (uint64_t)os_syscall3(SYS_lseek, fb->file->memory, at, SEEK_DATA) != at;
}

static int bring_home(struct emu_fblock *fb, uintptr_t addr, unsigned int i)
{
	struct hmm_block *b = fb->block;
	struct emu_device *d = &emu.device[b->owner[i] - 1];
	unsigned int pages = emu_window(&emu.cpu_window, addr, hmm_block_addr(b, i), HMM_SYSTEM,
					FIRST_HOME);

	emu_prefetch(&emu.cpu_window, hmm_block_addr(b, i + pages), addr + pages * HMM_PAGE_BYTES,
		     pages);
	emu_count(d, EMU_CPU_FAULTS, 1);
	return emu_file_home(b, d, i, i + pages);
}

struct fault {
	uintptr_t addr;
	bool protected, write;
	uint8_t homes;
	bool reading; /* since its owner had changed @moves times */
	uint8_t moves;
	struct emu_file *file; /* with a user more after EMU_READ */
	struct emu_fblock *fb;
	unsigned int i, pages;
};

/* Locking: mirror, block->lock. */
static int serve_page(struct fault *q, const struct emu_map *m)
{
	struct emu_fblock *fb = q->fb;
	unsigned int i = q->i;
	uint8_t owner = fb->block->owner[i];

	if (owner && fb->block->homes[i] != q->homes)
		return 0; /* an old message, see fault_cpu.c */
	if (owner && q->reading && fb->block->moves[i] != q->moves)
		return 0; /* so is this: the thread went on as soon as the page was read */
	if (owner)
		return bring_home(fb, q->addr, i);
	if (hmm_bits_test(&fb->present, i) && (q->protected || !is_lost(fb, i)))
		return q->write ? open_page(fb, m, q->addr, i) : 0;
	if (q->protected)
		return 0;
	if (hmm_bits_test(&fb->present, i)) {
		atomic_fetch_add(&q->file->epoch, 1); /* what is being read may be older */
		emu_file_drop(fb, i, i + 1);
	}
	q->pages = emu_window(&q->file->window, q->addr, hmm_block_addr(fb->block, i), HMM_SYSTEM,
			      FIRST_READ);
	if (q->pages > (m->end - q->addr) >> HMM_PAGE_SHIFT)
		q->pages = (unsigned int)((m->end - q->addr) >> HMM_PAGE_SHIFT);
	q->reading = true;
	q->moves = fb->block->moves[i];
	atomic_fetch_add(&q->file->users, 1);
	return EMU_READ;
}

/* Asked before the mirror lock was taken it may be no longer so: see stop_on_stack(). */
static bool is_stopping(void)
{
	return atomic_load(&emu_files.stopping) && !(emu.test_skip & EMU_FENCE_CLOSING);
}

static int serve(struct fault *q)
{
	const struct emu_map *m;
	int err = 0;

	os_read_lock(&emu.mirror);
	m = emu_map_find(q->addr);
	q->file = m ? m->file : NULL;
	if (m && is_stopping()) {
		os_read_unlock(&emu.mirror);
		return 0;
	}
	q->fb = m ? emu_fblock_get(m->file, emu_map_page(m, q->addr), &q->i) : NULL;
	if (m && !q->fb)
		err = -ENOMEM;
	if (q->fb) {
		os_mutex_lock(&q->fb->block->lock);
		err = serve_page(q, m);
		if (!err)
			uffd_wake(emu.client, q->addr, HMM_PAGE_BYTES);
		os_mutex_unlock(&q->fb->block->lock);
	}
	os_read_unlock(&emu.mirror);
	return err;
}

/* As a mapping of the file itself would: SIGBUS. MADV_DONTNEED of the application ends it. */
static int poison(struct fault *q)
{
	int err = 0;

	os_read_lock(&emu.mirror);
	os_mutex_lock(&q->fb->block->lock);
	if (emu_file_absent(q->fb, q->i)) {
		/* Not as long as it is write-protected. */
		err = uffd_protect(emu.client, q->addr, HMM_PAGE_BYTES, false);
		hmm_bits_set(&q->fb->bare, q->i);
		if (!err)
			err = uffd_poison(emu.client, q->addr, HMM_PAGE_BYTES);
	}
	os_mutex_unlock(&q->fb->block->lock);
	os_read_unlock(&emu.mirror);
	return err == -EAGAIN || err == -ENOENT ? EMU_DRAIN : err == -EEXIST ? 0 : err;
}

static int read_in(struct fault *q)
{
	int err = emu_file_populate(q->file, q->fb, q->i, q->i + q->pages);

	if (err < 0 && err > -1000 && err != -ENOMEM && q->pages > 1)
		err = emu_file_populate(q->file, q->fb, q->i, q->i + 1);
	if (err < 0 && err > -1000 && err != -ENOMEM) {
		err = poison(q);
		emu_file_put(q->file);
		return err;
	}
	/* Read ahead may have come to the end: then what was touched is there. */
	if (err == EMU_EOF)
		err = emu_file_cut(q->file, q->addr) ? 0 : EMU_READ;
	else if (!err)
		err = EMU_READ;
	emu_file_put(q->file);
	return err;
}

bool emu_file_cpu_fault(const struct uffd_msg *msg, uint8_t homes)
{
	uint64_t flags = msg->arg.pagefault.flags, until = os_now_ns() + WAIT_NS;
	struct fault q = {
		.addr = msg->arg.pagefault.address & ~(HMM_PAGE_BYTES - 1),
		.protected = flags & UFFD_PAGEFAULT_FLAG_WP,
		.write = flags & (UFFD_PAGEFAULT_FLAG_WP | UFFD_PAGEFAULT_FLAG_WRITE),
		.homes = homes,
	};
	int err;

	if (!atomic_load(&emu_files.n))
		return false;
	if (atomic_load(&emu_files.stopping))
		return emu_files_cover(q.addr, q.addr + 1); /* served by what is mapped next */
	do {
		if (emu.test_widen & EMU_FENCE_CLOSING) /* the last hmm_close() comes first */
			os_sleep_ns(5000000);
		err = serve(&q);
		if (!q.file && (emu.test_widen & EMU_FENCE_OLD)) /* and then it is mapped again */
			os_sleep_ns(5000000);
		if (!q.file)
			return false;
		if (err == EMU_READ)
			err = read_in(&q);
		if (err == EMU_DRAIN)
			emu_events_drain();
		else if (err && err != EMU_READ)
			os_sleep_ns(1000000); /* the CPU has nowhere else to go */
	} while (err && os_now_ns() < until);
	if (err) {
		hmm_log(HMM_LOG_ERROR, "CPU fault at %lx: page of a file cannot be had (%d)",
			q.addr, err);
		uffd_wake(emu.client, q.addr, HMM_PAGE_BYTES); /* it faults again */
	}
	return true;
}

// SPDX-License-Identifier: MIT
/*
 * Dirty pages to their file, wherever they are, and through bounce buffers. The order matters:
 *
 *   1. write-protected, in every page table that may store to the page
 *   2. marked clean
 *   3. copied to the bounce buffer
 *   4. the block's lock is let go of, and the bounce buffer written
 *
 * A store before 1 is in the copy. One after 1 faults, waits for the lock, and marks the page
 * dirty after 2. Were 1 left out, a store between 3 and the next write would be in neither.
 *
 * The file is written through a mapping of it, by system call: a write to a mapping cannot make a
 * file longer that is truncated meanwhile, and a descriptor's O_APPEND has no say in it.
 */
#include "core/trace.h"
#include "emulated/file.h"
#include "os/arena.h"
#include "os/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>

#define READ_CHUNKS 4u
#define WRITE_CHUNKS 2u /* own ones: a slow disk does not hold faults up */
#define CHUNK_BYTES (FILE_CHUNK_PAGES * HMM_PAGE_BYTES)
#define WINDOW_LEAST (2ul << 20)
#define WINDOW_USUAL (64ul << 20)
#define WINDOW_MOST (4ul << 30)

static struct {
	char *base;
	uint32_t freed; /* bits; reads' first */
	uint32_t gate;  /* futex: counts returns */
} pool;

int emu_pools_init(void)
{
	if (pool.base)
		return 0;
	if (emu.test_widen & EMU_FENCE_FIRST) /* others map a file for the first time, too */
		os_sleep_ns(5000000);
	pool.base = os_alloc((READ_CHUNKS + WRITE_CHUNKS) * CHUNK_BYTES);
	pool.freed = (1u << (READ_CHUNKS + WRITE_CHUNKS)) - 1;
	return pool.base ? 0 : -ENOMEM;
}

void emu_pools_exit(void)
{
	os_free(pool.base, (READ_CHUNKS + WRITE_CHUNKS) * CHUNK_BYTES);
	pool.base = NULL;
}

void emu_pools_forget(void)
{
	pool.base = NULL;
}

char *emu_chunk_get(bool write)
{
	const uint32_t reads = (1u << READ_CHUNKS) - 1, mine = write ? ~reads : reads;

	for (;;) {
		uint32_t gate = __atomic_load_n(&pool.gate, __ATOMIC_ACQUIRE);
		uint32_t now = __atomic_load_n(&pool.freed, __ATOMIC_ACQUIRE);
		uint32_t bit = (now & mine) & -(now & mine);

		/* Whoever has one waits for the file only, so it comes back. */
		if (!bit)
			os_futex_wait(&pool.gate, gate, 0, false);
		else if (__atomic_compare_exchange_n(&pool.freed, &now, now & ~bit, false,
						     __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			return pool.base + (size_t)__builtin_ctz(bit) * CHUNK_BYTES;
	}
}

void emu_chunk_put(char *chunk)
{
	uint32_t bit = 1u << ((size_t)(chunk - pool.base) / CHUNK_BYTES);

	__atomic_fetch_or(&pool.freed, bit, __ATOMIC_ACQ_REL);
	__atomic_fetch_add(&pool.gate, 1, __ATOMIC_ACQ_REL);
	os_futex_wake(&pool.gate, 1 << 30, false);
}

/* 1 of the order above. Locking: mirror, block->lock. */
static int fence(struct emu_fblock *fb, unsigned int i, unsigned int end)
{
	uint8_t owner = fb->block->owner[i];

	if (emu.test_skip & EMU_FENCE_WRITE)
		return 0;
	if (!owner)
		return emu_file_protect(fb, i, end);
	emu_file_protect_device(fb, &emu.device[owner - 1], i, end);
	return 0;
}

static int copy(struct emu_fblock *fb, unsigned int i, unsigned int end, char *chunk)
{
	uint8_t owner = fb->block->owner[i];
	size_t len = (end - i) * HMM_PAGE_BYTES;

	if (owner) {
		char *alias = emu_alias(fb->block, owner - 1u, i);

		if (alias)
			os_copy(chunk, alias, len);
		return alias ? 0 : -ENOMEM;
	}
	return os_syscall4(SYS_pread64, fb->file->memory, chunk, len,
			   (fb->first + i) << HMM_PAGE_SHIFT) == (long)len ?
		       0 :
		       -ENOMEM;
}

/* Dirty pages, all with one owner. */
struct run {
	unsigned int i, end;
	int device;
	uintptr_t addr;
	bool unstable; /* the block has pages for fdatasync(2) */
};

/* The first run in [i, end), into the buffer; nothing is dirty: its pages are as they were. */
static int collect(struct emu_fblock *fb, unsigned int i, unsigned int end, struct run *r,
		   char *chunk)
{
	unsigned int first, last;
	int err = 0;

	os_read_lock(&emu.mirror);
	os_mutex_lock(&fb->block->lock);
	first = hmm_bits_find(&fb->dirty, i, end, true);
	if (end > first + FILE_CHUNK_PAGES)
		end = first + FILE_CHUNK_PAGES;
	last = hmm_bits_find(&fb->dirty, first, end, false);
	if (first < last) {
		last = hmm_block_owner_run(fb->block, first, last, fb->block->owner[first]);
		err = fence(fb, first, last);
		if (!err)
			err = copy(fb, first, last, chunk);
		if (!err) {
			hmm_bits_clear_range(&fb->dirty, first, last);
			hmm_bits_set_range(&fb->written, first, last);
			*r = (struct run){ first, last, fb->block->owner[first] - 1,
					   emu_address(fb->block, first, last), false };
		}
	}
	r->unstable = hmm_bits_find(&fb->written, 0, HMM_BLOCK_PAGES, true) < HMM_BLOCK_PAGES;
	os_mutex_unlock(&fb->block->lock);
	os_read_unlock(&emu.mirror);
	return err;
}

void emu_file_close_window(struct emu_file *f)
{
	if (f->out)
		os_munmap((void *)f->out, f->out_bytes);
	f->out = 0;
}

/*
 * The file's bytes from @at on, as a mapping; NULL: none can be had. It is kept: the first store to
 * a page through a new one costs up to 15 times what one through an old one does.
 */
static char *window(struct emu_file *f, uint64_t at, size_t len)
{
	uint64_t bytes = WINDOW_USUAL;

	if (f->out && at >= f->out_at && at + len <= f->out_at + f->out_bytes)
		return (char *)f->out + (at - f->out_at);
	if (f->out_shared)
		return NULL;
	emu_file_close_window(f);
	while (bytes < atomic_load(&f->size) && bytes < WINDOW_MOST)
		bytes *= 2;
	for (; !f->out && bytes >= WINDOW_LEAST; bytes /= 2) {
		f->out_at = at & ~(bytes - 1);
		if (at + len > f->out_at + bytes)
			f->out_at = at;
		f->out_bytes = bytes;
		f->out = os_mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
				 f->wfd, f->out_at);
		if (os_is_error(f->out))
			f->out = 0;
	}
	if (!f->out)
		return NULL;
	os_madvise(f->out, f->out_bytes, MADV_DONTFORK);
	return (char *)f->out + (at - f->out_at);
}

bool emu_file_share_window(struct emu_file *f, uint64_t at, size_t len)
{
	f->out_shared = window(f, at, len) != NULL;
	return f->out_shared;
}

/* Bytes done; stops where a page cannot be had. */
static size_t put_bytes(char *window, const char *chunk, size_t len)
{
	struct iovec to = { window, len }, from = { (void *)(uintptr_t)chunk, len };
	long n = os_syscall6(SYS_process_vm_writev, os_getpid(), (long)&from, 1, (long)&to, 1, 0);

	return n > 0 ? (size_t)n : 0;
}

/* A page of the file that cannot be had through a mapping: write(2) tells why. */
static int put_page(struct emu_file *f, uint64_t at, const char *bytes, size_t len)
{
	long n;

	if (emu_file_look(f) || at >= atomic_load(&f->size))
		return 0; /* the file has no such page any more */
	if (len > atomic_load(&f->size) - at)
		len = atomic_load(&f->size) - at;
	n = os_syscall4(SYS_pwrite64, f->wfd, bytes, len, at);
	return n == (long)len ? 0 : n < 0 ? (int)n : -ENOSPC;
}

static void dirty_again(struct emu_fblock *fb, unsigned int i)
{
	os_read_lock(&emu.mirror);
	os_mutex_lock(&fb->block->lock);
	if (hmm_bits_test(&fb->written, i)) /* else it was truncated */
		hmm_bits_set(&fb->dirty, i);
	os_mutex_unlock(&fb->block->lock);
	os_read_unlock(&emu.mirror);
}

/*
 * How many of @len bytes from @at on are the file's. It may have grown since it was looked at, and
 * been stored to there: as it was when they were copied, or later, is what counts.
 */
static int clip(struct emu_file *f, uint64_t at, size_t *len)
{
	uint64_t size = atomic_load(&f->size);
	int err = 0;

	if (at + *len > size) {
		err = emu_file_look(f);
		size = atomic_load(&f->size);
	}
	if (at >= size)
		*len = 0;
	else if (*len > size - at)
		*len = size - at;
	return err;
}

static int write_out(struct emu_fblock *fb, unsigned int i, unsigned int end, const char *chunk)
{
	struct emu_file *f = fb->file;
	uint64_t at = (fb->first + i) << HMM_PAGE_SHIFT;
	const size_t room = (end - i) * HMM_PAGE_BYTES;
	size_t len = room, done = 0;
	int first = clip(f, at, &len);
	char *w;

	while (first && i < end)
		dirty_again(fb, i++);
	if (first || !len)
		return first;
	w = window(f, at, room);
	while (done < len) {
		size_t n;
		int err;

		if (w)
			done += put_bytes(w + done, chunk + done, len - done);
		if (done >= len)
			break;
		n = HMM_PAGE_BYTES - done % HMM_PAGE_BYTES;
		err = put_page(f, at + done, chunk + done, n < len - done ? n : len - done);
		if (err)
			dirty_again(fb, i + (unsigned int)(done / HMM_PAGE_BYTES));
		if (err && !first)
			first = err;
		done += n;
	}
	return first;
}

int emu_file_write_block(struct emu_fblock *fb, unsigned int i, unsigned int end, char *chunk,
			 bool *unstable)
{
	int first = 0;

	while (i < end) {
		uint64_t began = hmm_trace_begin();
		struct run r = { .i = end, .end = end };
		int err = collect(fb, i, end, &r, chunk);

		if (err == EMU_DRAIN) {
			emu_events_drain();
			continue;
		}
		if (err)
			return first ? first : err;
		*unstable |= r.unstable;
		if (r.i < end) {
			err = write_out(fb, r.i, r.end, chunk);
			HMM_TRACE(HMM_TRACE_WRITEBACK, writeback, began, r.device, r.addr,
				  r.end - r.i);
		}
		if (err && !first)
			first = err;
		i = r.end;
	}
	return first;
}

// SPDX-License-Identifier: MIT
/*
 * Whole files to stable storage, block by block. Bytes are copied twice, so while much is written
 * the flusher takes blocks of it, too, on another CPU if there is one. Who waits for it waits for a
 * block at the most, for the flusher begins none when all are taken.
 */
#include "emulated/file.h"
#include "os/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#define SHARED_PAGES (4 * HMM_BLOCK_PAGES) /* less is done before another thread is awake */

struct job {
	struct emu_file *file;
	uint64_t page, end; /* not taken yet. help.lock */
	bool hurry;
	int err; /* the first. help.lock */
};

static struct {
	struct os_mutex lock; /* leaf */
	struct job *job;      /* that the flusher may take blocks of; lock */
	uint32_t helpers;     /* futex: who does */
} help;

static struct emu_fblock *take(struct job *j, unsigned int *i, unsigned int *end)
{
	struct emu_fblock *fb;

	os_mutex_lock(&help.lock);
	fb = emu_fblock_next(j->file, j->page, j->end);
	if (fb) {
		*i = j->page > fb->first ? (unsigned int)(j->page - fb->first) : 0;
		*end = j->end - fb->first < HMM_BLOCK_PAGES ? (unsigned int)(j->end - fb->first) :
							      HMM_BLOCK_PAGES;
		j->page = fb->first + HMM_BLOCK_PAGES;
	}
	os_mutex_unlock(&help.lock);
	return fb;
}

/*
 * The disk writes this block while the next one is copied; fdatasync() tells how that went. It
 * would write the same, but with one CPU. What others write right now is theirs to sync.
 */
static void push(const struct emu_fblock *fb)
{
	os_syscall4(SYS_sync_file_range, fb->file->wfd, fb->first << HMM_PAGE_SHIFT,
		    HMM_BLOCK_BYTES, SYNC_FILE_RANGE_WRITE);
}

static void work(struct job *j, bool helps)
{
	char *chunk = emu_chunk_get(true);
	struct emu_fblock *fb;
	unsigned int i, end;

	while ((fb = take(j, &i, &end))) {
		bool unstable = false;
		int err;

		/* Who helps is still at it when all else is done. */
		if (emu.test_widen & EMU_FENCE_HELPER)
			os_sleep_ns(helps ? 20000000 : 1000000);
		err = emu_file_write_block(fb, i, end, chunk, &unstable);
		if (j->hurry && unstable)
			push(fb);
		os_mutex_lock(&help.lock);
		if (err && !j->err)
			j->err = err;
		os_mutex_unlock(&help.lock);
	}
	emu_chunk_put(chunk);
}

void emu_file_help(void)
{
	struct job *j;

	os_mutex_lock(&help.lock);
	j = help.job;
	help.helpers += !!j;
	os_mutex_unlock(&help.lock);
	if (!j)
		return;
	work(j, true);
	__atomic_fetch_sub(&help.helpers, 1, __ATOMIC_RELEASE);
	os_futex_wake(&help.helpers, 1 << 30, false);
}

void emu_file_help_forget(void)
{
	help.lock = (struct os_mutex){ 0 };
	help.job = NULL;
	help.helpers = 0;
}

/* False: it is for one thread alone. */
static bool share(struct job *j)
{
	struct emu_file *f = j->file;
	uint64_t end = emu_file_pages(f) < j->end ? emu_file_pages(f) : j->end;
	bool free;

	if (end < j->page + SHARED_PAGES ||
	    !emu_file_share_window(f, j->page << HMM_PAGE_SHIFT, (end - j->page) << HMM_PAGE_SHIFT))
		return false;
	os_mutex_lock(&help.lock);
	free = !help.job;
	if (free)
		help.job = j;
	os_mutex_unlock(&help.lock);
	if (free)
		emu_flusher_kick();
	else
		f->out_shared = false;
	return free;
}

static void unshare(struct job *j)
{
	uint32_t n;

	os_mutex_lock(&help.lock);
	help.job = NULL;
	os_mutex_unlock(&help.lock);
	if (emu.test_skip & EMU_FENCE_HELPER)
		return;
	while ((n = __atomic_load_n(&help.helpers, __ATOMIC_ACQUIRE)))
		os_futex_wait(&help.helpers, n, 0, false);
	j->file->out_shared = false;
}

int emu_file_write(struct emu_file *f, uint64_t page, uint64_t end, bool hurry)
{
	struct job j = { f, page, end, hurry, 0 };
	bool shared;

	if (f->wfd < 0)
		return 0;
	shared = hurry && share(&j);
	work(&j, false);
	if (shared)
		unshare(&j);
	return j.err;
}

/*
 * Who has been written is stable now, or nobody knows what is, and all is written again. How many
 * pages that are.
 */
static unsigned int settle(struct emu_file *f, bool stable)
{
	struct emu_fblock *fb;
	unsigned int n = 0;

	for (uint64_t page = 0; (fb = emu_fblock_next(f, page, UINT64_MAX));
	     page = fb->first + HMM_BLOCK_PAGES) {
		os_read_lock(&emu.mirror);
		os_mutex_lock(&fb->block->lock);
		for (unsigned int w = 0; w < HMM_BLOCK_PAGES / 64; w++)
			n += (unsigned int)__builtin_popcountll(fb->written.word[w]);
		for (unsigned int w = 0; !stable && w < HMM_BLOCK_PAGES / 64; w++)
			fb->dirty.word[w] |= fb->written.word[w];
		if (stable)
			fb->written = (struct hmm_bits){ 0 };
		os_mutex_unlock(&fb->block->lock);
		os_read_unlock(&emu.mirror);
	}
	return n;
}

static bool is_read_only(int fd)
{
	struct statfs s = { 0 };

	return !os_syscall2(SYS_fstatfs, fd, &s) && (s.f_flags & ST_RDONLY);
}

int emu_file_sync(struct emu_file *f, uint64_t page, uint64_t end)
{
	int err = emu_file_look(f), stable;

	if (!err)
		err = emu_file_write(f, page, end, true);
	if (f->wfd < 0)
		return err;
	stable = (int)os_syscall1(SYS_fdatasync, f->wfd);
	/*
	 * Made read-only by force (errors=remount-ro, SysRq-U), a filesystem may take stores to
	 * mapped pages, and ext4 answers fdatasync(2) with 0 when it has written none of them.
	 */
	if (!stable && is_read_only(f->wfd))
		return settle(f, false) ? -EROFS : err;
	settle(f, !stable);
	return err ? err : stable;
}

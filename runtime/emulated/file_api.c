// SPDX-License-Identifier: MIT
/* hmm_map_file(), hmm_unmap() and hmm_sync() of the emulated backend. */
#include "emulated/file.h"
#include "os/arena.h"
#include "os/enter.h"
#include "os/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u /* Linux 6.3 */
#endif

struct map_args {
	int fd;
	uint64_t offset;
	size_t length;
	int prot;
	uintptr_t addr; /* out */
};

/* All that the kernel has against such a mapping: seals, file systems, rights. */
static int check(const struct map_args *a, struct stat *st)
{
	struct statfs fs = { 0 };
	uintptr_t p = os_mmap(0, HMM_PAGE_BYTES, a->prot, MAP_SHARED, a->fd, a->offset);
	int err;

	if (os_is_error(p))
		return (int)p == -ENODEV ? -EOPNOTSUPP : (int)p;
	os_munmap((void *)p, HMM_PAGE_BYTES);
	err = (int)os_syscall2(SYS_fstatfs, a->fd, &fs);
	if (!err && fs.f_type == HUGETLBFS_MAGIC)
		err = -EOPNOTSUPP;
	return err ? err : (int)os_syscall2(SYS_fstat, a->fd, st);
}

/*
 * A descriptor of our own: with errors, flags and a life of its own. Where the path of it is
 * closed to us, a copy of the application's.
 */
static int open_again(int fd, bool write)
{
	char path[32] = "/proc/self/fd/", digits[12], *p = path + 14;
	unsigned int n = 0, value = (unsigned int)fd;
	int got;

	do {
		digits[n++] = (char)('0' + value % 10);
	} while ((value /= 10));
	while (n)
		*p++ = digits[--n];
	*p = 0;
	got = (int)os_syscall4(SYS_openat, AT_FDCWD, path,
			       (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY, 0);
	return got >= 0 ? got : (int)os_syscall3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3);
}

static int open_file(struct emu_file *f, const struct map_args *a)
{
	bool write = a->prot & PROT_WRITE;

	/* The flusher may be looking at it already. */
	if (f->rfd < 0)
		__atomic_store_n(&f->rfd, open_again(a->fd, false), __ATOMIC_RELAXED);
	if (f->rfd >= 0 && write && f->wfd < 0)
		f->wfd = open_again(a->fd, true);
	return f->rfd < 0 ? f->rfd : write && f->wfd < 0 ? f->wfd : 0;
}

static int make_memory(void)
{
	int fd = (int)os_syscall2(SYS_memfd_create, "hmm-file", MFD_CLOEXEC | MFD_NOEXEC_SEAL);

	return fd == -EINVAL ? (int)os_syscall2(SYS_memfd_create, "hmm-file", MFD_CLOEXEC) : fd;
}

static void free_file(struct emu_file *f)
{
	emu_extents_free(f);
	emu_file_close_window(f);
	if (f->rfd >= 0)
		os_close(f->rfd);
	if (f->wfd >= 0)
		os_close(f->wfd);
	if (f->memory >= 0)
		os_close(f->memory);
	os_free(f, sizeof(*f));
}

void emu_file_free(struct emu_file *f)
{
	struct emu_file **link = &emu_files.list;

	while (*link && *link != f)
		link = &(*link)->next;
	if (*link)
		*link = f->next;
	free_file(f);
}

/* Locking: mirror exclusively. With a user more. */
static struct emu_file *get_file(const struct stat *st, int *err)
{
	struct emu_file *f;

	for (f = emu_files.list; f; f = f->next)
		if (f->dev == st->st_dev && f->ino == st->st_ino)
			break;
	*err = f ? 0 : -ENOMEM;
	if (!f && (f = os_alloc(sizeof(*f)))) {
		f->rfd = f->wfd = -1;
		f->dev = st->st_dev;
		f->ino = st->st_ino;
		f->size = (uint64_t)st->st_size;
		f->memory = make_memory();
		*err = f->memory < 0 ? f->memory : 0;
		f->next = emu_files.list;
		emu_files.list = f;
	}
	if (f)
		atomic_fetch_add(&f->users, 1);
	return f;
}

static int lengthen(struct emu_file *f, uint64_t bytes)
{
	int err = 0;

	os_mutex_lock(&f->size_lock);
	if (bytes > f->bytes) {
		err = (int)os_syscall2(SYS_ftruncate, f->memory, bytes);
		if (!err) {
			f->bytes = bytes;
			__atomic_store_n(&f->cut_at, 0, __ATOMIC_RELAXED);
		}
	}
	os_mutex_unlock(&f->size_lock);
	return err == -EFBIG ? -EOVERFLOW : err;
}

static int engine_map(struct emu_device *d, const struct emu_map *m)
{
	struct emu_extent *e;
	uint64_t end = emu_map_page(m, m->end);

	for (e = m->file->extents; e; e = e->next) {
		uint64_t a = m->first > e->first ? m->first : e->first;
		uint64_t z = end < e->first + e->pages ? end : e->first + e->pages;
		struct hmm_engine_msg msg = {
			.magic = HMM_ENGINE_MAGIC,
			.op = HMM_ENGINE_MAP_FILE,
			.start = m->start + ((a - m->first) << HMM_PAGE_SHIFT),
			.length = (z - a) << HMM_PAGE_SHIFT,
			.offset = e->base + ((a - e->first) << HMM_PAGE_SHIFT),
			.prot = PROT_READ | PROT_WRITE,
		};
		int err;

		if (a >= z)
			continue;
		/* Nobody knows the address yet: nothing can be stored before it is tracked. */
		err = hmm_proc_request(&d->proc, &msg, d->memory_fd);
		if (!err)
			err = uffd_register(d->uffd, msg.start, msg.length,
					    UFFDIO_REGISTER_MODE_MISSING |
						    UFFDIO_REGISTER_MODE_MINOR |
						    UFFDIO_REGISTER_MODE_WP);
		if (err)
			return err;
	}
	return 0;
}

void emu_files_engine_up(struct emu_device *d)
{
	os_read_lock(&emu.mirror);
	for (unsigned int i = 0; i < atomic_load(&emu_files.n); i++)
		if (engine_map(d, &emu_files.map[i]))
			hmm_log(HMM_LOG_ERROR, "device %u: file mapping %lx is not there", d->index,
				emu_files.map[i].start);
	os_read_unlock(&emu.mirror);
}

/* Locking: mirror exclusively. */
static int engines_map(const struct emu_map *m)
{
	int err = 0;

	for (unsigned int d = 0; !err && d < emu.devices; d++)
		if (emu_device_up(&emu.device[d]))
			err = engine_map(&emu.device[d], m);
	return err == -ENODEV ? 0 : err;
}

/* No event of what was there before is left. */
static int map_memory(struct emu_file *f, const struct map_args *a, uintptr_t *addr)
{
	uintptr_t p = os_mmap(0, a->length, a->prot, MAP_SHARED | MAP_NORESERVE, f->memory,
			      a->offset);

	if (os_is_error(p))
		return (int)p;
	/* A forked child gets a mapping of the file itself. */
	os_madvise(p, a->length, MADV_DONTFORK);
	/* A page of 2 MiB would come with pages that were never read. */
	os_madvise(p, a->length, MADV_NOHUGEPAGE);
	while (uffd_events_pending(emu.client))
		emu_events_drain();
	*addr = p;
	return 0;
}

int emu_map_enter(const struct emu_map *m)
{
	int err = emu_extents_add(m->file, m->first, emu_map_page(m, m->end));

	if (!err)
		err = engines_map(m);
	return err ? err : emu_map_add(m);
}

static int add_map(struct emu_file *f, const struct map_args *a)
{
	struct emu_map m = { a->addr, a->addr + a->length, a->offset >> HMM_PAGE_SHIFT,
			     a->prot & PROT_WRITE, f };
	int err;

	/*
	 * Registered and known of at once: for whoever serves an old fault of these addresses they
	 * are a file's, or nothing can be put there.
	 */
	emu_exclusive_lock();
	err = uffd_register(emu.client, a->addr, a->length,
			    UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP);
	if (!err)
		err = emu_map_enter(&m);
	if (err)
		uffd_unregister(emu.client, a->addr, a->length);
	emu_exclusive_unlock();
	return err;
}

/* All over, before its address is told: what comes there is clean until it is stored to. */
static int protect_map(const struct map_args *a)
{
	int err;

	while ((err = uffd_protect(emu.client, a->addr, a->length, true)) == -EAGAIN)
		emu_events_drain();
	return err;
}

/* Locking: f->io_lock. */
static int map_it(struct emu_file *f, struct map_args *a)
{
	int err = open_file(f, a);

	if (!err)
		err = emu_file_look(f);
	if (!err) {
		bool trim = atomic_load(&f->trim);

		if (trim)
			emu_file_write(f, 0, UINT64_MAX, false);
		/*
		 * Also else: who reads ahead for a mapping that is gone brings what the file had
		 * then, and others may have written it since.
		 */
		if (trim || !(emu.test_skip & EMU_FENCE_UNMAPPED))
			emu_file_trim(f);
	}
	if (!err)
		err = lengthen(f, a->offset + a->length);
	if (!err)
		err = map_memory(f, a, &a->addr);
	if (err)
		return err;
	err = add_map(f, a);
	if (!err)
		err = protect_map(a);
	if (err)
		os_munmap((void *)a->addr, a->length); /* its event takes it off the list */
	return err;
}

static long map_on_stack(void *arg)
{
	struct map_args *a = arg;
	struct emu_file *f;
	struct stat st = { 0 };
	int err = check(a, &st);

	if (err)
		return err;
	emu_exclusive_lock();
	err = emu_pools_init();
	f = err ? NULL : get_file(&st, &err);
	emu_exclusive_unlock();
	if (!f)
		return err;
	os_mutex_lock(&f->io_lock);
	if (!err)
		err = map_it(f, a);
	os_mutex_unlock(&f->io_lock);
	emu_file_put(f);
	return err;
}

int emu_map_file(int fd, off_t offset, size_t length, int prot, bool coherent, uintptr_t *addr)
{
	struct map_args a = { fd, (uint64_t)offset, length, prot, 0 };
	long err;

	if (coherent)
		return -EXDEV;
	err = emu_flusher_start();
	if (!err)
		err = os_enter(map_on_stack, &a, sizeof(a));
	if (!err)
		*addr = a.addr;
	return (int)err;
}

struct range_args {
	uintptr_t start, end;
	bool sync;
};

/* What is left after the last hmm_close() is the kernel's own mapping. */
static int sync_plain(uintptr_t start, uintptr_t end)
{
	return start < end ? (int)os_syscall3(SYS_msync, start, end - start, MS_SYNC) : 0;
}

/* As much of one file as there is from @at on, for one fdatasync(). */
static uintptr_t next_span(uintptr_t at, uintptr_t end, const struct emu_file *f, uint64_t *last)
{
	uintptr_t next = at;
	struct emu_file *g;
	unsigned int pages;
	uint64_t page;

	while (next == at && emu_file_part(&next, end, &g, &page, &pages)) {
		emu_file_put(g);
		if (next != at || g != f || page != *last)
			break;
		*last += pages;
		next = at += pages * HMM_PAGE_BYTES;
	}
	return at;
}

static long write_on_stack(void *arg)
{
	struct range_args *a = arg;
	uintptr_t at = a->start, done = at;
	struct emu_file *f;
	unsigned int pages;
	uint64_t page;
	int first = 0;

	while (at < a->end && emu_file_part(&at, a->end, &f, &page, &pages)) {
		uint64_t last = page + pages;
		int err = a->sync ? sync_plain(done, at) : 0;

		done = at = next_span(at + pages * HMM_PAGE_BYTES, a->end, f, &last);
		if (err && !first)
			first = err;
		os_mutex_lock(&f->io_lock);
		err = a->sync ? emu_file_sync(f, page, last) : emu_file_write(f, page, last, false);
		os_mutex_unlock(&f->io_lock);
		emu_file_put(f);
		if (err && !first)
			first = err;
	}
	if (a->sync && !first)
		first = sync_plain(done, a->end);
	return first;
}

int emu_sync_file(uintptr_t start, uintptr_t end)
{
	struct range_args a = { start, end, true };

	return (int)os_enter(write_on_stack, &a, sizeof(a));
}

/* What was stored until the mapping was gone is the file's, too: the flusher sees to it. */
static long settle_on_stack(void *arg)
{
	(void)arg;
	for (struct emu_file *f = NULL; (f = emu_file_after(f));) {
		if (!atomic_load(&f->trim))
			continue;
		os_mutex_lock(&f->io_lock);
		emu_file_write(f, 0, UINT64_MAX, false);
		emu_file_trim(f);
		os_mutex_unlock(&f->io_lock);
	}
	emu_flusher_kick();
	return 0;
}

int emu_unmap_file(uintptr_t start, uintptr_t end)
{
	struct range_args a = { start, end, false };
	char none = 0;

	os_enter(write_on_stack, &a, sizeof(a));
	if (os_munmap((void *)start, end - start))
		return -ENOMEM;
	os_enter(settle_on_stack, &none, sizeof(none));
	return 0;
}

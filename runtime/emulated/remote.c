// SPDX-License-Identifier: MIT
/*
 * Memory that stays with the CPU. A shared mapping cannot migrate, so the engine maps
 * the same file at the same address: one copy, coherent. A read-only private file
 * mapping (constants, code) is copied; nobody writes it.
 *
 * Neither kind reports what the application does to it, so both are looked at again
 * before each launch.
 */
#include "emulated/emu.h"
#include "os/arena.h"
#include "os/enter.h"
#include "os/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

struct emu_remote {
	struct emu_remote *next;
	uintptr_t start, end;
	uint64_t offset, inode;
	uint32_t major, minor;
	bool write;
};

static void put_hex(char **p, uintptr_t n)
{
	int shift = 60;

	while (shift && !(n >> shift & 15))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		*(*p)++ = "0123456789abcdef"[n >> shift & 15];
}

static bool is_same(const struct os_vma *a, const struct os_vma *b)
{
	unsigned int i = 0;

	while (i < sizeof(a->path) - 1 && a->path[i] && a->path[i] == b->path[i])
		i++;
	return a->inode == b->inode && a->major == b->major && a->minor == b->minor &&
	       a->path[i] == b->path[i];
}

/* Does a mapping of it look like this one? */
static bool maps_alike(int fd, const struct os_vma *v)
{
	uintptr_t p = os_mmap(0, HMM_PAGE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	struct os_vma w;
	bool alike;

	if (os_is_error(p))
		return false;
	alike = !os_vma_find(p, &w) && is_same(&w, v);
	os_munmap((void *)p, HMM_PAGE_BYTES);
	return alike;
}

/*
 * Filesystems number their files each for itself, and there are as many tmpfs as mounts. Device
 * numbers of stacked filesystems differ between stat and maps.
 */
static bool same_file(int fd, const struct os_vma *v)
{
	struct stat st = { 0 };

	if (os_syscall2(SYS_fstat, fd, &st) || st.st_ino != v->inode || !S_ISREG(st.st_mode))
		return false;
	return st.st_dev == makedev(v->major, v->minor) || maps_alike(fd, v);
}

static int open_path(const char *path, const struct os_vma *v)
{
	int flags = (v->write ? O_RDWR : O_RDONLY) | O_CLOEXEC;

	return (int)os_syscall4(SYS_openat, AT_FDCWD, path, flags, 0);
}

/* Deleted files and memfds have no path; a descriptor of this process may be left. */
static int open_by_descriptor(const struct os_vma *v)
{
	for (int n = 0; n < 1024; n++) {
		int flags;

		if (!same_file(n, v))
			continue;
		flags = (int)os_syscall2(SYS_fcntl, n, F_GETFL);
		if (v->write && (flags & O_ACCMODE) != O_RDWR)
			continue;
		return (int)os_syscall3(SYS_fcntl, n, F_DUPFD_CLOEXEC, 0);
	}
	return -ENOENT;
}

static int open_file_of(const struct os_vma *v)
{
	char path[64] = "/proc/self/map_files/", *p = path + 21;
	int fd;

	if (v->path[0] == '/') {
		fd = open_path(v->path, v);
		if (fd >= 0 && same_file(fd, v))
			return fd;
		if (fd >= 0)
			os_close(fd);
	}
	put_hex(&p, v->start);
	*p++ = '-';
	put_hex(&p, v->end);
	*p = 0;
	fd = open_path(path, v); /* of this very mapping, for who may */
	return fd >= 0 ? fd : open_by_descriptor(v);
}

/* Locking: emu.remote_lock. */
static struct emu_remote *find_remote(struct emu_device *d, uintptr_t addr)
{
	struct emu_remote *r;

	for (r = d->remotes; r && (addr < r->start || addr >= r->end); r = r->next)
		;
	return r;
}

int emu_remote_map(struct emu_device *d, const struct os_vma *v)
{
	struct hmm_engine_msg msg = {
		.magic = HMM_ENGINE_MAGIC,
		.op = HMM_ENGINE_MAP_FILE,
		.start = v->start,
		.length = v->end - v->start,
		.offset = v->offset,
		.prot = PROT_READ | (v->write ? PROT_WRITE : 0),
	};
	struct emu_remote *r;
	int fd, err;

	if (emu_remote_contains(d, v->start))
		return 0;
	r = os_alloc(sizeof(*r));
	if (!r)
		return -ENOMEM;
	fd = open_file_of(v);
	err = fd < 0 ? fd : hmm_proc_request(&d->proc, &msg, fd);
	if (fd >= 0)
		os_close(fd);
	if (err) {
		os_free(r, sizeof(*r));
		return err;
	}
	*r = (struct emu_remote){ NULL,     v->start, v->end,   v->offset,
				  v->inode, v->major, v->minor, v->write };
	os_mutex_lock(&emu.remote_lock);
	if (find_remote(d, v->start)) {
		os_free(r, sizeof(*r)); /* another thread of the device was faster */
	} else {
		r->next = d->remotes;
		d->remotes = r;
		emu_count(d, EMU_REMOTE, (v->end - v->start) >> HMM_PAGE_SHIFT);
	}
	os_mutex_unlock(&emu.remote_lock);
	emu_device_wake(d, v->start, v->end - v->start);
	return 0;
}

bool emu_remote_contains(struct emu_device *d, uintptr_t addr)
{
	struct emu_remote *r;

	os_mutex_lock(&emu.remote_lock);
	r = find_remote(d, addr);
	os_mutex_unlock(&emu.remote_lock);
	return r != NULL;
}

static bool still_there(const struct emu_remote *r)
{
	struct os_vma v;

	return !os_vma_find(r->start, &v) && v.start == r->start && v.end == r->end &&
	       v.kind == OS_VMA_SHARED && v.inode == r->inode && v.offset == r->offset &&
	       v.major == r->major && v.minor == r->minor && v.write == r->write;
}

static void unmap(struct emu_device *d, struct emu_remote *r)
{
	struct hmm_engine_msg msg = {
		.magic = HMM_ENGINE_MAGIC,
		.op = HMM_ENGINE_UNMAP_FILE,
		.start = r->start,
		.length = r->end - r->start,
	};

	hmm_proc_request(&d->proc, &msg, -1);
	os_free(r, sizeof(*r));
}

/* Copies of read-only memory: made again when they are touched again. */
static void drop_copies(struct emu_device *d)
{
	struct hmm_block *b;

	/* First, for who has read what lay there and has no copy of it yet: see put_copy(). */
	atomic_fetch_add(&d->copies_voided, 1);
	if (!atomic_exchange(&d->has_copies, false))
		return;
	for (uintptr_t at = 0; (b = hmm_block_next(&emu.table, at, 1ul << HMM_VA_BITS));
	     at = b->start + HMM_BLOCK_BYTES) {
		struct hmm_bits *copies = &b->dev[d->index].copies;
		unsigned int i = 0;

		if (hmm_bits_find(copies, 0, HMM_BLOCK_PAGES, true) == HMM_BLOCK_PAGES)
			continue;
		os_mutex_lock(&b->lock);
		while ((i = hmm_bits_find(copies, i, HMM_BLOCK_PAGES, true)) < HMM_BLOCK_PAGES)
			if (b->owner[i] == HMM_OWNER_DEVICE(d->index))
				hmm_bits_clear(copies, i);
			else
				emu_frames_free(b, d, i, i + 1);
		os_mutex_unlock(&b->lock);
	}
}

static long revalidate_on_stack(void *arg)
{
	struct emu_device *d = *(struct emu_device **)arg;
	struct emu_remote *r, **link, *gone = NULL;

	os_mutex_lock(&emu.remote_lock);
	for (link = &d->remotes; (r = *link);) {
		if (still_there(r)) {
			link = &r->next;
			continue;
		}
		*link = r->next;
		r->next = gone;
		gone = r;
	}
	os_mutex_unlock(&emu.remote_lock);
	while ((r = gone)) {
		gone = r->next;
		unmap(d, r);
	}
	os_read_lock(&emu.mirror);
	drop_copies(d);
	os_read_unlock(&emu.mirror);
	return 0;
}

void emu_remote_revalidate(struct emu_device *d)
{
	os_enter(revalidate_on_stack, &d, sizeof(d));
}

void emu_remote_forget(struct emu_device *d)
{
	struct emu_remote *r;

	os_mutex_lock(&emu.remote_lock);
	while ((r = d->remotes)) {
		d->remotes = r->next;
		os_free(r, sizeof(*r));
	}
	os_mutex_unlock(&emu.remote_lock);
}

/* Locking: mirror, b->lock; a frame is reserved. */
static int put_copy(struct hmm_block *b, struct emu_device *d, unsigned int i, const char *bytes,
		    unsigned int voided)
{
	struct hmm_bits *copies = &b->dev[d->index].copies;
	bool had = hmm_bits_test(copies, i);
	size_t done;
	int err;

	if (!emu_device_up(d))
		return -ENODEV;
	/* Another mapping by now, which migrates; or it was one, and the event is pending. */
	if (b->owner[i] || hmm_bits_test(&b->registered, i))
		return -EEXIST;
	/*
	 * Noted before the device can see it: who replaces the mapping, as soon as the device has
	 * been answered, and then asks it again must find what is to be dropped.
	 */
	hmm_bits_set(copies, i);
	atomic_store(&d->has_copies, true);
	/* Read for an old message, and what lay there may be another mapping by now. */
	if (voided != atomic_load(&d->copies_voided)) {
		if (!had)
			hmm_bits_clear(copies, i);
		return -EEXIST;
	}
	err = uffd_copy(d->uffd, hmm_block_addr(b, i), bytes, HMM_PAGE_BYTES, UFFDIO_COPY_MODE_WP,
			&done);
	if (!err) {
		hmm_bits_set(&b->dev[d->index].frames, i);
		hmm_lru_touch(&emu.table, b, d->index);
	} else if (!had) {
		hmm_bits_clear(copies, i);
		if (err == -EEXIST)
			emu_frames_free(b, d, i, i + 1); /* a frame kept for reuse */
	}
	return err;
}

static int copy_page(struct emu_device *d, uintptr_t addr, const char *bytes, unsigned int voided)
{
	struct hmm_block *b = hmm_block_get(&emu.table, addr);
	int err;

	if (!b)
		return -ENOMEM;
	os_read_lock(&emu.mirror);
	err = emu_reserve(d, 1);
	if (!err) {
		os_mutex_lock(&b->lock);
		err = put_copy(b, d, hmm_block_index(addr), bytes, voided);
		os_mutex_unlock(&b->lock);
		if (err)
			emu_unreserve(d, 1);
	}
	os_read_unlock(&emu.mirror);
	return err;
}

/*
 * What lies there is read before any lock is taken, and without asking ourselves: nothing tells
 * when the mapping is replaced by one whose pages come home under these locks.
 */
int emu_copy_read_only(struct emu_device *d, uintptr_t addr)
{
	unsigned int voided = atomic_load(&d->copies_voided); /* before it is read */
	char *bytes = os_alloc(HMM_PAGE_BYTES);
	int err = bytes ? os_peek(bytes, addr, HMM_PAGE_BYTES) : -ENOMEM;

	if (!err)
		err = copy_page(d, addr, bytes, voided);
	os_free(bytes, HMM_PAGE_BYTES);
	if (err != EMU_NO_ROOM && err != EMU_DRAIN && err != -EEXIST)
		return err;
	emu_events_drain();
	emu_device_wake(d, addr, HMM_PAGE_BYTES); /* it faults again */
	return 0;
}

// SPDX-License-Identifier: MIT
/* What a program does to its mappings: fork, unmapping, moving, protecting, advising. */
#include "model/drive.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_WRITE (PROT_READ | PROT_WRITE)

static void note(struct drive *d, unsigned int first, unsigned int n, long detail)
{
	d->now.offset = first * PAGE;
	d->now.length = n * PAGE;
	d->now.detail = detail;
}

static char *at(const struct drive *d, unsigned int page)
{
	return d->m.base + page * PAGE;
}

/* Mapped pages that are alike, at most @most. False: there are none there. */
static bool random_alike(struct drive *d, unsigned int most, unsigned int *first, unsigned int *n)
{
	random_pages(d, most, first, n);
	*n = model_alike(&d->m, *first, *n);
	note(d, *first, *n, 0);
	return *n > 0;
}

static int unmap(struct drive *d)
{
	unsigned int first, n;

	random_pages(d, 12, &first, &n);
	note(d, first, n, 0);
	if (munmap(at(d, first), n * PAGE))
		return wrong(d, first * PAGE, "munmap(): errno %d", errno);
	model_unmap(&d->m, first, n);
	return 0;
}

/* Anonymous memory, or pages of the file, shared or private. */
static int map_something(struct drive *d, unsigned int first, unsigned int n, int how)
{
	unsigned int kind = settings.file ? below(d, 5) : 0, index;
	bool shared = kind > 2;

	if (!kind) {
		if (mmap(at(d, first), n * PAGE, READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | how, -1,
			 0) != at(d, first))
			return -errno;
		model_map(&d->m, first, n, READ_WRITE);
		return 0;
	}
	index = below(d, d->m.file->pages - n);
	if (mmap(at(d, first), n * PAGE, READ_WRITE, (shared ? MAP_SHARED : MAP_PRIVATE) | how,
		 d->file, (off_t)(index * PAGE)) != at(d, first))
		return -errno;
	model_map_file(&d->m, first, n, READ_WRITE, index, shared);
	return 0;
}

/* Fills a hole, or replaces what is there. */
static int map(struct drive *d)
{
	unsigned int first, n;
	bool replace = !below(d, 8);
	int err;

	random_pages(d, 24, &first, &n);
	if (!replace) {
		first += model_run(&d->m, first, d->m.pages, true);
		n = first < d->m.pages ? model_run(&d->m, first, n, false) : 0;
	}
	note(d, first, n, replace);
	if (!n)
		return 0;
	err = map_something(d, first, n, replace ? MAP_FIXED : MAP_FIXED_NOREPLACE);
	return err ? wrong(d, first * PAGE, "mmap(): %d", err) : 0;
}

/* The kernel refuses what is of several mappings; then neither range is left. */
static int move(struct drive *d)
{
	unsigned int first, n, to, ignored;

	if (!random_alike(d, 8, &first, &n))
		return 0;
	random_pages(d, 1, &to, &ignored);
	if (to + n > d->m.pages || (to < first + n && first < to + n))
		return 0;
	d->now.detail = (long)to;
	if (mremap(at(d, first), n * PAGE, n * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at(d, to)) ==
	    at(d, to)) {
		model_move(&d->m, first, to, n);
		d->now.result = 1;
		return 0;
	}
	munmap(at(d, first), n * PAGE);
	munmap(at(d, to), n * PAGE);
	model_unmap(&d->m, first, n);
	model_unmap(&d->m, to, n);
	return 0;
}

/* The pages behind @last are mapped as it is; of a file, those that follow. */
static void model_grow(struct drive *d, unsigned int last, unsigned int n)
{
	const struct model_page *p = &d->m.page[last];

	if (p->file)
		model_map_file(&d->m, last + 1, n, p->prot, p->file, p->shared);
	else
		model_map(&d->m, last + 1, n, p->prot);
	model_lock(&d->m, last + 1, n, p->locked);
	if (p->locked)
		model_may_be(&d->m, last + 1, n, AT_SYSTEM);
}

/* In place, into a hole. */
static int grow(struct drive *d)
{
	unsigned int first, n, last, room;

	random_pages(d, 8, &first, &n);
	first += model_run(&d->m, first, d->m.pages, true);
	room = first < d->m.pages ? model_run(&d->m, first, n, false) : 0;
	if (first && d->m.page[first - 1].file &&
	    room > d->m.file->pages - d->m.page[first - 1].file)
		room = d->m.file->pages - d->m.page[first - 1].file;
	note(d, first, room, 0);
	if (!first || !room)
		return 0;
	last = first - 1;
	if (mremap(at(d, last), PAGE, (room + 1) * PAGE, 0) != at(d, last))
		return errno == EFAULT || errno == ENOMEM || errno == EAGAIN ?
			       0 :
			       wrong(d, first * PAGE, "mremap() to grow: errno %d", errno);
	model_grow(d, last, room);
	d->now.result = 1;
	return 0;
}

static int shrink(struct drive *d)
{
	unsigned int first, n;

	if (!random_alike(d, 8, &first, &n) || n < 2)
		return 0;
	if (mremap(at(d, first), n * PAGE, PAGE, 0) != at(d, first))
		return errno == EFAULT ?
			       0 :
			       wrong(d, first * PAGE, "mremap() to shrink: errno %d", errno);
	model_unmap(&d->m, first + 1, n - 1);
	d->now.result = 1;
	return 0;
}

static int protect(struct drive *d)
{
	static const int prots[] = { PROT_READ,  PROT_NONE,  READ_WRITE,
				     READ_WRITE, READ_WRITE, READ_WRITE };
	int prot = prots[below(d, 6)];
	unsigned int first, n;

	random_pages(d, prot == READ_WRITE ? 64 : 12, &first, &n);
	n = model_run(&d->m, first, n, true);
	note(d, first, n, prot);
	if (n && mprotect(at(d, first), n * PAGE, prot))
		return wrong(d, first * PAGE, "mprotect(%d): errno %d", prot, errno);
	model_protect(&d->m, first, n, prot);
	return 0;
}

/* 0 or -1: the advice is taken, but for locked pages, of which it is refused. */
static int advise(struct drive *d, unsigned int first, unsigned int n, int advice)
{
	int err = madvise(at(d, first), n * PAGE, advice) ? errno : 0;

	d->now.result = -err;
	if (err != (d->m.page[first].locked ? EINVAL : 0))
		return wrong(d, first * PAGE, "madvise(%d): errno %d", advice, err);
	return 0;
}

static int dontneed(struct drive *d)
{
	unsigned int first, n;

	if (!random_alike(d, 16, &first, &n))
		return 0;
	if (advise(d, first, n, MADV_DONTNEED))
		return -1;
	if (!d->m.page[first].locked && !d->m.page[first].shared)
		model_discard(&d->m, first, n);
	return 0;
}

/* Of anonymous memory: the kernel refuses others. */
static int lazy_free(struct drive *d)
{
	unsigned int first, n;

	if (!random_alike(d, 8, &first, &n) || !(d->m.page[first].prot & PROT_READ) ||
	    d->m.page[first].file)
		return 0;
	/* What earlier advice did to pages stored to since is to be known first. */
	for (unsigned int i = first; i < first + n; i++) {
		if (!d->m.page[i].lazy)
			continue;
		model_cpu_touched(&d->m, i * PAGE, PAGE, false);
		memcpy(d->plain, at(d, i), PAGE);
		if (expect_bytes(d, i * PAGE, d->plain, PAGE))
			return -1;
	}
	if (advise(d, first, n, MADV_FREE))
		return -1;
	if (!d->m.page[first].locked)
		model_free(&d->m, first, n);
	return 0;
}

static int pageout(struct drive *d)
{
	unsigned int first, n;

	if (!random_alike(d, 64, &first, &n))
		return 0;
	model_may_be(&d->m, first, n, AT_NOWHERE | AT_SYSTEM);
	return advise(d, first, n, MADV_PAGEOUT);
}

static int lock(struct drive *d)
{
	unsigned int first, n;
	bool set = below(d, 2);

	if (!random_alike(d, 8, &first, &n) || !d->kernel_faults)
		return 0;
	if (!(d->m.page[first].prot & PROT_READ) || d->m.page[first].file)
		return 0;
	d->now.detail = set;
	/* The C library's call does nothing where a sanitizer takes its place. */
	if (syscall(set ? SYS_mlock : SYS_munlock, at(d, first), n * PAGE))
		return errno == EPERM || errno == ENOMEM ?
			       0 :
			       wrong(d, first * PAGE, "mlock(): errno %d", errno);
	if (set)
		model_cpu_touched(&d->m, first * PAGE, n * PAGE, false);
	model_lock(&d->m, first, n, set);
	return 0;
}

/* Is every @step-th page from @first right? Leaves in shared memory what is not. */
static bool child_sees(struct drive *d, unsigned int first, unsigned int step)
{
	struct model *m = &d->m;

	for (unsigned int i = first; i < m->pages; i += step) {
		long bad = -1;

		if (model_accessible(m, i * PAGE, PAGE, PROT_READ))
			bad = model_compare(m, i * PAGE, at(d, i), PAGE, false);
		if (bad >= 0) {
			memcpy(d->plain, &bad, sizeof(bad));
			return false;
		}
	}
	return true;
}

/* The child's part: all bytes are there; what it stores to private pages is its own. */
static int child(struct drive *d)
{
	struct model *m = &d->m;

	if (!child_sees(d, 0, 1))
		return 1;
	for (unsigned int i = (unsigned int)(d->now.number % 3); i < m->pages; i += 3)
		if (!m->page[i].shared && model_accessible(m, i * PAGE, PAGE, PROT_WRITE))
			memset(at(d, i), 0xcc, PAGE);
	if (!child_sees(d, (unsigned int)((d->now.number + 1) % 3), 3))
		return 2;
	return hmm_device_count(d->h) == -EPERM ? 0 : 3;
}

static int fork_child(struct drive *d)
{
	long bad = 0;
	pid_t pid;
	int status;

	finish_pending(d);
	memset(d->plain, 0, sizeof(bad));
	pid = fork();
	if (!pid) {
		alarm((unsigned int)patient(60));
		_exit(child(d));
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return wrong(d, 0, "fork: errno %d", errno);
	for (unsigned int i = 0; i < d->m.pages; i++) {
		uint32_t where = model_where(&d->m, i);

		if (d->m.page[i].shared)
			model_may_be(&d->m, i, 1, AT_SYSTEM);
		else if (where & AT_ANY_DEVICE)
			model_only(&d->m, i, 1, (where & AT_NOWHERE) | AT_SYSTEM);
	}
	memcpy(&bad, d->plain, sizeof(bad));
	if (status)
		return wrong(d, (size_t)bad, "the child ended with status %#x",
			     (unsigned int)status);
	return 0;
}

const struct op map_ops[] = {
	{ "fork", 1, fork_child },   { "munmap", 12, unmap },      { "mmap", 40, map },
	{ "mremap-move", 16, move }, { "mremap-grow", 10, grow },  { "mremap-shrink", 4, shrink },
	{ "mprotect", 30, protect }, { "dontneed", 20, dontneed }, { "free", 12, lazy_free },
	{ "pageout", 8, pageout },   { "mlock", 12, lock },        { 0 },
};

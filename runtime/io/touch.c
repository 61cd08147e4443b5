// SPDX-License-Identifier: MIT
/*
 * Touching memory that may not be there. No function of libc that is interposed
 * here, and no heap: these run below read() and write() of the whole program.
 */
#include "io/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE ((uintptr_t)4096)

struct map_line {
	uintptr_t start, end;
	bool read, write, file;
};

struct map_reader {
	int fd;
	size_t have, at;
	char text[1024];
};

/* The loads and stores that raise the fault in user mode, where it is served. */
static void touch_page(uintptr_t page, enum io_use use)
{
	if (use == IO_KERNEL_WRITES)
		__atomic_fetch_or((volatile unsigned char *)page, 0, __ATOMIC_SEQ_CST);
	else
		(void)*(volatile unsigned char *)page;
}

static void touch_pages(uintptr_t from, uintptr_t to, enum io_use use)
{
	touch_page(from, use);
	for (uintptr_t p = (from | (PAGE - 1)) + 1; p && p < to; p += PAGE)
		touch_page(p, use);
}

/* The reader's own buffer lies on a stack that may be away, too. */
static bool refill(struct map_reader *r)
{
	for (int i = 0; i < IO_TRIES; i++) {
		touch_pages((uintptr_t)r->text, (uintptr_t)r->text + sizeof(r->text),
			    IO_KERNEL_WRITES);
		long n = syscall(SYS_read, r->fd, r->text, sizeof(r->text));
		if (n > 0) {
			r->have = n;
			r->at = 0;
			return true;
		}
		if (!n || (errno != EFAULT && errno != EINTR))
			return false;
	}
	return false;
}

static int next_char(struct map_reader *r)
{
	if (r->at == r->have && !refill(r))
		return -1;
	return (unsigned char)r->text[r->at++];
}

static int hex(struct map_reader *r, uintptr_t *value)
{
	int c;

	*value = 0;
	while ((c = next_char(r)) >= 0) {
		if (c >= '0' && c <= '9')
			*value = *value << 4 | (uintptr_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			*value = *value << 4 | (uintptr_t)(c - 'a' + 10);
		else
			break;
	}
	return c;
}

/* "start-end rwxp offset major:minor inode path" */
static bool next_line(struct map_reader *r, struct map_line *l)
{
	uintptr_t skip;
	int c;

	if (hex(r, &l->start) != '-' || hex(r, &l->end) != ' ')
		return false;
	l->read = next_char(r) == 'r';
	l->write = next_char(r) == 'w';
	for (int i = 0; i < 3; i++)
		next_char(r);
	hex(r, &skip);
	hex(r, &skip);
	hex(r, &skip);
	c = hex(r, &skip);
	l->file = skip != 0;
	while (c >= 0 && c != '\n')
		c = next_char(r);
	return true;
}

static void touch_part(const struct map_line *l, uintptr_t from, uintptr_t to, enum io_use use)
{
	/* A file's pages the kernel brings itself, and past its end a touch is SIGBUS. */
	if (!l->file)
		touch_pages(from, l->end < to ? l->end : to, use);
}

/* Do mappings that allow @use cover [from, to)? @touch: and touch them on the way. */
static bool walk(uintptr_t from, uintptr_t to, enum io_use use, bool touch)
{
	struct map_reader r = { .have = 0 };
	struct map_line l;

	r.fd = syscall(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (r.fd < 0)
		return false;
	while (from < to && next_line(&r, &l)) {
		if (l.end <= from)
			continue;
		if (l.start > from || !(use == IO_KERNEL_WRITES ? l.write : l.read))
			break;
		if (touch)
			touch_part(&l, from, to, use);
		from = l.end;
	}
	syscall(SYS_close, r.fd);
	return from >= to;
}

bool io_touch(const void *p, size_t n, enum io_use use)
{
	uintptr_t from = (uintptr_t)p;

	if (!n)
		return true;
	if (from + n < from || !walk(from, from + n, use, false) ||
	    !walk(from, from + n, use, true))
		return false;
	io_want();
	return true;
}

bool io_touch_string(const char *s)
{
	uintptr_t at = (uintptr_t)s;

	for (size_t seen = 0; seen < PATH_MAX;) {
		size_t n = PAGE - at % PAGE;

		if (!io_touch((const void *)at, n, IO_KERNEL_READS))
			return false;
		if (io_absent((const void *)at, n) || memchr((const void *)at, 0, n))
			return true;
		at += n;
		seen += n;
	}
	return true;
}

bool io_touch_vector(const struct iovec *iov, int count, enum io_use use)
{
	struct iovec v;

	if (count < 0 || count > IOV_MAX)
		return false;
	for (int i = 0; i < count; i++)
		if (!io_copy_in(&v, &iov[i], sizeof(v)) || !io_touch(v.iov_base, v.iov_len, use))
			return false;
	return true;
}

bool io_absent(const void *p, size_t n)
{
	uintptr_t from = (uintptr_t)p & ~(PAGE - 1), to = (uintptr_t)p + n;
	unsigned char in[64];

	while (from < to) {
		size_t pages = (to - from + PAGE - 1) / PAGE;

		if (pages > sizeof(in))
			pages = sizeof(in);
		touch_pages((uintptr_t)in, (uintptr_t)(in + sizeof(in)), IO_KERNEL_WRITES);
		if (syscall(SYS_mincore, from, pages * PAGE, in))
			return false;
		for (size_t i = 0; i < pages; i++)
			if (!(in[i] & 1))
				return true;
		from += pages * PAGE;
	}
	return false;
}

void io_prepare(uintptr_t p, size_t n, enum io_use use)
{
	if (!io_wanted())
		return;
	if (n > IO_EAGER_MAX)
		n = IO_EAGER_MAX;
	if (p && n && p + n > p && io_absent((const void *)p, n)) {
		int saved = errno;

		io_touch((const void *)p, n, use);
		errno = saved;
	}
}

/* The kernel checks the pointer at the price of one call; maps are the slow way. */
bool io_copy_in(void *to, const void *from, size_t n)
{
	struct iovec local = { to, n }, remote = { (void *)(uintptr_t)from, n };
	int saved = errno;
	bool ok = syscall(SYS_process_vm_readv, (long)getpid(), &local, 1, &remote, 1, 0) ==
		  (long)n;

	if (!ok && io_touch(from, n, IO_KERNEL_READS)) {
		memcpy(to, from, n);
		ok = true;
	}
	errno = saved;
	return ok;
}

bool io_short_by_fault(int fd, off64_t at, const void *rest, size_t n, enum io_use use)
{
	struct stat st;
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (!io_wanted())
		return false;
	if (!io_real()->fstat(fd, &st) && S_ISREG(st.st_mode)) {
		if (at < 0)
			at = lseek64(fd, 0, SEEK_CUR);
		return use == IO_KERNEL_READS || at < st.st_size;
	}
	if (!io_absent(rest, n < IO_EAGER_MAX ? n : IO_EAGER_MAX))
		return false;
	/* An ordinary short read must not become one that waits. */
	return use == IO_KERNEL_READS || (poll(&p, 1, 0) == 1 && p.revents & POLLIN);
}

int io_skip(struct iovec *to, const struct iovec *iov, int count, size_t skip)
{
	int n = 0;

	for (int i = 0; i < count; i++) {
		size_t cut = skip < iov[i].iov_len ? skip : iov[i].iov_len;

		skip -= cut;
		if (cut == iov[i].iov_len)
			continue;
		to[n].iov_base = (char *)iov[i].iov_base + cut;
		to[n++].iov_len = iov[i].iov_len - cut;
	}
	return n;
}

size_t io_vector_bytes(const struct iovec *iov, int count)
{
	size_t n = 0;

	for (int i = 0; i < count; i++)
		n += iov[i].iov_len;
	return n;
}

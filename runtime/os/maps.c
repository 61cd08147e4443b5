// SPDX-License-Identifier: MIT
/*
 * PROCMAP_QUERY (Linux 6.11) answers in a microsecond; older kernels have only the
 * text of /proc/self/maps, which is parsed here into the runtime's own memory.
 */
#include "os/maps.h"
#include "os/arena.h"
#include "os/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <stdatomic.h>
#include <sys/mman.h>

/* linux/fs.h of 6.11; the build may have older headers. */
struct procmap_query {
	uint64_t size, query_flags, query_addr;
	uint64_t vma_start, vma_end, vma_flags, vma_page_size, vma_offset;
	uint64_t inode;
	uint32_t dev_major, dev_minor;
	uint32_t vma_name_size, build_id_size;
	uint64_t vma_name_addr, build_id_addr;
};
#define OS_PROCMAP_QUERY _IOWR('f', 17, struct procmap_query)
#define QUERY_COVERING_OR_NEXT 0x10
#define VMA_READ 1
#define VMA_WRITE 2
#define VMA_EXEC 4
#define VMA_SHARED 8

static int maps_fd = -1;
static int pagemap_fd = -1;
static int mem_fd = -1;
static atomic_bool no_query;

int os_maps_init(void)
{
	maps_fd = (int)os_syscall4(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC,
				   0);
	if (maps_fd < 0)
		return maps_fd;
	pagemap_fd = (int)os_syscall4(SYS_openat, AT_FDCWD, "/proc/self/pagemap",
				      O_RDONLY | O_CLOEXEC, 0);
	mem_fd = (int)os_syscall4(SYS_openat, AT_FDCWD, "/proc/self/mem", O_RDONLY | O_CLOEXEC, 0);
	if (pagemap_fd < 0 || mem_fd < 0) {
		int err = pagemap_fd < 0 ? pagemap_fd : mem_fd;

		os_maps_exit();
		return err;
	}
	return 0;
}

void os_maps_exit(void)
{
	if (maps_fd >= 0)
		os_close(maps_fd);
	if (pagemap_fd >= 0)
		os_close(pagemap_fd);
	if (mem_fd >= 0)
		os_close(mem_fd);
	maps_fd = pagemap_fd = mem_fd = -1;
}

static bool starts_with(const char *s, const char *prefix)
{
	while (*prefix)
		if (*s++ != *prefix++)
			return false;
	return true;
}

static void classify(struct os_vma *v, bool shared, bool huge)
{
	if (huge || starts_with(v->path, "/anon_hugepage") || starts_with(v->path, "[v"))
		v->kind = OS_VMA_SPECIAL;
	else if (shared)
		v->kind = OS_VMA_SHARED;
	else
		v->kind = v->inode ? OS_VMA_FILE_PRIVATE : OS_VMA_ANON;
}

static int find_by_query(uintptr_t addr, struct os_vma *v)
{
	struct procmap_query q = {
		.size = sizeof(q),
		.query_flags = QUERY_COVERING_OR_NEXT,
		.query_addr = addr,
		.vma_name_size = sizeof(v->path),
		.vma_name_addr = (uintptr_t)v->path,
	};
	int err;

	v->path[0] = 0;
	err = os_ioctl(maps_fd, OS_PROCMAP_QUERY, &q);
	if (err == -ENAMETOOLONG) {
		q.vma_name_size = 0;
		q.vma_name_addr = 0;
		v->path[0] = 0;
		err = os_ioctl(maps_fd, OS_PROCMAP_QUERY, &q);
	}
	if (err)
		return err;
	if (!q.vma_name_size)
		v->path[0] = 0;
	v->start = q.vma_start;
	v->end = q.vma_end;
	v->read = q.vma_flags & VMA_READ;
	v->write = q.vma_flags & VMA_WRITE;
	v->exec = q.vma_flags & VMA_EXEC;
	v->offset = q.vma_offset;
	v->inode = q.inode;
	v->major = q.dev_major;
	v->minor = q.dev_minor;
	classify(v, q.vma_flags & VMA_SHARED, q.vma_page_size > 4096 * 16);
	return 0;
}

static uint64_t number(const char **p, unsigned int base)
{
	uint64_t n = 0;

	for (;; (*p)++) {
		char c = **p;
		unsigned int d = c >= '0' && c <= '9' ? (unsigned int)(c - '0') :
				 c >= 'a' && c <= 'f' ? (unsigned int)(c - 'a') + 10 :
							99;

		if (d >= base)
			return n;
		n = n * base + d;
	}
}

/* "start-end rwxp offset major:minor inode   path" */
static void parse_line(const char *p, struct os_vma *v)
{
	unsigned int i;
	bool shared;

	v->start = number(&p, 16);
	p++;
	v->end = number(&p, 16);
	p++;
	v->read = p[0] == 'r';
	v->write = p[1] == 'w';
	v->exec = p[2] == 'x';
	shared = p[3] == 's';
	p += 5;
	v->offset = number(&p, 16);
	p++;
	v->major = (uint32_t)number(&p, 16);
	p++;
	v->minor = (uint32_t)number(&p, 16);
	p++;
	v->inode = number(&p, 10);
	while (*p == ' ')
		p++;
	for (i = 0; *p && i < sizeof(v->path) - 1; i++)
		v->path[i] = *p++;
	v->path[i] = 0;
	classify(v, shared, false);
}

#define TEXT_BYTES (64u << 10)

static int find_in_text(uintptr_t addr, struct os_vma *v)
{
	char *text = os_alloc(TEXT_BYTES);
	size_t used = 0;
	int err = -ENOENT;
	int fd;

	if (!text)
		return -ENOMEM;
	fd = (int)os_syscall4(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0) {
		os_free(text, TEXT_BYTES);
		return fd;
	}
	for (;;) {
		long got = os_read(fd, text + used, TEXT_BYTES - 1 - used);
		char *line = text;

		if (got <= 0)
			break;
		used += (size_t)got;
		for (char *p = text; p < text + used; p++) {
			if (*p != '\n')
				continue;
			*p = 0;
			parse_line(line, v);
			line = p + 1;
			if (v->end > addr) {
				err = 0;
				goto out;
			}
		}
		used -= (size_t)(line - text);
		os_copy(text, line, used); /* forward copy: line > text */
	}
out:
	os_close(fd);
	os_free(text, TEXT_BYTES);
	return err;
}

int os_vma_find(uintptr_t addr, struct os_vma *v)
{
	if (!atomic_load_explicit(&no_query, memory_order_relaxed)) {
		int err = find_by_query(addr, v);

		if (err != -ENOTTY && err != -EINVAL)
			return err;
		atomic_store(&no_query, true);
	}
	return find_in_text(addr, v);
}

int os_pagemap(uintptr_t start, size_t n, uint64_t *entries)
{
	long got = os_syscall4(SYS_pread64, pagemap_fd, entries, n * 8, start / 4096 * 8);

	if (got < 0)
		return (int)got;
	return got == (long)(n * 8) ? 0 : -EFAULT;
}

int os_peek(void *to, uintptr_t from, size_t n)
{
	long got = os_syscall4(SYS_pread64, mem_fd, to, n, from);

	return got == (long)n ? 0 : -EFAULT;
}

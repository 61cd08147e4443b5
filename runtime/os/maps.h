/* SPDX-License-Identifier: MIT */
/* What the kernel says about this process's mappings, read without libc. */
#ifndef HMM_OS_MAPS_H
#define HMM_OS_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum os_vma_kind {
	OS_VMA_NONE = 0,     /* nothing is mapped there */
	OS_VMA_ANON,         /* private anonymous: migrates */
	OS_VMA_FILE_PRIVATE, /* private file mapping */
	OS_VMA_SHARED,       /* shared, of a file or shmem */
	OS_VMA_SPECIAL,      /* hugetlb, vdso and the like: never migrates */
};

struct os_vma {
	uintptr_t start, end;
	enum os_vma_kind kind;
	bool read, write, exec;
	uint64_t offset;
	uint64_t inode;
	uint32_t major, minor;
	char path[256]; /* truncated; empty for anonymous */
};

/*
 * The mapping that contains @addr, else the next one above it (kind is then that
 * mapping's, and start > @addr). -ENOENT when there is none above, or -errno.
 */
int os_vma_find(uintptr_t addr, struct os_vma *vma);

/* One pagemap entry a page of [start, start + n pages); 0 or -errno. */
int os_pagemap(uintptr_t start, size_t n, uint64_t *entries);

/*
 * Copies @n bytes of this process's memory. -EFAULT where nothing is mapped, and where a
 * userfaultfd would be asked: it waits for nobody. 0 or -errno.
 */
int os_peek(void *to, uintptr_t from, size_t n);

#define OS_PAGEMAP_PRESENT (1ull << 63)
#define OS_PAGEMAP_SWAP (1ull << 62)
#define OS_PAGEMAP_WP (1ull << 57) /* by userfaultfd */

int os_maps_init(void);
void os_maps_exit(void);

#endif /* HMM_OS_MAPS_H */

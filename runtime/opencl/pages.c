// SPDX-License-Identifier: MIT
/*
 * Memory of buffers and of clSVMAlloc: whole pages of their own, so that no two objects
 * travel together; huge ones where that pays.
 */
#include "opencl/ocl.h"

#include <sys/mman.h>

#define PAGE 4096ul
#define HUGE (2ul << 20)

void *ocl_pages_get(size_t bytes, size_t align, size_t *mapped)
{
	size_t length = (bytes + PAGE - 1) & ~(PAGE - 1);
	size_t slack;
	char *p, *at;

	if (bytes >= HUGE && align < HUGE)
		align = HUGE;
	slack = align > PAGE ? align : 0;
	if (length < bytes || length + slack < length)
		return NULL;
	p = mmap(NULL, length + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	at = slack ? (char *)(((uintptr_t)p + align - 1) & ~(align - 1)) : p;
	if (at > p)
		munmap(p, (size_t)(at - p));
	if (at + length < p + length + slack)
		munmap(at + length, (size_t)(p + slack - at));
	if (length >= HUGE)
		madvise(at, length, MADV_HUGEPAGE);
	*mapped = length;
	return at;
}

void ocl_pages_put(void *p, size_t mapped)
{
	munmap(p, mapped);
}

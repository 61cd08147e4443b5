// SPDX-License-Identifier: MIT
/*
 * Pages that the kernel itself reads and writes whenever a thread is scheduled or ends:
 * the C library's thread descriptor, with the thread's rseq(2) area and the word that
 * pthread_join() waits for. Where the kernel gives no faults of its own, such a page
 * must stay: the kernel would kill the thread, or the join would never return.
 *
 * Nobody lists the descriptors, but on x86-64 each holds its own address twice (the
 * ABI asks for the first, "ELF Handling For Thread-Local Storage"), and it lies where
 * a cache line begins.
 */
#include "emulated/emu.h"
#include "os/arena.h"
#include "os/sys.h"

#include <errno.h>
#include <stddef.h>
#include <sys/uio.h>

#define LINE 64u
#define DESCRIPTOR 1024 /* glibc's thread id and robust list lie in its first 800 bytes */
#define RSEQ 32         /* what the kernel knows of it today; a descriptor may end right after */
#define CHUNK_PAGES 16u

extern const ptrdiff_t __rseq_offset __attribute__((weak)); /* glibc 2.35 */

static ptrdiff_t rseq_offset; /* read once: the fault path stays away from libc's data */

void emu_kernel_used_init(void)
{
	rseq_offset = &__rseq_offset ? __rseq_offset : 0;
}

static bool is_descriptor(const char *bytes, uintptr_t addr)
{
	const uint64_t *word = (const uint64_t *)(const void *)bytes;

	return word[0] == addr && word[2] == addr;
}

static void keep(struct hmm_block *b, uintptr_t from, uintptr_t to)
{
	for (uintptr_t at = from & ~(HMM_PAGE_BYTES - 1); at < to; at += HMM_PAGE_BYTES)
		if (at >= b->start && at < b->start + HMM_BLOCK_BYTES)
			hmm_bits_set(&b->kernel_used, hmm_block_index(at));
}

static void look(struct hmm_block *b, const char *copy, uintptr_t addr, size_t len)
{
	for (size_t at = 0; at + LINE <= len; at += LINE) {
		uintptr_t tcb = addr + at, rseq = tcb + (uintptr_t)rseq_offset;

		if (!is_descriptor(copy + at, tcb))
			continue;
		keep(b, tcb, tcb + DESCRIPTOR);
		keep(b, rseq, rseq + RSEQ);
	}
}

struct scan {
	uint64_t map[HMM_BLOCK_PAGES + 2];
	char copy[CHUNK_PAGES * HMM_PAGE_BYTES];
};

/* By system call: what vanishes meanwhile is an error, not a fault of ours. */
static void look_at(struct scan *s, struct hmm_block *b, uintptr_t addr, unsigned int pages)
{
	struct iovec to = { s->copy, pages * HMM_PAGE_BYTES };
	struct iovec from = { (void *)addr, pages * HMM_PAGE_BYTES };
	long got = os_syscall6(SYS_process_vm_readv, os_getpid(), (long)&to, 1, (long)&from, 1, 0);

	if (got > 0)
		look(b, s->copy, addr, (size_t)got);
}

/*
 * Notes such pages among [i, end) in b->kernel_used. A page that is not there cannot be
 * one of a thread that lives.
 */
int emu_find_kernel_used(struct hmm_block *b, unsigned int i, unsigned int end)
{
	uintptr_t at = hmm_block_addr(b, i) - HMM_PAGE_BYTES; /* one may reach into the first */
	unsigned int pages = end - i + 2, n;
	struct scan *s;

	if (!emu.user_only)
		return 0;
	s = os_alloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	hmm_bits_clear_range(&b->kernel_used, i, end);
	if (os_pagemap(at, pages, s->map))
		pages = 0;
	for (unsigned int p = 0; p < pages; p += n) {
		for (n = 0; n < CHUNK_PAGES && p + n < pages; n++)
			if (!(s->map[p + n] & OS_PAGEMAP_PRESENT))
				break;
		if (n)
			look_at(s, b, at + p * HMM_PAGE_BYTES, n);
		else
			n = 1;
	}
	os_free(s, sizeof(*s));
	return 0;
}

// SPDX-License-Identifier: MIT
/* Where the pages of a range are. */
#include "emulated/file.h"
#include "os/arena.h"
#include "os/enter.h"
#include "os/sys.h"

#include <errno.h>

static void query_page(uintptr_t addr, uint64_t map, const struct os_vma *v,
		       struct hmm_page_status *s)
{
	struct hmm_block *b = hmm_block_find(&emu.table, addr);
	unsigned int i = hmm_block_index(addr);

	if (v->kind == OS_VMA_SHARED && emu_file_query(addr, s))
		return;
	*s = (struct hmm_page_status){ .location = HMM_NOT_POPULATED, .node = -1 };
	if (v->kind == OS_VMA_SHARED)
		s->flags |= HMM_PAGE_SHARED;
	for (unsigned int d = 0; d < emu.devices; d++)
		if (emu_remote_contains(&emu.device[d], addr))
			s->flags |= HMM_PAGE_REMOTE;
	if (b && emu_is_shared(b, i, i + 1))
		s->flags |= HMM_PAGE_COPIED;
	if (b && b->owner[i]) {
		s->location = b->owner[i] - 1;
		return;
	}
	if (map & (OS_PAGEMAP_PRESENT | OS_PAGEMAP_SWAP))
		s->location = HMM_SYSTEM;
	if (b && (hmm_bits_test(&b->pinned, i) || hmm_bits_test(&b->kernel_used, i)))
		s->flags |= HMM_PAGE_PINNED;
}

struct query_args {
	uintptr_t start;
	unsigned int pages;          /* of one block */
	struct hmm_page_status *out; /* of the runtime */
};

/* Locking: mirror shared, the block's lock if there is one. */
static int query_pages(struct query_args *q, uint64_t *map)
{
	struct os_vma v = { 0 };
	int err = os_pagemap(q->start, q->pages, map);

	for (unsigned int p = 0; !err && p < q->pages; p++) {
		uintptr_t addr = q->start + p * HMM_PAGE_BYTES;

		if (addr >= v.end && os_vma_find(addr, &v))
			err = -EFAULT;
		else if (v.start > addr)
			err = -EFAULT;
		else
			query_page(addr, map[p], &v, &q->out[p]);
	}
	return err;
}

/*
 * What the calling thread did before is to be seen: its discard may have been read of and
 * not been acted upon, its fault have been served by the move but not been written down.
 */
static long query_on_stack(void *arg)
{
	struct query_args *q = arg;
	uint64_t *map = os_alloc(q->pages * sizeof(*map));
	struct hmm_block *b;
	int err;

	if (!map)
		return -ENOMEM;
	os_read_lock(&emu.mirror);
	b = hmm_block_find(&emu.table, q->start);
	if (b)
		os_mutex_lock(&b->lock);
	err = query_pages(q, map);
	if (b)
		os_mutex_unlock(&b->lock);
	os_read_unlock(&emu.mirror);
	os_free(map, q->pages * sizeof(*map));
	return err;
}

struct check_args {
	uintptr_t start, end;
};

static long check_on_stack(void *arg)
{
	const struct check_args *a = arg;

	return emu_check_mapped(a->start, a->end);
}

int emu_query(uintptr_t start, uintptr_t end, struct hmm_page_status *status)
{
	const size_t bytes = HMM_BLOCK_PAGES * sizeof(*status);
	struct hmm_page_status *out = os_alloc(bytes);
	long err = out ? 0 : -ENOMEM;

	if (!err) {
		struct check_args a = { start, end };

		err = os_enter(check_on_stack, &a, sizeof(a));
	}
	while (!err && start < end) {
		size_t n = (end - start) >> HMM_PAGE_SHIFT;
		struct query_args q = { start, HMM_BLOCK_PAGES - hmm_block_index(start), out };

		if (n < q.pages)
			q.pages = (unsigned int)n;
		err = os_enter(query_on_stack, &q, sizeof(q));
		for (size_t p = 0; !err && p < q.pages; p++)
			*status++ = out[p];
		start += q.pages * HMM_PAGE_BYTES;
	}
	os_free(out, bytes);
	return (int)err;
}

// SPDX-License-Identifier: MIT
/*
 * The runtime's windows on 64 MiB of address space: device memory as the CPU can
 * address it (alias), and system frames in transit (staging). Slots stand at the
 * offset of the address that they serve, congruent modulo 2 MiB, so that whole huge
 * pages can move. Staging is registered with the descriptor of the client's memory: while an
 * event of that is pending the kernel refuses to move anything there.
 */
#include "emulated/emu.h"
#include "os/sys.h"

#include <errno.h>
#include <sys/mman.h>

#define LEFTOVERS 16 /* of a block: to let go of one costs as much as of some */

/* A mapping of a span's size at 2 MiB alignment, by trimming a larger one. */
static uintptr_t map_aligned(int prot, int flags, int fd, uint64_t offset)
{
	uintptr_t p = os_mmap(0, HMM_SPAN_BYTES + HMM_BLOCK_BYTES, PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uintptr_t start, got;

	if (os_is_error(p))
		return p;
	start = (p + HMM_BLOCK_BYTES - 1) & ~(HMM_BLOCK_BYTES - 1);
	if (start > p)
		os_munmap((void *)p, start - p);
	if (p + HMM_BLOCK_BYTES > start)
		os_munmap((void *)(start + HMM_SPAN_BYTES), p + HMM_BLOCK_BYTES - start);
	got = os_mmap(start, HMM_SPAN_BYTES, prot, flags | MAP_FIXED | MAP_NORESERVE, fd, offset);
	if (os_is_error(got))
		os_munmap((void *)start, HMM_SPAN_BYTES);
	else
		os_madvise(got, HMM_SPAN_BYTES, MADV_DONTFORK);
	return got;
}

static char *window_get(char **slot, int prot, int flags, int fd, uint64_t offset)
{
	char *w = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
	uintptr_t p;

	if (w)
		return w;
	os_mutex_lock(&emu.windows_lock);
	w = *slot;
	if (!w) {
		p = map_aligned(prot, flags, fd, offset);
		if (!os_is_error(p) && fd < 0 &&
		    uffd_register(emu.client, p, HMM_SPAN_BYTES, UFFDIO_REGISTER_MODE_WP)) {
			os_munmap((void *)p, HMM_SPAN_BYTES);
			p = (uintptr_t)-ENOMEM;
		}
		if (!os_is_error(p)) {
			w = (char *)p;
			__atomic_store_n(slot, w, __ATOMIC_RELEASE);
		}
	}
	os_mutex_unlock(&emu.windows_lock);
	return w;
}

static size_t offset_in_span(struct hmm_block *b, unsigned int i)
{
	return hmm_block_addr(b, i) - b->span->start;
}

char *emu_alias(struct hmm_block *b, unsigned int dev, unsigned int i)
{
	char *w = window_get(&b->span->alias[dev], PROT_READ | PROT_WRITE, MAP_SHARED,
			     emu.device[dev].memory_fd, b->span->start);

	return w ? w + offset_in_span(b, i) : NULL;
}

char *emu_staging(struct hmm_block *b, unsigned int i)
{
	char *w = window_get(&b->span->staging, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			     -1, 0);

	return w ? w + offset_in_span(b, i) : NULL;
}

void emu_drop_staged(struct hmm_block *b, unsigned int i, unsigned int end)
{
	size_t len = (end - i) * HMM_PAGE_BYTES;
	uintptr_t start;

	if (!b->span->staging || hmm_bits_find(&b->staged, i, end, true) == end)
		return;
	start = (uintptr_t)emu_staging(b, i);
	/* Not as long as it is registered: the kernel would tell us of it, and wait for us. */
	uffd_unregister(emu.client, start, len);
	os_madvise(start, len, MADV_DONTNEED);
	while (uffd_register(emu.client, start, len, UFFDIO_REGISTER_MODE_WP) == -ENOMEM)
		os_sleep_ns(1000000);
	hmm_bits_clear_range(&b->staged, i, end);
}

static bool is_kept(const struct hmm_block *b, unsigned int i)
{
	return b->owner[i] && hmm_bits_test(&b->staged, i);
}

/* All but the frames that wait for a page of a device. Locking: as emu_drop_staged(). */
static void drop_between(struct hmm_block *b, unsigned int i, unsigned int end)
{
	for (; i < end; i++) {
		unsigned int stop = i;

		while (stop < end && !is_kept(b, stop))
			stop++;
		if (hmm_bits_find(&b->staged, i, stop, true) < stop) {
			os_madvise((uintptr_t)emu_staging(b, i), (stop - i) * HMM_PAGE_BYTES,
				   MADV_DONTNEED);
			hmm_bits_clear_range(&b->staged, i, stop);
		}
		i = stop;
	}
}

void emu_drop_leftovers(struct hmm_block *b)
{
	unsigned int i = 0, end = HMM_BLOCK_PAGES;
	uintptr_t start;
	size_t len;

	if (!b->leftovers || (b->leftovers < LEFTOVERS && hmm_block_resident(b)))
		return;
	b->leftovers = 0;
	while (i < end && (b->owner[i] || !hmm_bits_test(&b->staged, i)))
		i++;
	while (i < end && (b->owner[end - 1] || !hmm_bits_test(&b->staged, end - 1)))
		end--;
	if (i == end)
		return;
	start = (uintptr_t)emu_staging(b, i);
	len = (end - i) * HMM_PAGE_BYTES;
	if (uffd_unregister(emu.client, start, len))
		return;
	drop_between(b, i, end);
	while (uffd_register(emu.client, start, len, UFFDIO_REGISTER_MODE_WP) == -ENOMEM)
		os_sleep_ns(1000000);
}

void emu_windows_unmap_device(unsigned int dev)
{
	for (struct hmm_span *s = emu.table.spans; s; s = s->next) {
		if (s->alias[dev])
			os_munmap(s->alias[dev], HMM_SPAN_BYTES);
		s->alias[dev] = NULL;
	}
}

void emu_windows_unmap(void)
{
	for (unsigned int d = 0; d < HMM_MAX_DEVICES; d++)
		emu_windows_unmap_device(d);
	for (struct hmm_span *s = emu.table.spans; s; s = s->next) {
		if (s->staging) {
			uffd_unregister(emu.client, (uintptr_t)s->staging, HMM_SPAN_BYTES);
			os_munmap(s->staging, HMM_SPAN_BYTES);
		}
		s->staging = NULL;
	}
}

static bool overlaps(char *const *window, uintptr_t start, uintptr_t end)
{
	uintptr_t w = (uintptr_t)__atomic_load_n(window, __ATOMIC_RELAXED);

	return w && start < w + HMM_SPAN_BYTES && end > w;
}

bool emu_windows_contain(uintptr_t start, uintptr_t end)
{
	if (emu_take_contains(start, end))
		return true;
	for (struct hmm_span *s = __atomic_load_n(&emu.table.spans, __ATOMIC_ACQUIRE); s;
	     s = s->next) {
		if (overlaps(&s->staging, start, end))
			return true;
		for (unsigned int d = 0; d < HMM_MAX_DEVICES; d++)
			if (overlaps(&s->alias[d], start, end))
				return true;
	}
	return false;
}

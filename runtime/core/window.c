// SPDX-License-Identifier: MIT
#include "core/window.h"
#include "core/block.h"

static unsigned int clip(uintptr_t addr, unsigned int pages)
{
	unsigned int left = HMM_BLOCK_PAGES - hmm_block_index(addr);

	if (pages > HMM_WINDOW_MAX)
		pages = HMM_WINDOW_MAX;
	return pages < left ? pages : left;
}

unsigned int hmm_window_pages(struct hmm_window *w, uintptr_t addr, unsigned int first)
{
	unsigned int i, pages = first;

	addr &= ~(HMM_PAGE_BYTES - 1);
	for (i = 0; i < HMM_WINDOW_STREAMS; i++) {
		if (addr >= w->stream[i].next &&
		    addr - w->stream[i].next < w->stream[i].pages * HMM_PAGE_BYTES)
			break; /* what lies between came for another thread */
		if (addr < w->stream[i].next &&
		    w->stream[i].next - addr <= w->stream[i].ahead * HMM_PAGE_BYTES)
			return clip(addr, w->stream[i].pages);
	}
	if (i < HMM_WINDOW_STREAMS) {
		pages = w->stream[i].pages * 2;
	} else {
		i = w->hand++ % HMM_WINDOW_STREAMS;
	}
	if (pages > HMM_WINDOW_MAX)
		pages = HMM_WINDOW_MAX;
	w->stream[i].pages = pages;
	pages = clip(addr, pages);
	w->stream[i].next = addr + pages * HMM_PAGE_BYTES;
	w->stream[i].ahead = 0;
	return pages;
}

bool hmm_window_ahead(struct hmm_window *w, uintptr_t addr, unsigned int pages)
{
	for (unsigned int i = 0; i < HMM_WINDOW_STREAMS; i++) {
		if (w->stream[i].next != addr || !w->stream[i].pages)
			continue;
		w->stream[i].next = addr + pages * HMM_PAGE_BYTES;
		w->stream[i].ahead = pages;
		return true;
	}
	return false;
}

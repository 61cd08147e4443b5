// SPDX-License-Identifier: MIT
/* Bringing everything of one device home: mapping by mapping, its runs of pages. */
#include "drm/hdrm.h"
#include "core/block.h"
#include "os/arena.h"
#include "os/maps.h"

#include <errno.h>

/* The runs of @device among [start, start + pages); how they went. */
static long home_runs(uintptr_t start, size_t pages, const struct drm_hmm_page *s,
		      unsigned int device)
{
	size_t i = 0;

	while (i < pages) {
		size_t first = i;
		long n;

		while (i < pages && s[i].location == (int)device)
			i++;
		if (i == first) {
			i++;
			continue;
		}
		n = hdrm_migrate(start + first * HMM_PAGE_BYTES, start + i * HMM_PAGE_BYTES,
				 DRM_HMM_SYSTEM);
		if (n == -ENOMEM)
			return n;
	}
	return 0;
}

static int home_mapping(const struct os_vma *v, struct drm_hmm_page *s, unsigned int device)
{
	uintptr_t at = v->start;
	long err = 0;

	while (!err && at < v->end) {
		size_t n = (v->end - at) >> HMM_PAGE_SHIFT;

		n = n < HMM_BLOCK_PAGES ? n : HMM_BLOCK_PAGES;
		/* What is unmapped meanwhile, or cannot be looked at, has no page there. */
		if (!hdrm_pages(at, n, s))
			err = home_runs(at, n, s, device);
		at += n * HMM_PAGE_BYTES;
	}
	return (int)err;
}

int hdrm_home(unsigned int device)
{
	const size_t bytes = HMM_BLOCK_PAGES * sizeof(struct drm_hmm_page);
	struct drm_hmm_page *s = os_alloc(bytes);
	struct drm_hmm_query q;
	struct os_vma v;
	int err = s ? 0 : -ENOMEM;

	for (uintptr_t at = 0; !err && !os_vma_find(at, &v); at = v.end) {
		/* An engine's mapping of a library has none; neither has most of the rest. */
		if (hdrm_query(device, &q) || !q.resident)
			break;
		if (v.read && v.kind != OS_VMA_SPECIAL)
			err = home_mapping(&v, s, device);
	}
	os_free(s, bytes);
	return err;
}

// SPDX-License-Identifier: MIT
#include "engine/engine.h"

#include <errno.h>
#include <sys/mman.h>

static bool in_window(uint64_t start, uint64_t end, const struct engine_range *w, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		if (start >= w[i].start && end <= w[i].end)
			return true;
	return false;
}

int engine_check_msg(const struct hmm_engine_msg *m, size_t size, bool has_fd,
		     const struct engine_range *window, unsigned int n_windows)
{
	bool map = false;

	if (size != sizeof(*m) || m->magic != HMM_ENGINE_MAGIC)
		return -EINVAL;
	switch (m->op) {
	case HMM_ENGINE_QUIT:
		return has_fd ? -EINVAL : 0;
	case HMM_ENGINE_CONNECT:
		return has_fd ? 0 : -EINVAL;
	case HMM_ENGINE_MAP_FILE:
		map = true;
		break;
	case HMM_ENGINE_UNMAP_FILE:
		break;
	default:
		return -EINVAL;
	}
	if (has_fd != map || !m->length || m->start + m->length < m->start)
		return -EINVAL;
	if ((m->start | m->length | m->offset) & 4095)
		return -EINVAL;
	if (map && (m->prot & ~(uint64_t)(PROT_READ | PROT_WRITE) || !(m->prot & PROT_READ)))
		return -EINVAL;
	return in_window(m->start, m->start + m->length, window, n_windows) ? 0 : -EINVAL;
}

// SPDX-License-Identifier: MIT
/* The side door for language front ends, <hmm/hmm_engine.h>. */
#include "core/process.h"
#include "core/trace.h"
#include "os/arena.h"
#include "os/log.h"

#include <errno.h>
#include <hmm/hmm_engine.h>
#include <stdarg.h>

#define HMM_EXPORT __attribute__((visibility("default")))

HMM_EXPORT void *hmm_engine_alloc(size_t bytes)
{
	return os_arena_init() ? NULL : os_alloc(bytes);
}

HMM_EXPORT void hmm_engine_free(void *p, size_t bytes)
{
	os_free(p, bytes);
}

static const struct hmm_backend_ops *backend(struct hmm *h, int device, int *err)
{
	const struct hmm_backend_ops *ops = hmm_backend_of(h, err);

	if (ops && (device < 0 || (unsigned int)device >= ops->device_count())) {
		*err = -EINVAL;
		return NULL;
	}
	return ops;
}

HMM_EXPORT int hmm_engine_connect(struct hmm *h, int device, int *fd, unsigned int *generation)
{
	int err;
	const struct hmm_backend_ops *ops = backend(h, device, &err);

	if (!ops)
		return err;
	if (!fd || !generation)
		return -EINVAL;
	return ops->connect((unsigned int)device, fd, generation);
}

HMM_EXPORT int hmm_engine_launch_begin(struct hmm *h, int device, unsigned int launches)
{
	int err;
	const struct hmm_backend_ops *ops = backend(h, device, &err);

	if (!ops)
		return err;
	HMM_TRACE(HMM_TRACE_LAUNCH_BEGIN, launch_begin, hmm_trace_begin(), device, 0, 0);
	return ops->launch_begin((unsigned int)device, launches);
}

HMM_EXPORT int hmm_engine_launch_end(struct hmm *h, int device, unsigned int generation,
				     struct hmm_device_fault *fault)
{
	int err;
	const struct hmm_backend_ops *ops = backend(h, device, &err);

	if (!ops)
		return err;
	HMM_TRACE(HMM_TRACE_LAUNCH_END, launch_end, hmm_trace_begin(), device, 0, 0);
	return fault ? ops->launch_end((unsigned int)device, generation, fault) : -EINVAL;
}

HMM_EXPORT void hmm_engine_log(int level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	hmm_vlog(level, fmt, ap);
	va_end(ap);
}

// SPDX-License-Identifier: MIT
/* Files: arguments are checked here, for every backend. */
#include "core/block.h"
#include "core/filemap.h"
#include "core/process.h"
#include "core/trace.h"
#include "os/log.h"

#include <errno.h>
#include <fcntl.h>
#include <hmm/hmm.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define HMM_EXPORT __attribute__((visibility("default")))

static int check_arguments(off_t offset, size_t length, int prot, unsigned int flags)
{
	if (!length || length > SIZE_MAX - HMM_PAGE_BYTES || flags & ~HMM_MAP_COHERENT)
		return -EINVAL;
	if (offset < 0 || offset & (off_t)(HMM_PAGE_BYTES - 1) || !(prot & PROT_READ) ||
	    prot & ~(PROT_READ | PROT_WRITE))
		return -EINVAL;
	if (length > INT64_MAX - HMM_PAGE_BYTES ||
	    offset > (off_t)(INT64_MAX - HMM_PAGE_BYTES - length))
		return -EOVERFLOW;
	return 0;
}

static int check_file(int fd, int prot)
{
	struct stat st;
	int mode = fcntl(fd, F_GETFL);

	if (mode < 0 || fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EOPNOTSUPP;
	if (mode & O_PATH)
		return -EBADF;
	mode &= O_ACCMODE;
	if (mode == O_WRONLY || (prot & PROT_WRITE && mode != O_RDWR))
		return -EACCES;
	return 0;
}

HMM_EXPORT int hmm_map_file(struct hmm *h, int fd, off_t offset, size_t length, int prot,
			    unsigned int flags, void **addr)
{
	const struct hmm_backend_ops *ops;
	uintptr_t at, bytes;
	int err;

	ops = hmm_backend_of(h, &err);
	if (!ops)
		return err;
	err = addr ? check_arguments(offset, length, prot, flags) : -EINVAL;
	if (!err)
		err = check_file(fd, prot);
	if (!err && !ops->map_file)
		err = -EOPNOTSUPP;
	if (err)
		return err;
	bytes = (length + HMM_PAGE_BYTES - 1) & ~(HMM_PAGE_BYTES - 1);
	err = ops->map_file(fd, offset, bytes, prot, flags & HMM_MAP_COHERENT, &at);
	if (err)
		return err;
	err = hmm_filemap_add(at, at + bytes);
	if (err) {
		ops->unmap(at, at + bytes);
		return err;
	}
	*addr = (void *)at;
	return 0;
}

/* 0 when all of the range is of hmm_map_file(). */
static int mapped(const void *addr, size_t length, uintptr_t *start, uintptr_t *end)
{
	uintptr_t a = (uintptr_t)addr;

	if (!length || a + length < a || a + length > UINTPTR_MAX - HMM_PAGE_BYTES)
		return -EINVAL;
	*start = a & ~(HMM_PAGE_BYTES - 1);
	*end = (a + length + HMM_PAGE_BYTES - 1) & ~(HMM_PAGE_BYTES - 1);
	return hmm_filemap_covers(*start, *end) ? 0 : -EINVAL;
}

HMM_EXPORT int hmm_unmap(struct hmm *h, void *addr, size_t length)
{
	const struct hmm_backend_ops *ops;
	uintptr_t start, end;
	int err;

	ops = hmm_backend_of(h, &err);
	if (!ops)
		return err;
	err = mapped(addr, length, &start, &end);
	/* Before it goes: as soon as it is gone, another thread may get a mapping there. */
	if (!err)
		err = hmm_filemap_remove(start, end);
	if (err)
		return err;
	err = ops->unmap(start, end);
	if (err)
		hmm_filemap_add(start, end); /* it is still there */
	return err;
}

HMM_EXPORT int hmm_sync(struct hmm *h, void *addr, size_t length, unsigned int flags)
{
	const struct hmm_backend_ops *ops;
	uintptr_t start, end;
	uint64_t began;
	int err;

	ops = hmm_backend_of(h, &err);
	if (!ops)
		return err;
	err = flags ? -EINVAL : mapped(addr, length, &start, &end);
	if (err)
		return err;
	began = hmm_trace_begin();
	err = ops->sync(start, end);
	HMM_TRACE(HMM_TRACE_SYNC, sync, began, -1, start, (end - start) >> HMM_PAGE_SHIFT);
	return err;
}

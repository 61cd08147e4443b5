// SPDX-License-Identifier: MIT
/*
 * Files on hmmfs: their page cache is where device pages live, so a plain mapping is all that
 * is needed, coherent with everybody's read(2) and write(2).
 */
#include "drm/hdrm.h"
#include "os/log.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/vfs.h>

int hdrm_map_file(int fd, off_t offset, size_t length, int prot, bool coherent, uintptr_t *addr)
{
	struct statfs fs;
	void *p;

	(void)coherent;
	if (fstatfs(fd, &fs))
		return -errno;
	if (fs.f_type != HMMFS_SUPER_MAGIC) {
		hmm_log(HMM_LOG_INFO, "the file is not on hmmfs: its pages cannot go to a device");
		return -EOPNOTSUPP;
	}
	p = mmap(NULL, length, prot, MAP_SHARED, fd, offset);
	if (p == MAP_FAILED)
		return -errno;
	*addr = (uintptr_t)p;
	return 0;
}

int hdrm_unmap(uintptr_t start, uintptr_t end)
{
	return munmap((void *)start, end - start) ? -errno : 0;
}

int hdrm_sync(uintptr_t start, uintptr_t end)
{
	return msync((void *)start, end - start, MS_SYNC) ? -errno : 0;
}

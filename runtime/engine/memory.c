// SPDX-License-Identifier: MIT
/*
 * Device memory: one sparse file, its offsets the addresses of the client, mapped over
 * every address that is free here and registered with userfaultfd. A load or store of
 * the engine through any pointer of the client then works, or faults to the client.
 */
#include "engine/engine.h"
#include "emulated/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#endif
#define UFFD_WP_UNPOPULATED (1 << 13)
#define REQUIRED \
	(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM | \
	 UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_THREAD_ID)
#define MODES \
	(UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP)

static int map_window(const struct engine_range *w)
{
	void *p = mmap((void *)(uintptr_t)w->start, w->end - w->start, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, engine.memory_fd,
		       (off_t)w->start);

	if (p == MAP_FAILED)
		return -errno;
	/* A crash of this process must not dump the client's address space. */
	madvise(p, w->end - w->start, MADV_DONTDUMP);
	return uffd_register(engine.uffd, w->start, w->end - w->start, MODES);
}

int engine_memory_init(uint64_t *features)
{
	bool user_only;
	int err;

	engine.memory_fd = memfd_create("hmm-device", MFD_CLOEXEC);
	if (engine.memory_fd < 0 || ftruncate(engine.memory_fd, 1ll << 47))
		return -errno;
	engine.uffd = uffd_open(REQUIRED, UFFD_WP_UNPOPULATED, features, &user_only);
	if (engine.uffd < 0)
		return engine.uffd;
	err = engine_find_windows(engine.window, HMM_ENGINE_MAX_WINDOWS, &engine.n_windows);
	for (unsigned int i = 0; !err && i < engine.n_windows; i++)
		err = map_window(&engine.window[i]);
	return err;
}

int engine_map_file(uint64_t start, uint64_t length, uint64_t prot, int fd, uint64_t offset)
{
	void *p = mmap((void *)(uintptr_t)start, length, (int)prot, MAP_SHARED | MAP_FIXED, fd,
		       (off_t)offset);

	return p == MAP_FAILED ? -errno : 0;
}

/*
 * The window's own mapping comes back without access, is registered, and only then
 * opened: at no moment does a store go to a page that nobody tracks.
 */
int engine_unmap_file(uint64_t start, uint64_t length)
{
	void *at = (void *)(uintptr_t)start;
	int err;

	if (mmap(at, length, PROT_NONE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, engine.memory_fd,
		 (off_t)start) == MAP_FAILED)
		return -errno;
	err = uffd_register(engine.uffd, start, length, MODES);
	if (!err && mprotect(at, length, PROT_READ | PROT_WRITE))
		err = -errno;
	return err;
}

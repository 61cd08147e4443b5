// SPDX-License-Identifier: MIT
/*
 * Device memory. With a driver, the client's memory as the driver shows it. Without: one sparse
 * file, its offsets the addresses of the client, mapped over every address that is free here and
 * registered with userfaultfd. A load or store of the engine through any pointer of the client then
 * works, or faults to the client.
 */
#include "engine/engine.h"
#include "emulated/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#endif
#define UFFD_WP_UNPOPULATED (1 << 13)
#define REQUIRED                                                                                  \
	(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM | \
	 UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_THREAD_ID)
#define MODES (UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP)

/* @how: MAP_FIXED over what is there, or only where nothing is. */
static int map_device(uint64_t start, uint64_t length, int prot, int how)
{
	void *p = mmap((void *)(uintptr_t)start, length, prot, MAP_SHARED | MAP_NORESERVE | how,
		       engine.memory_fd, (off_t)start);

	if (p == MAP_FAILED)
		return -errno;
	/* A crash of this process must not dump the client's address space. */
	madvise(p, length, MADV_DONTDUMP);
	return uffd_register(engine.uffd, start, length, MODES);
}

/* Device memory is sparse, of the size of the address space. */
static int make_device(void)
{
	struct rlimit size;

	engine.memory_fd = memfd_create("hmm-device", MFD_CLOEXEC);
	if (engine.memory_fd < 0)
		return -errno;
	if (!getrlimit(RLIMIT_FSIZE, &size)) {
		size.rlim_cur = size.rlim_max;
		setrlimit(RLIMIT_FSIZE, &size);
	}
	if (!ftruncate(engine.memory_fd, 1ll << 47))
		return 0;
	return errno == EFBIG ? -ENOMEM : -errno;
}

/* The driver's faults make every page of the client's addressable, at its own address. */
static int map_client(uint64_t start, uint64_t length)
{
	void *p = mmap((void *)(uintptr_t)start, length, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_FIXED_NOREPLACE, HMM_ENGINE_DRIVER_FD, (off_t)start);

	return p == MAP_FAILED ? -errno : 0;
}

static int map_windows(void)
{
	int err = engine_find_windows(engine.window, HMM_ENGINE_MAX_WINDOWS, &engine.n_windows);

	engine_release_heap();
	for (unsigned int i = 0; !err && i < engine.n_windows; i++) {
		uint64_t start = engine.window[i].start, length = engine.window[i].end - start;

		err = engine.opts.driver ? map_client(start, length) :
					   map_device(start, length, PROT_READ | PROT_WRITE,
						      MAP_FIXED_NOREPLACE);
	}
	return err;
}

int engine_memory_init(uint64_t *features)
{
	bool user_only;
	int err = 0;

	*features = 0;
	if (!engine.opts.driver)
		err = make_device();
	if (err)
		return err;
	if (!engine.opts.driver) {
		engine.uffd = uffd_open(REQUIRED, UFFD_WP_UNPOPULATED, features, &user_only);
		if (engine.uffd < 0)
			return engine.uffd;
	}
	return map_windows();
}

static bool is_hole(void *at)
{
	unsigned char in;

	return mincore(at, 1, &in) && errno == ENOMEM;
}

int engine_map_file(uint64_t start, uint64_t length, uint64_t prot, int fd, uint64_t offset)
{
	void *at = (void *)(uintptr_t)start;
	int err;

	if (mmap(at, length, (int)prot, MAP_SHARED | MAP_FIXED, fd, (off_t)offset) == MAP_FAILED) {
		err = -errno;
		/* Some files refuse only when what was there is gone. */
		if (is_hole(at))
			engine_unmap_file(start, length);
		return err;
	}
	madvise(at, length, MADV_DONTDUMP);
	return 0;
}

/*
 * The window's own mapping comes back without access, is registered, and only then
 * opened: at no moment does a store go to a page that nobody tracks.
 */
int engine_unmap_file(uint64_t start, uint64_t length)
{
	int err = map_device(start, length, PROT_NONE, MAP_FIXED);

	if (!err && mprotect((void *)(uintptr_t)start, length, PROT_READ | PROT_WRITE))
		err = -errno;
	return err;
}

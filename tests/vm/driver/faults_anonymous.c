// SPDX-License-Identifier: MIT
/* No memory for what is done with anonymous pages. */
#include "faults.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 16ul
#define BYTES (PAGES * PAGE)

static char *base;
static struct engine engine;
static int ends[2]; /* of a pipe */

static char byte_of(size_t page)
{
	return (char)(page + 3);
}

/* Pages with their bytes, at @target. */
static int put(int target)
{
	if (migrate(base, BYTES, DRM_HMM_SYSTEM) < 0)
		return -1;
	for (size_t i = 0; i < PAGES; i++)
		for (size_t at = 0; at < PAGE; at += 64)
			base[i * PAGE + at] = byte_of(i);
	return migrate(base, BYTES, target) == (long)PAGES ? 0 : -1;
}

static int to_system(void)
{
	return put(DRM_HMM_SYSTEM);
}

static int to_first(void)
{
	return put(0);
}

static int to_second(void)
{
	return put(1);
}

static int to_nowhere(void)
{
	return madvise(base, BYTES, MADV_DONTNEED);
}

static int intact(int err)
{
	(void)err;
	for (size_t i = 0; i < PAGES; i++)
		for (size_t at = 0; at < PAGE; at += 64)
			if (base[i * PAGE + at] != byte_of(i))
				return -1;
	return resident(0) || resident(1) ? -1 : 0;
}

static int empty(int err)
{
	(void)err;
	for (size_t at = 0; at < BYTES; at += 64)
		if (base[at])
			return -1;
	return resident(0) || resident(1) ? -1 : 0;
}

static int run_open(void)
{
	int fd = open("/dev/dri/renderD128", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : close(fd);
}

static int run_engine(void)
{
	struct drm_hmm_engine_create c = { 0 };

	return ioctl(node, DRM_IOCTL_HMM_ENGINE_CREATE, &c) ? -errno : close(c.fd);
}

static int run_migrate(int target)
{
	long n = migrate(base, BYTES, target);

	return n < 0 ? (int)n : 0;
}

static int run_leave(void)
{
	return run_migrate(0);
}

static int run_across(void)
{
	return run_migrate(1);
}

static int run_home(void)
{
	return run_migrate(DRM_HMM_SYSTEM);
}

static int run_where(void)
{
	int at = where(base);

	return at < -1000 ? at + 1000 : 0;
}

static int run_touch(void)
{
	for (size_t i = 0; i < PAGES; i++)
		if (*(volatile char *)(base + i * PAGE) != byte_of(i))
			return -EIO;
	return 0;
}

/* A system call reads from pages on the device: it may say that it cannot. */
static int run_pipe(void)
{
	char room[256];

	if (write(ends[1], base + PAGE, sizeof(room)) < 0)
		return -errno;
	if (read(ends[0], room, sizeof(room)) != sizeof(room))
		return -EIO;
	return room[64] == byte_of(1) ? 0 : -EIO;
}

static int run_fork(void)
{
	int status, pid = fork();

	if (!pid)
		_exit(run_touch() ? 1 : 0);
	if (pid < 0)
		return -errno;
	waitpid(pid, &status, 0);
	return status ? -EIO : 0;
}

static int run_split(void)
{
	return munmap(base + BYTES + PAGE, PAGE) ? -errno : 0;
}

/* The page in the middle is gone or not; its neighbours are there. */
static int join(int err)
{
	void *middle = base + BYTES + PAGE;

	if (base[BYTES] || base[BYTES + 2 * PAGE] || (err && *(char *)middle))
		return -1;
	return mmap(middle, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		    -1, 0) == MAP_FAILED ||
	       resident(0);
}

static int before_split(void)
{
	return migrate(base + BYTES, 3 * PAGE, 0) != 3;
}

static int run_engine_load(void)
{
	uint64_t value = 0;
	int err = engine_do(&engine, ENGINE_LOAD, base + 5 * PAGE, 1, &value);

	return err ? err : value == (unsigned char)byte_of(5) ? 0 : -EIO;
}

static int run_engine_store(void)
{
	uint64_t value = (unsigned char)byte_of(6);

	return engine_do(&engine, ENGINE_STORE, base + 6 * PAGE + 64, 1, &value);
}

int faults_anonymous(void)
{
	const struct operation operations[] = {
		{ .name = "open", .run = run_open },
		{ .name = "an engine", .run = run_engine },
		{ "to a device", to_system, run_leave, intact, 0, NULL },
		{ "to another device", to_first, run_across, intact, 0, NULL },
		{ "home", to_first, run_home, intact, 0, NULL },
		{ "never touched, to a device", to_nowhere, run_leave, empty, 0, NULL },
		{ "status", to_first, run_where, intact, 0, NULL },
		{ "touch", to_first, run_touch, intact, 0, NULL },
		{ "touch by a system call", to_first, run_pipe, intact, -EFAULT, NULL },
		{ "fork", to_first, run_fork, intact, 0, NULL },
		{ "munmap of a part", before_split, run_split, join, 0, NULL },
		{ "an engine's load", to_system, run_engine_load, intact, 0, &engine },
		{ "an engine's store", to_second, run_engine_store, intact, 0, &engine },
		{ "an engine's first store", to_nowhere, run_engine_store, NULL, 0, &engine },
	};
	int wrong;

	base = map_anonymous(BYTES + 3 * PAGE);
	if (base == MAP_FAILED || pipe(ends) || engine_start(&engine, 0, base, BYTES))
		return 1;
	wrong = faults_sweep(operations, sizeof(operations) / sizeof(operations[0]));
	engine_end(&engine);
	munmap(base, BYTES + 3 * PAGE);
	return wrong;
}

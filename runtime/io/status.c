// SPDX-License-Identifier: MIT
/* stat and its family: a path that the kernel reads, a structure that it writes. */
#include "io/io.h"

#include <errno.h>

/* After EFAULT: make both there. @path may be NULL where a descriptor says it all. */
static bool make_present(const char *path, struct stat *st)
{
	bool ok = io_touch(st, sizeof(*st), IO_KERNEL_WRITES) && (!path || io_touch_string(path));

	errno = EFAULT;
	return ok;
}

#define ASK_AGAIN(call, path, st)                                      \
	int ret = (call);                                              \
	for (int i = 0; i < IO_TRIES && ret && errno == EFAULT; i++) { \
		if (!make_present((path), (struct stat *)(st)))        \
			break;                                         \
		ret = (call);                                          \
	}                                                              \
	return ret

_Static_assert(sizeof(struct stat) == sizeof(struct stat64), "one layout serves both names");

EXPORT int fstatat(int dir, const char *path, struct stat *st, int flags)
{
	ASK_AGAIN(io_real()->fstatat(dir, path, st, flags), path, st);
}

EXPORT int stat(const char *path, struct stat *st)
{
	ASK_AGAIN(io_real()->stat(path, st), path, st);
}

EXPORT int lstat(const char *path, struct stat *st)
{
	ASK_AGAIN(io_real()->lstat(path, st), path, st);
}

EXPORT int fstat(int fd, struct stat *st)
{
	ASK_AGAIN(io_real()->fstat(fd, st), NULL, st);
}

EXPORT int fstatat64(int dir, const char *path, struct stat64 *st, int flags)
{
	return fstatat(dir, path, (struct stat *)st, flags);
}

EXPORT int stat64(const char *path, struct stat64 *st)
{
	return stat(path, (struct stat *)st);
}

EXPORT int lstat64(const char *path, struct stat64 *st)
{
	return lstat(path, (struct stat *)st);
}

EXPORT int fstat64(int fd, struct stat64 *st)
{
	return fstat(fd, (struct stat *)st);
}

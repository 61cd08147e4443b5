// SPDX-License-Identifier: MIT
#include "emulated/uffd.h"
#include "os/sys.h"

#include <errno.h>
#include <fcntl.h>

static int open_raw(bool *user_only)
{
	int fd, dev;

	*user_only = false;
	fd = (int)os_syscall1(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (fd != -EPERM)
		return fd;
	dev = (int)os_syscall4(SYS_openat, AT_FDCWD, "/dev/userfaultfd", O_RDWR | O_CLOEXEC, 0);
	if (dev >= 0) {
		fd = (int)os_syscall3(SYS_ioctl, dev, _IO(0xAA, 0x00), O_CLOEXEC | O_NONBLOCK);
		os_close(dev);
		if (fd >= 0)
			return fd;
	}
	*user_only = true;
	return (int)os_syscall1(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
}

static int negotiate(int fd, uint64_t features, uint64_t *have)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int err = os_ioctl(fd, UFFDIO_API, &api);

	*have = api.features;
	return err;
}

int uffd_open(uint64_t required, uint64_t optional, uint64_t *have, bool *user_only)
{
	int fd = open_raw(user_only);
	int err;

	/* A descriptor can be asked once, so a first one asks what there is. */
	if (fd < 0)
		return fd;
	err = negotiate(fd, 0, have);
	os_close(fd);
	if (err)
		return err;
	if (required & ~*have)
		return -EOPNOTSUPP;
	fd = open_raw(user_only);
	if (fd < 0)
		return fd;
	optional &= *have;
	err = negotiate(fd, required | optional, have);
	*have = required | optional;
	if (err) {
		os_close(fd);
		return err;
	}
	return fd;
}

int uffd_register(int fd, uintptr_t start, size_t len, uint64_t mode)
{
	struct uffdio_register reg = { .range = { start, len }, .mode = mode };

	return os_ioctl(fd, UFFDIO_REGISTER, &reg);
}

int uffd_unregister(int fd, uintptr_t start, size_t len)
{
	struct uffdio_range range = { start, len };

	return os_ioctl(fd, UFFDIO_UNREGISTER, &range);
}

int uffd_wake(int fd, uintptr_t start, size_t len)
{
	struct uffdio_range range = { start, len };

	return os_ioctl(fd, UFFDIO_WAKE, &range);
}

int uffd_protect(int fd, uintptr_t start, size_t len, bool protect)
{
	struct uffdio_writeprotect wp = {
		.range = { start, len },
		.mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};
	int err;

	/* -EAGAIN: an event is pending for another range; harmless to try again. */
	for (int i = 0; (err = os_ioctl(fd, UFFDIO_WRITEPROTECT, &wp)) == -EAGAIN && i < 64; i++)
		os_syscall1(SYS_sched_yield, 0);
	return err;
}

/* The kernel leaves bytes done, or -errno, in the request. */
static int progress(int err, int64_t value, size_t *done)
{
	*done = value > 0 ? (size_t)value : 0;
	return err;
}

/* The kernel asks that before it looks at the request, which is an invalid one. */
bool uffd_events_pending(int fd)
{
	struct uffdio_writeprotect none = { 0 };

	return os_ioctl(fd, UFFDIO_WRITEPROTECT, &none) == -EAGAIN;
}

int uffd_copy(int fd, uintptr_t dst, const void *src, size_t len, uint64_t mode, size_t *done)
{
	struct uffdio_copy c = { .dst = dst, .src = (uintptr_t)src, .len = len, .mode = mode };
	int err = os_ioctl(fd, UFFDIO_COPY, &c);

	return progress(err, c.copy, done);
}

int uffd_poison(int fd, uintptr_t start, size_t len)
{
	struct uffdio_poison p = { .range = { start, len } };

	return os_ioctl(fd, UFFDIO_POISON, &p);
}

int uffd_zero(int fd, uintptr_t dst, size_t len, size_t *done)
{
	struct uffdio_zeropage z = { .range = { dst, len } };
	int err = os_ioctl(fd, UFFDIO_ZEROPAGE, &z);

	return progress(err, z.zeropage, done);
}

int uffd_continue(int fd, uintptr_t start, size_t len, uint64_t mode, size_t *done)
{
	struct uffdio_continue c = { .range = { start, len }, .mode = mode };
	int err = os_ioctl(fd, UFFDIO_CONTINUE, &c);

	return progress(err, c.mapped, done);
}

int uffd_move(int fd, uintptr_t dst, uintptr_t src, size_t len, uint64_t mode, size_t *done)
{
	struct uffdio_move m = { .dst = dst, .src = src, .len = len, .mode = mode };
	int err = os_ioctl(fd, UFFDIO_MOVE, &m);

	return progress(err, m.move, done);
}

/* SPDX-License-Identifier: MIT */
/*
 * userfaultfd(2) as the emulated device uses it. Each wrapper returns 0 or -errno,
 * and those that work through a range tell how far they came.
 */
#ifndef HMM_EMULATED_UFFD_H
#define HMM_EMULATED_UFFD_H

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Newer than the headers of Linux 6.1. */
#ifndef UFFD_FEATURE_MOVE
#define UFFD_FEATURE_MOVE (1 << 16)
#endif
#ifndef UFFDIO_MOVE
struct uffdio_move {
	__u64 dst, src, len, mode;
	__s64 move;
};
#define UFFDIO_MOVE _IOWR(UFFDIO, 0x05, struct uffdio_move)
#endif
#ifndef UFFDIO_MOVE_MODE_DONTWAKE
#define UFFDIO_MOVE_MODE_DONTWAKE ((__u64)1 << 0)
#define UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES ((__u64)1 << 1)
#endif
#ifndef UFFDIO_CONTINUE_MODE_WP
#define UFFDIO_CONTINUE_MODE_WP ((__u64)1 << 1)
#endif
#ifndef UFFDIO_POISON
struct uffdio_poison {
	struct uffdio_range range;
	__u64 mode;
	__s64 updated;
};
#define UFFDIO_POISON _IOWR(UFFDIO, 0x08, struct uffdio_poison)
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

/*
 * Open with @features of those the kernel has (none of @required may be missing:
 * -EOPNOTSUPP). Tries, in order, kernel-fault handling by the system call, by
 * /dev/userfaultfd, and user-mode faults only (*user_only tells).
 */
int uffd_open(uint64_t required, uint64_t optional, uint64_t *have, bool *user_only);

/* Has the owner of the memory an event that was not read to its end? */
bool uffd_events_pending(int fd);

int uffd_register(int fd, uintptr_t start, size_t len, uint64_t mode);
int uffd_unregister(int fd, uintptr_t start, size_t len);
int uffd_wake(int fd, uintptr_t start, size_t len);
int uffd_protect(int fd, uintptr_t start, size_t len, bool protect);
int uffd_copy(int fd, uintptr_t dst, const void *src, size_t len, uint64_t mode, size_t *done);
int uffd_poison(int fd, uintptr_t start, size_t len); /* Linux 6.6; a touch is SIGBUS */
int uffd_zero(int fd, uintptr_t dst, size_t len, size_t *done);
int uffd_continue(int fd, uintptr_t start, size_t len, uint64_t mode, size_t *done);
int uffd_move(int fd, uintptr_t dst, uintptr_t src, size_t len, uint64_t mode, size_t *done);

#endif /* HMM_EMULATED_UFFD_H */

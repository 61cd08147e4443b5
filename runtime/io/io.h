/* SPDX-License-Identifier: MIT */
/*
 * libhmm_io: libc I/O on memory that a user-mode-only userfaultfd serves. There,
 * a system call that meets a missing page fails with EFAULT or comes back short;
 * the wrappers here touch the pages in user mode, where the fault is served, and
 * ask the kernel again for the rest.
 */
#ifndef HMM_IO_IO_H
#define HMM_IO_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#define EXPORT __attribute__((visibility("default")))

/* A page may leave again between the touch and the call: bounded, not once. */
#define IO_TRIES 64

/* What a larger read would populate for nothing stays to the retry. */
#define IO_EAGER_MAX (64u << 10)

enum io_use { IO_KERNEL_READS, IO_KERNEL_WRITES };

/* The next definitions of the symbols, behind this library. */
struct io_real {
	ssize_t (*read)(int, void *, size_t);
	ssize_t (*write)(int, const void *, size_t);
	ssize_t (*pread64)(int, void *, size_t, off64_t);
	ssize_t (*pwrite64)(int, const void *, size_t, off64_t);
	ssize_t (*readv)(int, const struct iovec *, int);
	ssize_t (*writev)(int, const struct iovec *, int);
	ssize_t (*preadv64)(int, const struct iovec *, int, off64_t);
	ssize_t (*pwritev64)(int, const struct iovec *, int, off64_t);
	ssize_t (*recvfrom)(int, void *, size_t, int, struct sockaddr *, socklen_t *);
	ssize_t (*sendto)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
	ssize_t (*recvmsg)(int, struct msghdr *, int);
	ssize_t (*sendmsg)(int, const struct msghdr *, int);
	size_t (*fread)(void *, size_t, size_t, FILE *);
	size_t (*fwrite)(const void *, size_t, size_t, FILE *);
	int (*fflush)(FILE *);
	int (*fclose)(FILE *);
	int (*stat)(const char *, struct stat *);
	int (*lstat)(const char *, struct stat *);
	int (*fstat)(int, struct stat *);
	int (*fstatat)(int, const char *, struct stat *, int);
	ssize_t (*getrandom)(void *, size_t, unsigned int);
};

/* Resolved by a constructor, or earlier by whoever calls before it has run. */
const struct io_real *io_real(void);

/*
 * Can memory be such that only user mode brings it? Not while the kernel gives this
 * process faults of its own, too, which is what libhmm then takes; unless a call was
 * seen to fail on good memory. When false, wrappers but look at results.
 */
bool io_wanted(void);
void io_want(void);

/*
 * Touch [p, p + n) as the kernel is going to use it, file mappings in it excepted.
 * False, and nothing touched, when a part of it is unmapped or without the right of
 * access: then EFAULT is the truth.
 */
bool io_touch(const void *p, size_t n, enum io_use use);
bool io_touch_string(const char *s);
bool io_touch_vector(const struct iovec *iov, int count, enum io_use use);

/* True when all of [p, p + n) is mapped and some of it is not in memory. */
bool io_absent(const void *p, size_t n);

/* Touch what is absent before a call that consumes its input even when it fails. */
void io_prepare(uintptr_t p, size_t n, enum io_use use);

/* Copy from a pointer that nobody has checked; false when it is bad. */
bool io_copy_in(void *to, const void *from, size_t n);

/*
 * Whether a short count can have been a page fault, so that going on is right. @at is
 * where in the file it goes on; negative: at the descriptor's position.
 */
bool io_short_by_fault(int fd, off64_t at, const void *rest, size_t n, enum io_use use);

/* @to becomes @iov without its first @skip bytes; the new count. */
int io_skip(struct iovec *to, const struct iovec *iov, int count, size_t skip);
size_t io_vector_bytes(const struct iovec *iov, int count);

#endif /* HMM_IO_IO_H */

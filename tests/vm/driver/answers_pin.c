// SPDX-License-Identifier: MIT
/* Pages that others hold while they are used: io_uring's buffers, pipes, O_DIRECT. */
#include "answers.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGES 16

static char copy[PAGES * PAGE] __attribute__((aligned(4096)));

struct ring {
	int fd;
	char *sq, *cq;
	struct io_uring_sqe *sqe;
	struct io_uring_params params;
};

static void *map_ring(const struct ring *r, off_t which)
{
	return mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, which);
}

static int ring_open(struct ring *r)
{
	memset(r, 0, sizeof(*r));
	r->fd = (int)syscall(SYS_io_uring_setup, 1, &r->params);
	if (r->fd < 0)
		return -errno;
	r->sq = map_ring(r, IORING_OFF_SQ_RING);
	r->cq = map_ring(r, IORING_OFF_CQ_RING);
	r->sqe = map_ring(r, IORING_OFF_SQES);
	return r->sq == MAP_FAILED || r->cq == MAP_FAILED || (void *)r->sqe == MAP_FAILED ? -1 : 0;
}

static void ring_close(struct ring *r)
{
	munmap(r->sq, 4 * PAGE);
	munmap(r->cq, 4 * PAGE);
	munmap(r->sqe, 4 * PAGE);
	close(r->fd);
}

static int ring_register(struct ring *r, char *p, size_t bytes)
{
	struct iovec part = { p, bytes };

	return syscall(SYS_io_uring_register, r->fd, IORING_REGISTER_BUFFERS, &part, 1) ? -errno :
											  0;
}

/* From the registered buffer to the start of a file. */
static int ring_write(struct ring *r, int fd, char *p, unsigned int bytes)
{
	unsigned int *tail = (unsigned int *)(r->sq + r->params.sq_off.tail);
	unsigned int *head = (unsigned int *)(r->cq + r->params.cq_off.head);
	struct io_uring_cqe *done = (struct io_uring_cqe *)(r->cq + r->params.cq_off.cqes);
	unsigned int mask = *(unsigned int *)(r->cq + r->params.cq_off.ring_mask);

	memset(r->sqe, 0, sizeof(*r->sqe));
	r->sqe->opcode = IORING_OP_WRITE_FIXED;
	r->sqe->fd = fd;
	r->sqe->addr = (uintptr_t)p;
	r->sqe->len = bytes;
	*(unsigned int *)(r->sq + r->params.sq_off.array) = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, r->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		return -errno;
	done += *head & mask;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return done->res;
}

static int scratch(int flags)
{
	char name[256];
	int fd;

	snprintf(name, sizeof(name), "%s/scratch", plain_folder);
	fd = open(name, O_RDWR | O_CREAT | O_TRUNC | flags, 0600);
	unlink(name);
	return fd;
}

/* A pin that outlasts the mapping. */
static void registered(void)
{
	char *p = map(PAGES);
	uint64_t value = 3;
	struct engine e;
	struct ring r;
	int fd = scratch(0);

	CU_ASSERT_EQUAL_FATAL(engine_start(&e, 0, p, PAGES * PAGE), 0);
	fill(p, PAGES);
	CU_ASSERT_EQUAL_FATAL(ring_open(&r), 0);
	if (hmmfs_folder) {
		/* Nobody may pin a shared file's pages for long that counts who makes them dirty. */
		CU_ASSERT(ring_register(&r, p, PAGES * PAGE) < 0);
		CU_ASSERT_EQUAL(migrate(p, PAGES * PAGE, 0), PAGES);
		CU_ASSERT(intact(p, PAGES));
		unmap(p, PAGES);
	} else {
		CU_ASSERT_EQUAL(ring_register(&r, p, PAGES * PAGE), 0);
		CU_ASSERT(all_at(p, PAGES, DRM_HMM_SYSTEM));
		CU_ASSERT_EQUAL(migrate(p, PAGES * PAGE, 0), 0);
		/* The device stores to the very page that is pinned. */
		CU_ASSERT_EQUAL(engine_do(&e, ENGINE_STORE, p + PAGE + 9, 1, &value), 0);
		CU_ASSERT_EQUAL(page_flags(p + PAGE) & DRM_HMM_PAGE_REMOTE, DRM_HMM_PAGE_REMOTE);
		unmap(p, PAGES);
		CU_ASSERT_EQUAL(ring_write(&r, fd, p, PAGES * PAGE), (int)(PAGES * PAGE));
		CU_ASSERT_EQUAL(pread(fd, copy, sizeof(copy), 0), (ssize_t)sizeof(copy));
		CU_ASSERT_EQUAL(copy[PAGE + 9], 3);
		copy[PAGE + 9] = copy[PAGE + 10];
		CU_ASSERT(intact(copy, PAGES));
	}
	ring_close(&r);
	engine_end(&e);
	close(fd);
	CU_ASSERT_EQUAL(resident(0), 0);
}

static void piped(void)
{
	char *p = take(4);
	struct iovec part = { p, 4 * PAGE };
	int ends[2];

	CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
	CU_ASSERT_EQUAL(vmsplice(ends[1], &part, 1, 0), 4 * PAGE);
	CU_ASSERT(all_at(p, 4, DRM_HMM_SYSTEM));
	CU_ASSERT_EQUAL(migrate(p, 4 * PAGE, 0), 0);
	unmap(p, 4);
	CU_ASSERT_EQUAL(read(ends[0], copy, 4 * PAGE), 4 * PAGE);
	CU_ASSERT(intact(copy, 4));
	close(ends[0]);
	close(ends[1]);
	CU_ASSERT_EQUAL(resident(0), 0);
}

static void direct(void)
{
	char *p = take(PAGES);
	int fd = scratch(O_DIRECT);

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(pwrite(fd, p, PAGES * PAGE, 0), PAGES * PAGE);
	CU_ASSERT_EQUAL(pread(fd, copy, sizeof(copy), 0), (ssize_t)sizeof(copy));
	CU_ASSERT(intact(copy, PAGES));
	/* Into pages on the device, which hold something else. */
	memset(p, 9, PAGES * PAGE);
	CU_ASSERT_EQUAL(migrate(p, PAGES * PAGE, 0), PAGES);
	CU_ASSERT_EQUAL(pread(fd, p, PAGES * PAGE, 0), PAGES * PAGE);
	/* They can leave again, with what was read. */
	CU_ASSERT_EQUAL(migrate(p, PAGES * PAGE, 0), PAGES);
	CU_ASSERT(intact(p, PAGES));
	close(fd);
	unmap(p, PAGES);
	CU_ASSERT_EQUAL(resident(0), 0);
}

void add_pin_tests(CU_pSuite s)
{
	CU_add_test(s, "a registered buffer outlasts its mapping", registered);
	CU_add_test(s, "a pipe outlasts the mapping", piped);
	CU_add_test(s, "O_DIRECT", direct);
}

// SPDX-License-Identifier: MIT
/* Memory that the kernel holds on to: buffers registered with io_uring. */
#include "conformance/conf.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* A ring with [p, p + bytes) registered; -errno. */
static int pin(char *p, size_t bytes)
{
	struct io_uring_params params = { 0 };
	struct iovec v = { p, bytes };
	int fd = (int)syscall(SYS_io_uring_setup, 4, &params);

	if (fd < 0)
		return -errno;
	if (syscall(SYS_io_uring_register, fd, IORING_REGISTER_BUFFERS, &v, 1)) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

static void unpin(int fd)
{
	CU_ASSERT_EQUAL(syscall(SYS_io_uring_register, fd, IORING_UNREGISTER_BUFFERS, NULL, 0), 0);
	close(fd);
}

/* Does this device's algorithm notice that a page is pinned? */
static bool notices(void)
{
	struct hmm_device_info info;

	CU_ASSERT_EQUAL(hmm_device_info(h, 0, &info), 0);
	return info.flags & HMM_DEVICE_MOVE || !strcmp(info.backend, "drm");
}

/* @what must be on a device soon: unpinning ends in the background. */
static bool moves(char *what)
{
	for (int i = 0; i < 50; i++)
		if (hmm_migrate(h, what, PAGE, 0, 0) == 1)
			return true;
	return false;
}

static void stays(void)
{
	char *p = map_pages(4 * PAGE, 5);
	int ring;

	if (!notices()) {
		printf("(skipped: needs UFFDIO_MOVE) ");
		return;
	}
	ring = pin(p + PAGE, PAGE);
	if (ring < 0) {
		printf("(skipped: io_uring errno %d) ", -ring);
		return;
	}
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 4 * PAGE, 0, 0), 3); /* and not an error */
	CU_ASSERT_EQUAL(where(p), 0);
	CU_ASSERT_EQUAL(where(p + PAGE), HMM_SYSTEM);
	CU_ASSERT(page_flags(p + PAGE) & HMM_PAGE_PINNED);
	CU_ASSERT(!(page_flags(p) & HMM_PAGE_PINNED));
	CU_ASSERT(all_bytes(p, 4 * PAGE, 5));
	unpin(ring);
	CU_ASSERT(moves(p + PAGE));
	CU_ASSERT(!(page_flags(p + PAGE) & HMM_PAGE_PINNED));
	CU_ASSERT(all_bytes(p, 4 * PAGE, 5));
	munmap(p, 4 * PAGE);
}

/* A device's touch cannot have it; the access is short, and the device lives on. */
static void device_touch(void)
{
	char *p = map_pages(4 * PAGE, 5), c = 0;
	int ring = notices() ? pin(p + PAGE, PAGE) : -ENOSYS;

	if (ring < 0) {
		printf("(skipped: needs UFFDIO_MOVE and io_uring) ");
		return;
	}
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p, &c, 1), 1);
	CU_ASSERT_EQUAL(c, 5);
	unpin(ring);
	CU_ASSERT(moves(p + PAGE));
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p + PAGE, &c, 1), 1);
	CU_ASSERT_EQUAL(c, 5);
	munmap(p, 4 * PAGE);
}

/* Not beside it but of it: that ends, too. The driver lets a device read it where it is. */
static void device_refused(void)
{
	char *p = map_pages(4 * PAGE, 5), c = 0, buffer[2 * PAGE];
	struct hmm_device_info info;
	int ring = notices() ? pin(p + PAGE, PAGE) : -ENOSYS;

	if (ring < 0 || hmm_device_info(h, 0, &info) || strcmp(info.backend, "emulated") != 0) {
		printf("(skipped: of emulated devices, and needs UFFDIO_MOVE and io_uring) ");
		return;
	}
	alarm((unsigned int)patient(30));
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p + PAGE, &c, 1), -EFAULT);
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p, buffer, sizeof(buffer)), PAGE);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + PAGE, &c, 1), -EFAULT);
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p + 2 * PAGE, &c, 1), 1);
	alarm(0);
	CU_ASSERT_EQUAL(c, 5);
	CU_ASSERT(page_flags(p + PAGE) & HMM_PAGE_PINNED);
	unpin(ring);
	CU_ASSERT(moves(p + PAGE));
	munmap(p, 4 * PAGE);
}

/* Registering memory whose pages are on the device brings them home and holds them. */
static void registered_while_resident(void)
{
	char *p = map_pages(4 * PAGE, 6);
	int ring;

	if (!notices() || !serves_system_calls()) {
		printf("(skipped: needs UFFDIO_MOVE and kernel-mode faults) ");
		return;
	}
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 4 * PAGE, 0, 0), 4);
	ring = pin(p, 4 * PAGE);
	if (ring < 0) {
		printf("(skipped: io_uring errno %d) ", -ring);
		return;
	}
	CU_ASSERT_EQUAL(where(p), HMM_SYSTEM);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, 4 * PAGE, 0, 0), 0);
	CU_ASSERT(all_bytes(p, 4 * PAGE, 6));
	unpin(ring);
	munmap(p, 4 * PAGE);
}

/* Pinned pages cost the patience once, not once each. */
static void many(void)
{
	char *p = map_pages(MIB, 7);
	int ring = notices() ? pin(p, MIB) : -ENOSYS;

	if (ring < 0) {
		printf("(skipped: needs UFFDIO_MOVE and io_uring) ");
		return;
	}
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), 0);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, HMM_SYSTEM, 0), PAGES(MIB));
	CU_ASSERT(all_bytes(p, MIB, 7));
	unpin(ring);
	munmap(p, MIB);
}

static long ms_to_migrate(char *p, size_t bytes)
{
	struct timespec a, b;

	clock_gettime(CLOCK_MONOTONIC, &a);
	CU_ASSERT_EQUAL(hmm_migrate(h, p, bytes, 0, 0), 0);
	clock_gettime(CLOCK_MONOTONIC, &b);
	return (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000;
}

/* Nor once for each part of a long range. On a busy machine one of a few tries is undisturbed. */
static void far_apart(void)
{
	const size_t bytes = 6 * MIB;
	char *p = map_pages(bytes, 7);
	struct hmm_device_info info;
	int ring = notices() ? pin(p, bytes) : -ENOSYS;
	long best = 10000;

	if (ring < 0 || hmm_device_info(h, 0, &info) || strcmp(info.backend, "emulated") != 0) {
		printf("(skipped: of emulated devices, and needs UFFDIO_MOVE and io_uring) ");
		return;
	}
	for (int i = 0; i < 10 && best >= 250; i++) {
		long ms = ms_to_migrate(p, bytes);

		best = ms < best ? ms : best;
	}
	CU_ASSERT(best >= 90 && best < 250); /* three times 100 ms and more it would be */
	unpin(ring);
	CU_ASSERT(moves(p + 5 * MIB));
	munmap(p, bytes);
}

void add_pinned_suite(void)
{
	CU_pSuite s = CU_add_suite("pinned pages", conf_open, conf_close);

	CU_add_test(s, "a pinned page stays where it is", stays);
	CU_add_test(s, "a device beside pinned pages", device_touch);
	CU_add_test(s, "a device's touch of a pinned page", device_refused);
	CU_add_test(s, "pinned while on a device", registered_while_resident);
	CU_add_test(s, "many pinned pages", many);
	CU_add_test(s, "pinned pages far apart", far_apart);
}

// SPDX-License-Identifier: MIT
#include "io/pager.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct {
	int uffd, stop;
	char *region, *store;
	pthread_t thread;
	atomic_ulong faults;
} pager;

static void serve(const struct uffd_msg *msg)
{
	unsigned long at = msg->arg.pagefault.address & ~4095ul;
	struct uffdio_copy c = {
		.dst = at,
		.src = (unsigned long)pager.store + (at - (unsigned long)pager.region),
		.len = 4096,
	};

	atomic_fetch_add(&pager.faults, 1);
	ioctl(pager.uffd, UFFDIO_COPY, &c);
}

/* Raw calls: libc's read() is what the tests put a wrapper around. */
static void *pager_main(void *arg)
{
	struct pollfd p[2] = { { pager.uffd, POLLIN, 0 }, { pager.stop, POLLIN, 0 } };
	struct uffd_msg msg;

	(void)arg;
	while (poll(p, 2, -1) >= 0 && !p[1].revents)
		if (syscall(SYS_read, pager.uffd, &msg, sizeof(msg)) == sizeof(msg) &&
		    msg.event == UFFD_EVENT_PAGEFAULT)
			serve(&msg);
	return NULL;
}

static int register_region(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { (unsigned long)pager.region, PAGER_BYTES },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	if (ioctl(pager.uffd, UFFDIO_API, &api) || ioctl(pager.uffd, UFFDIO_REGISTER, &reg))
		return -errno;
	return 0;
}

int pager_start(void)
{
	int prot = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS, err;

	pager.uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (pager.uffd < 0)
		return -errno;
	pager.region = mmap(NULL, PAGER_BYTES, prot, flags, -1, 0);
	pager.store = mmap(NULL, PAGER_BYTES, prot, flags, -1, 0);
	memset(pager.region, 0, PAGER_BYTES);
	pager.stop = eventfd(0, EFD_CLOEXEC);
	err = register_region();
	return err ? err : -pthread_create(&pager.thread, NULL, pager_main, NULL);
}

void pager_stop(void)
{
	unsigned long one = 1;

	if (syscall(SYS_write, pager.stop, &one, sizeof(one)) == sizeof(one))
		pthread_join(pager.thread, NULL);
	close(pager.uffd);
	close(pager.stop);
	munmap(pager.region, PAGER_BYTES);
	munmap(pager.store, PAGER_BYTES);
}

char *pager_region(void)
{
	return pager.region;
}

void pager_send_away(void)
{
	memcpy(pager.store, pager.region, PAGER_BYTES);
	madvise(pager.region, PAGER_BYTES, MADV_DONTNEED);
}

unsigned long pager_faults(void)
{
	return atomic_load(&pager.faults);
}

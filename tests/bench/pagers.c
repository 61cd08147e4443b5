// SPDX-License-Identifier: MIT
#include "pagers.h"
#include "bench.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_uffd(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0)
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	bench_need(fd >= 0 && !ioctl(fd, UFFDIO_API, &api), "userfaultfd");
	return fd;
}

static void track(int uffd, char *at, size_t bytes, uint64_t mode)
{
	struct uffdio_register r = { { (uintptr_t)at, bytes }, mode, 0 };

	bench_need(!ioctl(uffd, UFFDIO_REGISTER, &r), "UFFDIO_REGISTER");
}

static void write_access(int uffd, char *at, size_t bytes, bool yes)
{
	struct uffdio_writeprotect w = { { (uintptr_t)at, bytes },
					 yes ? 0 : UFFDIO_WRITEPROTECT_MODE_WP };

	bench_need(!ioctl(uffd, UFFDIO_WRITEPROTECT, &w), "UFFDIO_WRITEPROTECT");
}

static char *next_fault(int uffd)
{
	struct uffd_msg m;

	while (read(uffd, &m, sizeof(m)) != sizeof(m) || m.event != UFFD_EVENT_PAGEFAULT)
		;
	return (char *)(uintptr_t)(m.arg.pagefault.address & ~(BENCH_PAGE - 1));
}

/* -EEXIST: two threads touched it, and the other's message was first. */
static void fill(int uffd, char *at, const char *from)
{
	struct uffdio_copy c = { (uintptr_t)at, (uintptr_t)from, BENCH_PAGE, 0, 0 };
	struct uffdio_range r = { (uintptr_t)at, BENCH_PAGE };

	if (ioctl(uffd, UFFDIO_COPY, &c))
		ioctl(uffd, UFFDIO_WAKE, &r);
}

static char *reserve(size_t bytes, int prot)
{
	char *p = mmap(NULL, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	bench_need(p != MAP_FAILED, "mmap");
	madvise(p, bytes, MADV_NOHUGEPAGE);
	return p;
}

struct fenced_pager {
	char *range, *store, *peer;
	size_t bytes;
	int uffd, peer_uffd;
};

static void send_fd(int to, int fd)
{
	char control[CMSG_SPACE(sizeof(fd))] = "", byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	*c = (struct cmsghdr){ CMSG_LEN(sizeof(fd)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	bench_need(sendmsg(to, &m, 0) == 1, "sendmsg");
}

static int receive_fd(int from)
{
	char control[CMSG_SPACE(sizeof(int))], byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	int fd;

	bench_need(recvmsg(from, &m, 0) == 1 && CMSG_FIRSTHDR(&m), "recvmsg");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

/* Maps the store as a device would, tells how to write-protect it, and stays. */
static void peer(struct fenced_pager *p, int socket)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	p->peer_uffd = open_uffd(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
	track(p->peer_uffd, p->store, p->bytes, UFFDIO_REGISTER_MODE_WP);
	memset(p->store, 2, p->bytes);
	send_fd(socket, p->peer_uffd);
	for (;;)
		pause();
}

static void *fenced_handler(void *arg)
{
	struct fenced_pager *p = arg;
	static _Atomic int n;

	bench_pin(n++);
	for (;;) {
		char *at = next_fault(p->uffd);
		size_t offset = (size_t)(at - p->range);

		write_access(p->peer_uffd, p->store + offset, BENCH_PAGE, false);
		fill(p->uffd, at, p->store + offset);
	}
	return NULL;
}

struct fenced_pager *fenced_pager_start(size_t bytes)
{
	struct fenced_pager *p = calloc(1, sizeof(*p));
	int memory = memfd_create("store", MFD_CLOEXEC), pair[2];
	pthread_t t;

	bench_need(p && memory >= 0 && !ftruncate(memory, (off_t)bytes), "store");
	p->bytes = bytes;
	p->store = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	bench_need(p->store != MAP_FAILED, "mmap");
	bench_need(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
	if (!fork())
		peer(p, pair[1]);
	p->peer_uffd = receive_fd(pair[0]);
	p->range = reserve(bytes, PROT_READ | PROT_WRITE);
	p->uffd = open_uffd(0);
	track(p->uffd, p->range, bytes, UFFDIO_REGISTER_MODE_MISSING);
	for (unsigned int i = 0; i < bench_cpus(); i++)
		bench_need(!pthread_create(&t, NULL, fenced_handler, p), "thread");
	return p;
}

char *fenced_pager_range(struct fenced_pager *p)
{
	return p->range;
}

void fenced_pager_reset(struct fenced_pager *p)
{
	madvise(p->range, p->bytes, MADV_DONTNEED);
	write_access(p->peer_uffd, p->store, p->bytes, true);
}

struct plain_pager {
	char *range, *store;
	size_t bytes;
	int uffd;
};

static void *plain_handler(void *arg)
{
	struct plain_pager *p = arg;

	for (;;) {
		char *at = next_fault(p->uffd);

		fill(p->uffd, at, p->store + (at - p->range));
	}
	return NULL;
}

struct plain_pager *plain_pager_start(size_t bytes)
{
	struct plain_pager *p = calloc(1, sizeof(*p));
	pthread_t t;

	bench_need(p, "memory");
	p->bytes = bytes;
	p->store = bench_pages(bytes, false);
	p->range = reserve(bytes, PROT_READ | PROT_WRITE);
	p->uffd = open_uffd(0);
	track(p->uffd, p->range, bytes, UFFDIO_REGISTER_MODE_MISSING);
	bench_need(!pthread_create(&t, NULL, plain_handler, p), "thread");
	return p;
}

char *plain_pager_range(struct plain_pager *p)
{
	return p->range;
}

void plain_pager_reset(struct plain_pager *p)
{
	madvise(p->range, p->bytes, MADV_DONTNEED);
}

static struct {
	char *range, *store;
	size_t bytes;
} segv;

static void on_segv(int signal, siginfo_t *info, void *context)
{
	char *at = (char *)((uintptr_t)info->si_addr & ~(BENCH_PAGE - 1));

	(void)signal, (void)context;
	if (at < segv.range || at >= segv.range + segv.bytes)
		abort();
	mprotect(at, BENCH_PAGE, PROT_READ | PROT_WRITE);
	memcpy(at, segv.store + (at - segv.range), BENCH_PAGE);
}

void segv_pager_start(size_t bytes)
{
	struct sigaction a = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO };

	segv.bytes = bytes;
	segv.store = bench_pages(bytes, false);
	segv.range = reserve(bytes, PROT_NONE);
	sigaction(SIGSEGV, &a, NULL);
}

char *segv_pager_range(void)
{
	return segv.range;
}

void segv_pager_reset(void)
{
	madvise(segv.range, segv.bytes, MADV_DONTNEED);
	mprotect(segv.range, segv.bytes, PROT_NONE);
}

// SPDX-License-Identifier: MIT
/* Calls by processes that the driver does not serve, and engines that do what they should not. */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 8

/* What a process does of its own; its exit status. It dies with the test. */
static pid_t start(int (*act)(int fd, char *p), int fd, char *p)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(act(fd, p));
	}
	return pid;
}

static int ended(pid_t pid)
{
	int status = -1;

	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

static int in_process(int (*act)(int fd, char *p), int fd, char *p)
{
	int status = ended(start(act, fd, p));

	if (status)
		printf("the process says %d ... ", status);
	return status;
}

/* Every call of somebody else's. The number of the first that is not refused, or 0. */
static int all_refused(int fd, char *p)
{
	struct drm_hmm_query q = { 0 };
	struct drm_hmm_migrate m = { .addr = (uintptr_t)p, .length = PAGE };
	struct drm_hmm_page status;
	struct drm_hmm_pages g = { (uintptr_t)p, 1, (uintptr_t)&status, sizeof(status), 0 };
	struct drm_hmm_engine_create c = { 0 };
	struct drm_hmm_stats s = { 0 };

	if (call(fd, DRM_IOCTL_HMM_QUERY, &q) != -EPERM)
		return 1;
	if (call(fd, DRM_IOCTL_HMM_MIGRATE, &m) != -EPERM)
		return 2;
	if (call(fd, DRM_IOCTL_HMM_PAGES, &g) != -EPERM)
		return 3;
	if (call(fd, DRM_IOCTL_HMM_ENGINE_CREATE, &c) != -EPERM)
		return 4;
	return call(fd, DRM_IOCTL_HMM_STATS, &s) != -EPERM ? 5 : 0;
}

static char *page_there(void)
{
	char *p = map_anonymous(PAGES * PAGE);

	madvise(p, PAGES * PAGE, MADV_NOHUGEPAGE);
	memset(p, 3, PAGES * PAGE);
	CU_ASSERT_EQUAL(migrate(p, PAGES * PAGE, 0), PAGES);
	return p;
}

static void forked(void)
{
	char *p = page_there();

	CU_ASSERT_EQUAL(in_process(all_refused, node, p), 0);
	CU_ASSERT_EQUAL(where(p), 0);
	munmap(p, PAGES * PAGE);
}

int after_exec(int fd)
{
	return all_refused(fd, map_anonymous(PAGE));
}

static int execs(int fd, char *p)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", fd);
	execl("/proc/self/exe", "fuzz", "--after-exec", number, (char *)NULL);
	return p ? 99 : 98;
}

/* A process that is the client and stays the same by its pid is another after exec. */
static int client_execs(int fd, char *p)
{
	close(fd);
	if (client_open() || fcntl(node, F_SETFD, 0))
		return 97;
	return execs(node, p);
}

static void execed(void)
{
	CU_ASSERT_EQUAL(in_process(execs, dup(node), NULL), 0);
	CU_ASSERT_EQUAL(in_process(client_execs, dup(node), NULL), 0);
}

static int send_fd(int to, int fd)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u = { { 0 } };
	struct iovec byte = { "", 1 };
	struct msghdr m = { .msg_iov = &byte,
			    .msg_iovlen = 1,
			    .msg_control = u.room,
			    .msg_controllen = sizeof(u.room) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	return sendmsg(to, &m, 0) == 1 ? 0 : -errno;
}

static int receive_fd(int from)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u;
	char c;
	struct iovec byte = { &c, 1 };
	struct msghdr m = { .msg_iov = &byte,
			    .msg_iovlen = 1,
			    .msg_control = u.room,
			    .msg_controllen = sizeof(u.room) };
	int fd = -1;

	if (recvmsg(from, &m, 0) == 1 && CMSG_FIRSTHDR(&m))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

/* Opens a node of its own, so that its number says nothing, and gets another's as well. */
static int receives(int from, char *p)
{
	int fd;

	if (client_open())
		return 98;
	fd = receive_fd(from);
	return fd < 0 ? 97 : all_refused(fd, p);
}

static void passed(void)
{
	char *p = page_there();
	int ends[2];
	pid_t pid;

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	pid = start(receives, ends[1], p);
	CU_ASSERT_EQUAL(send_fd(ends[0], node), 0);
	CU_ASSERT_EQUAL(ended(pid), 0);
	CU_ASSERT_EQUAL(where(p), 0);
	close(ends[0]);
	close(ends[1]);
	munmap(p, PAGES * PAGE);
}

/* An address is the caller's own, whoever else has something there. */
static int others_address(int fd, char *p)
{
	struct drm_hmm_page status;
	struct drm_hmm_pages g = { (uintptr_t)p, 1, (uintptr_t)&status, sizeof(status), 0 };

	close(fd);
	munmap(p, PAGES * PAGE);
	if (client_open() || migrate(p, PAGE, 1) != -EFAULT ||
	    call(node, DRM_IOCTL_HMM_PAGES, &g) != -EFAULT)
		return 1;
	if (mmap(p, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
	    p)
		return 2;
	return migrate(p, PAGE, 1) == 1 && where(p) == 1 && p[0] == 0 ? 0 : 3;
}

static void addresses(void)
{
	char *p = page_there();

	CU_ASSERT_EQUAL(in_process(others_address, dup(node), p), 0);
	CU_ASSERT(where(p) == 0 && p[0] == 3);
	munmap(p, PAGES * PAGE);
}

static char *map_engine(int fd, char *at, size_t pages)
{
	return mmap(at, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
		    (off_t)(uintptr_t)at);
}

static sigjmp_buf after_signal;

static void on_signal(int signo)
{
	siglongjmp(after_signal, signo);
}

/* The byte at @p, or -signal. */
static int load(const char *p)
{
	int signo = sigsetjmp(after_signal, 1);

	signal(SIGSEGV, on_signal);
	signal(SIGBUS, on_signal);
	return signo ? -signo : *(const volatile unsigned char *)p;
}

static int maps_none(int fd, char *p)
{
	return map_engine(fd, p, 1) == MAP_FAILED && errno == EPERM ? 0 : 1;
}

/* An engine's child has no mapping of it, and may not make one. */
static int childs_load(int fd, char *p)
{
	return load(p) == -SIGSEGV ? maps_none(fd, p) : 2;
}

static int wrong_mappings(int fd, char *p)
{
	const int both = PROT_READ | PROT_WRITE;
	off_t at = (off_t)(uintptr_t)p;

	if (mmap(p, PAGE, both, MAP_PRIVATE | MAP_FIXED, fd, at) != MAP_FAILED || errno != EINVAL)
		return 1;
	if (mmap(p, PAGE, both, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED || errno != EINVAL)
		return 2;
	if (mmap(NULL, PAGE, both, MAP_SHARED, fd, at + (1l << 30)) != MAP_FAILED ||
	    errno != EINVAL)
		return 3;
	return 0;
}

/* An engine that does what it may, and then what it may not. */
static int is_engine(int fd, char *p)
{
	char *q, byte = 0;

	if (wrong_mappings(fd, p))
		return 1;
	if (map_engine(fd, p, PAGES) != p || load(p) != 3)
		return 2;
	if (in_process(childs_load, fd, p))
		return 3;
	/* It stays an engine. */
	if (client_open() != -EPERM)
		return 4;
	if (read(fd, &byte, 1) != -1 || write(fd, &byte, 1) != -1)
		return 5;
	q = mremap(p, PAGES * PAGE, (PAGES + 1) * PAGE, 0);
	if (q != MAP_FAILED)
		return 6;
	q = mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, map_anonymous(PAGE));
	if (q != MAP_FAILED)
		return 7;
	/* A hole in the middle, and both sides go on. */
	if (munmap(p + 2 * PAGE, 2 * PAGE) || load(p + 2 * PAGE) != -SIGSEGV || load(p) != 3 ||
	    load(p + 5 * PAGE) != 3)
		return 8;
	/* Less, and the same place again. */
	if (mremap(p + 4 * PAGE, 4 * PAGE, 2 * PAGE, 0) != p + 4 * PAGE ||
	    load(p + 7 * PAGE) != -SIGSEGV || load(p + 4 * PAGE) != 3)
		return 9;
	if (map_engine(fd, p, PAGES) != p || load(p + 2 * PAGE) != 3 || load(p + 7 * PAGE) != 3)
		return 10;
	return madvise(p, PAGES * PAGE, MADV_DONTNEED) || load(p) == 3 ? 0 : 11;
}

static void engine_mappings(void)
{
	struct drm_hmm_engine_create c = { 0 };
	char *p = page_there();

	CU_ASSERT_EQUAL_FATAL(call(node, DRM_IOCTL_HMM_ENGINE_CREATE, &c), 0);
	/* The client's own is none (and the attempt costs it what it had there). */
	CU_ASSERT_EQUAL(maps_none(c.fd, map_anonymous(PAGE)), 0);
	CU_ASSERT_EQUAL(where(p), 0);
	CU_ASSERT_EQUAL(in_process(is_engine, c.fd, p), 0);
	/* Whoever was first is served, and nobody after. */
	CU_ASSERT_EQUAL(in_process(maps_none, c.fd, p), 0);
	close(c.fd);
	for (int i = 0; i < PAGES; i++)
		CU_ASSERT_EQUAL(p[i * PAGE], 3);
	munmap(p, PAGES * PAGE);
}

static int gives_engine_and_dies(int to, char *p)
{
	struct drm_hmm_engine_create c = { 0 };
	char byte;

	if (client_open() || call(node, DRM_IOCTL_HMM_ENGINE_CREATE, &c))
		return 1;
	memset(p, 3, PAGES * PAGE);
	return send_fd(to, c.fd) || migrate(p, PAGE, 0) != 1 || read(to, &byte, 1) != 1;
}

static int outlives(int fd, char *p)
{
	int ends[2], engine;
	pid_t client;

	close(fd);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
		return 1;
	client = start(gives_engine_and_dies, ends[1], p);
	engine = receive_fd(ends[0]);
	if (map_engine(engine, p, PAGES) != p || load(p) != 3 || load(p + PAGE) != 3)
		return 2;
	if (write(ends[0], "", 1) != 1 || ended(client))
		return 3;
	/* What it had mapped, and what not. */
	if (load(p) != -SIGBUS || load(p + PAGE) != -SIGBUS || load(p + 2 * PAGE) != -SIGBUS)
		return 4;
	/* It cannot become a client while its descriptor is open; then it can. */
	if (client_open() != -EPERM)
		return 5;
	munmap(p, PAGES * PAGE);
	close(engine);
	return client_open() ? 6 : 0;
}

static void clients_death(void)
{
	char *p = map_anonymous(PAGES * PAGE);

	CU_ASSERT_EQUAL(in_process(outlives, dup(node), p), 0);
	munmap(p, PAGES * PAGE);
}

void add_other_tests(CU_pSuite s)
{
	CU_add_test(s, "an inherited node", forked);
	CU_add_test(s, "a node after exec", execed);
	CU_add_test(s, "a node that was passed on", passed);
	CU_add_test(s, "addresses of another's", addresses);
	CU_add_test(s, "mappings of an engine", engine_mappings);
	CU_add_test(s, "an engine outlives its client", clients_death);
}

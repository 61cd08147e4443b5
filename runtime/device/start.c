// SPDX-License-Identifier: MIT
/*
 * The start of a device's engine process, up to its first message.
 *
 * It is started by a vfork-like clone without an exit signal: fork() would leave every
 * page of the client shared with a child for a moment (UFFDIO_MOVE refuses those for
 * good), and the application's wait() must not meet a child that it never made.
 */
#include "device/proc.h"
#include "os/arena.h"
#include "os/log.h"
#include "os/sys.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_MS 120000u /* one that dies is seen at once; this is for one that is only slow */
#define SPAWN_STACK (64u << 10)

#ifndef HMM_ENGINE_INSTALLED
#define HMM_ENGINE_INSTALLED "../libexec/hmm/hmm-engine"
#endif

/* Beside the library in the build tree, in libexec when installed; or HMM_ENGINE. */
static int find_engine(char *path, size_t size)
{
	static const char *const places[] = { "../bin/hmm-engine", "hmm-engine",
					      HMM_ENGINE_INSTALLED,
					      "../../libexec/hmm/hmm-engine" };
	const char *want = secure_getenv("HMM_ENGINE");
	const char *slash;
	Dl_info self;

	if (want) {
		snprintf(path, size, "%s", want);
		return access(path, X_OK) ? -ENOENT : 0;
	}
	if (!dladdr((void *)(uintptr_t)find_engine, &self) || !self.dli_fname)
		return -ENOENT;
	slash = strrchr(self.dli_fname, '/');
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		int len = slash ? (int)(slash - self.dli_fname) : 1;

		if (places[i][0] == '/')
			snprintf(path, size, "%s", places[i]);
		else
			snprintf(path, size, "%.*s/%s", len, slash ? self.dli_fname : ".",
				 places[i]);
		if (!access(path, X_OK))
			return 0;
	}
	return -ENOENT;
}

struct spawn {
	const char *path;
	char *argv[12], **env;
	char *stack;
	int control, driver; /* what it inherits */
	bool with_driver;
	int pid;
	int error;
};

/* Under the number that the engine knows, and not closed by execve(). */
static int hand_over(int fd, int number)
{
	if (fd == number)
		return fcntl(fd, F_SETFD, 0);
	if (dup2(fd, number) >= 0)
		return 0;
	if (errno == EBADF)
		errno = EMFILE; /* the number is beyond the limit, or a dup() before failed */
	return -1;
}

/* In the engine-to-be, which shares the client's memory until it executes. */
static int spawn_engine(void *arg)
{
	struct spawn *s = arg;
	uint64_t none = 0;

	/* Out of the way first: either may have the other's number. */
	if (s->driver == HMM_ENGINE_CTL_FD)
		s->driver = dup(s->driver);
	if (s->driver >= 0 && s->control == HMM_ENGINE_DRIVER_FD)
		s->control = dup(s->control);
	if (hand_over(s->control, HMM_ENGINE_CTL_FD) ||
	    (s->with_driver && hand_over(s->driver, HMM_ENGINE_DRIVER_FD)))
		goto failed;
	os_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8);
	execve(s->path, s->argv, s->env);
failed:
	s->error = errno;
	_exit(127);
}

typedef int clone_fn(int (*fn)(void *), void *stack, int flags, void *arg, ...);

/* ThreadSanitizer takes the child for a copy, and from then on sees no lock of the parent. */
static clone_fn *plain_clone(void)
{
#ifdef __SANITIZE_THREAD__
	return (clone_fn *)dlsym(RTLD_NEXT, "clone");
#else
	return clone;
#endif
}

/* A child between: when it ends, the engine is no child of the application's. */
static int spawn_parent(void *arg)
{
	struct spawn *s = arg;

	s->pid = plain_clone()(spawn_engine, s->stack + SPAWN_STACK,
			       CLONE_VM | CLONE_VFORK | SIGCHLD, s);
	if (s->pid < 0)
		s->error = errno;
	_exit(0);
}

static int spawn(struct spawn *s)
{
	sigset_t all, old;
	int pid;

	s->stack = os_alloc(2 * SPAWN_STACK);
	if (!s->stack)
		return -ENOMEM;
	/* A handler of the application must not run in the children. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pid = plain_clone()(spawn_parent, s->stack + 2 * SPAWN_STACK, CLONE_VM | CLONE_VFORK, s);
	if (pid < 0)
		s->error = errno;
	else
		while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	os_free(s->stack, 2 * SPAWN_STACK);
	return s->error ? -s->error : s->pid;
}

/* Whatever came is ours to close. */
static unsigned int received(struct msghdr *m, int fds[HMM_PROC_FDS])
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);
	unsigned int n;

	if (!c || c->cmsg_type != SCM_RIGHTS)
		return 0;
	n = (unsigned int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
	memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	return n;
}

static int check_hello(const struct hmm_engine_hello *hello, ssize_t got, int flags,
		       bool as_expected)
{
	if (got < (ssize_t)(2 * sizeof(uint32_t)) || hello->magic != HMM_ENGINE_MAGIC ||
	    hello->proto != HMM_ENGINE_PROTO || got != sizeof(*hello))
		return -EPROTO;
	if (hello->error)
		return hello->error;
	if (flags & MSG_CTRUNC)
		return -EMFILE; /* no room for its descriptors here */
	return as_expected ? 0 : -EPROTO;
}

/* The application's timers do not end its wait, nor make it longer. */
static int wait_for(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t until = os_now_ns() + START_MS * 1000000ull, now;
	int n;

	do {
		now = os_now_ns();
		n = poll(&p, 1, now < until ? (int)((until - now) / 1000000) : 0);
	} while (n < 0 && errno == EINTR);
	return n == 1 ? 0 : n ? -errno : -ETIMEDOUT;
}

static int receive_hello(int fd, int fds[HMM_PROC_FDS], unsigned int expected)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(HMM_PROC_FDS * sizeof(int))];
	} control;
	struct hmm_engine_hello hello = { 0 };
	struct iovec iov = { &hello, sizeof(hello) };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.bytes,
			    .msg_controllen = sizeof(control.bytes) };
	unsigned int n;
	ssize_t got;
	int err = wait_for(fd);

	if (err)
		return err;
	do {
		got = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	n = got < 0 ? 0 : received(&m, fds);
	err = check_hello(&hello, got, m.msg_flags, n == expected);
	while (err && n)
		os_close(fds[--n]);
	return err;
}

static int adopt(struct hmm_proc *p, int pid, int pidfd, int control, int shared_fd)
{
	uintptr_t at = os_mmap(0, HMM_ENGINE_SHARED_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
			       shared_fd, 0);

	os_close(shared_fd);
	if (os_is_error(at))
		return -ENOMEM;
	os_madvise(at, HMM_ENGINE_SHARED_BYTES, MADV_DONTFORK);
	os_mutex_lock(&p->fault_lock);
	p->pid = pid;
	p->pidfd = pidfd;
	p->shared = (struct hmm_engine_shared *)at;
	p->control_fd = control;
	atomic_store(&p->served, 0);
	atomic_store(&p->served_pages, 0);
	/* Here, and not when it runs: no late fault of the one before is taken for its. */
	atomic_fetch_add(&p->generation, 1);
	os_mutex_unlock(&p->fault_lock);
	return 0;
}

/* Its first message; @kept receives what came beside the shared page. */
static int greet(struct hmm_proc *p, int pid, int pidfd, int control, int *kept,
		 unsigned int n_kept)
{
	int fds[HMM_PROC_FDS] = { -1, -1, -1 };
	int err = n_kept < HMM_PROC_FDS ? receive_hello(control, fds, 1 + n_kept) : -EINVAL;

	if (err)
		return err;
	err = adopt(p, pid, pidfd, control, fds[0]);
	for (unsigned int i = 0; i < n_kept; i++)
		if (err)
			os_close(fds[1 + i]);
		else
			kept[i] = fds[1 + i];
	return err;
}

int hmm_proc_start(struct hmm_proc *p, const struct hmm_proc_options *o, int *kept,
		   unsigned int n_kept)
{
	char path[512], client[16], index[16], bytes[32];
	char *plain[] = { "PATH=/usr/bin:/bin", NULL }; /* its compiler needs a linker */
	/* The engine has our memory: who may not choose what we load does not for it either. */
	struct spawn s = { .path = path,
			   .env = getauxval(AT_SECURE) ? plain : environ,
			   .driver = o->driver_fd,
			   .with_driver = o->driver_fd >= 0 };
	int pair[2];
	int err = find_engine(path, sizeof(path)), pid, pidfd;

	if (err) {
		hmm_log(HMM_LOG_ERROR, "no hmm-engine binary (HMM_ENGINE names one)");
		return err;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	snprintf(client, sizeof(client), "%d", getpid());
	snprintf(index, sizeof(index), "%u", p->index);
	snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)o->bytes);
	s.control = pair[1];
	s.argv[0] = path;
	s.argv[1] = "--client", s.argv[2] = client;
	s.argv[3] = "--device", s.argv[4] = index;
	s.argv[5] = "--bytes", s.argv[6] = bytes;
	s.argv[7] = o->driver_fd >= 0 ? "--driver" : o->user_only ? "--user-mode-only" : NULL;
	pid = spawn(&s);
	os_close(pair[1]);
	pidfd = pid < 0 ? pid : (int)os_syscall2(SYS_pidfd_open, pid, 0);
	if (pidfd < 0) {
		os_close(pair[0]); /* which ends the engine, if there is one */
		return pidfd;
	}
	err = greet(p, pid, pidfd, pair[0], kept, n_kept);
	if (err) {
		hmm_log(HMM_LOG_ERROR, "hmm-engine %s did not start (%d)", path, err);
		os_close(pair[0]);
		hmm_proc_kill(pidfd);
	}
	return err;
}

void hmm_proc_run(struct hmm_proc *p)
{
	atomic_store(&p->state, HMM_PROC_RUNNING);
}

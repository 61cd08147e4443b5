// SPDX-License-Identifier: MIT
/*
 * The start of a device's engine process, up to its first message.
 *
 * It is started by a vfork-like clone without an exit signal: fork() would leave every
 * page of the client shared with a child for a moment (UFFDIO_MOVE refuses those for
 * good), and the application's wait() must not meet a child that it never made.
 */
#include "emulated/emu.h"
#include "os/arena.h"
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
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_MS 20000
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
	const char *want = getenv("HMM_ENGINE");
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
	char *argv[12];
	char *stack;
	int control;
	int pid;
	int error;
};

/* In the engine-to-be, which shares the client's memory until it executes. */
static int spawn_engine(void *arg)
{
	struct spawn *s = arg;
	uint64_t none = 0;

	if (s->control == HMM_ENGINE_CTL_FD)
		fcntl(s->control, F_SETFD, 0);
	else if (dup2(s->control, HMM_ENGINE_CTL_FD) < 0)
		goto failed;
	os_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8);
	execve(s->path, s->argv, environ);
failed:
	s->error = errno;
	_exit(127);
}

/* A child between: when it ends, the engine is no child of the application's. */
static int spawn_parent(void *arg)
{
	struct spawn *s = arg;

	s->pid = clone(spawn_engine, s->stack + SPAWN_STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, s);
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
	pid = clone(spawn_parent, s->stack + 2 * SPAWN_STACK, CLONE_VM | CLONE_VFORK, s);
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
static unsigned int received(struct msghdr *m, int fds[3])
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
		       unsigned int n_fds)
{
	if (got < (ssize_t)(2 * sizeof(uint32_t)) || hello->magic != HMM_ENGINE_MAGIC ||
	    hello->proto != HMM_ENGINE_PROTO || got != sizeof(*hello))
		return -EPROTO;
	if (hello->error)
		return hello->error;
	if (flags & MSG_CTRUNC)
		return -EMFILE; /* no room for its descriptors here */
	return n_fds == 3 ? 0 : -EPROTO;
}

static int receive_hello(int fd, struct hmm_engine_hello *hello, int fds[3])
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(3 * sizeof(int))];
	} control;
	struct iovec iov = { hello, sizeof(*hello) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
			    .msg_controllen = sizeof(control.bytes) };
	struct pollfd p = { .fd = fd, .events = POLLIN };
	unsigned int n;
	ssize_t got;
	int err;

	if (poll(&p, 1, START_MS) != 1)
		return -ETIMEDOUT;
	got = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	n = got < 0 ? 0 : received(&m, fds);
	err = check_hello(hello, got, m.msg_flags, n);
	while (err && n)
		os_close(fds[--n]);
	return err;
}

static int adopt(struct emu_device *d, int pid, int pidfd, int control, const int fds[3])
{
	uintptr_t p = os_mmap(0, HMM_ENGINE_SHARED_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
			      fds[2], 0);

	os_close(fds[2]);
	if (os_is_error(p)) {
		os_close(fds[0]);
		os_close(fds[1]);
		return -ENOMEM;
	}
	os_madvise(p, HMM_ENGINE_SHARED_BYTES, MADV_DONTFORK);
	d->pid = pid;
	d->pidfd = pidfd;
	d->shared = (struct hmm_engine_shared *)p;
	d->control_fd = control;
	d->memory_fd = fds[0];
	d->uffd = fds[1];
	atomic_store(&d->served, 0);
	atomic_store(&d->served_pages, 0);
	atomic_store(&d->frames, 0);
	atomic_fetch_add(&d->generation, 1);
	atomic_store(&d->state, EMU_DEVICE_RUNNING);
	return 0;
}

int emu_engine_start(struct emu_device *d)
{
	char path[512], client[16], index[16], bytes[32];
	struct spawn s = { .path = path };
	struct hmm_engine_hello hello = { 0 };
	int pair[2], fds[3];
	int err = find_engine(path, sizeof(path)), pid, pidfd;

	if (err) {
		hmm_log(HMM_LOG_ERROR, "no hmm-engine binary (HMM_ENGINE names one)");
		return err;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	snprintf(client, sizeof(client), "%d", getpid());
	snprintf(index, sizeof(index), "%u", d->index);
	snprintf(bytes, sizeof(bytes), "%llu",
		 (unsigned long long)(d->capacity << HMM_PAGE_SHIFT));
	s.control = pair[1];
	s.argv[0] = path;
	s.argv[1] = "--client", s.argv[2] = client;
	s.argv[3] = "--device", s.argv[4] = index;
	s.argv[5] = "--bytes", s.argv[6] = bytes;
	s.argv[7] = emu.user_only ? "--user-mode-only" : NULL;
	pid = spawn(&s);
	os_close(pair[1]);
	pidfd = pid < 0 ? pid : (int)os_syscall2(SYS_pidfd_open, pid, 0);
	if (pidfd < 0) {
		os_close(pair[0]); /* which ends the engine, if there is one */
		return pidfd;
	}
	err = receive_hello(pair[0], &hello, fds);
	if (!err)
		err = adopt(d, pid, pidfd, pair[0], fds);
	if (err) {
		hmm_log(HMM_LOG_ERROR, "hmm-engine %s did not start (%d)", path, err);
		os_close(pair[0]);
		emu_engine_end(pidfd);
	}
	return err;
}


// SPDX-License-Identifier: MIT
/*
 * The engine process of a device: start, handshake, requests, death.
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

static int receive_hello(int fd, struct hmm_engine_hello *hello, int fds[3])
{
	char control[CMSG_SPACE(3 * sizeof(int))];
	struct iovec iov = { hello, sizeof(*hello) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof(control) };
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct cmsghdr *c;
	ssize_t got;

	if (poll(&p, 1, START_MS) != 1)
		return -ETIMEDOUT;
	got = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	if (got < (ssize_t)(2 * sizeof(uint32_t)) || hello->magic != HMM_ENGINE_MAGIC ||
	    hello->proto != HMM_ENGINE_PROTO)
		return -EPROTO;
	if (got != sizeof(*hello))
		return -EPROTO;
	if (hello->error)
		return hello->error;
	if (m.msg_flags & MSG_CTRUNC)
		return -EMFILE; /* no room for its descriptors here */
	c = CMSG_FIRSTHDR(&m);
	if (!c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(3 * sizeof(int)))
		return -EPROTO;
	memcpy(fds, CMSG_DATA(c), 3 * sizeof(int));
	return 0;
}

static int adopt(struct emu_device *d, int pid, int pidfd, int control, const int fds[3])
{
	uintptr_t p = os_mmap(0, HMM_ENGINE_SHARED_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
			      fds[2], 0);

	os_close(fds[2]);
	if (os_is_error(p))
		return -ENOMEM;
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

/* Not our child, so there is no status to collect; but its stores must be over. */
static void end(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	os_syscall4(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	os_close(pidfd);
}

int emu_engine_start(struct emu_device *d)
{
	char path[512], client[16], index[16], bytes[32];
	struct spawn s = { .path = path };
	struct hmm_engine_hello hello = { 0 };
	int pair[2], fds[3] = { -1, -1, -1 };
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
		end(pidfd);
		for (int i = 0; i < 3 && d->pidfd != pidfd; i++)
			if (fds[i] >= 0 && err != -ENOMEM)
				os_close(fds[i]);
	}
	return err;
}

/* Everything of the engine but what it left in device memory. */
static void release(struct emu_device *d)
{
	end(d->pidfd);
	os_close(d->control_fd);
	os_close(d->uffd);
	os_munmap(d->shared, HMM_ENGINE_SHARED_BYTES);
	d->pid = 0;
	d->control_fd = d->pidfd = d->uffd = -1;
	d->shared = NULL;
}

/* Locking: mirror exclusively. Device memory is empty: forget its frames. */
static void forget_frames(struct emu_device *d)
{
	struct hmm_block *b;

	for (uintptr_t at = 0; (b = hmm_block_next(&emu.table, at, 1ul << HMM_VA_BITS));
	     at = b->start + HMM_BLOCK_BYTES) {
		struct hmm_block_device *n = &b->dev[d->index];

		hmm_lru_remove(&emu.table, b, d->index);
		n->frames = n->copies = (struct hmm_bits){ 0 };
		n->native = false;
	}
	emu_windows_unmap_device(d->index);
	os_close(d->memory_fd);
	d->memory_fd = -1;
	atomic_store(&d->frames, 0);
}

void emu_engine_stop(struct emu_device *d)
{
	if (atomic_load(&d->state) == EMU_DEVICE_OFF)
		return;
	atomic_store(&d->state, EMU_DEVICE_OFF);
	if (d->pid)
		release(d);
	emu_exclusive_lock();
	if (d->memory_fd >= 0)
		forget_frames(d);
	emu_exclusive_unlock();
	emu_remote_forget(d);
}

/*
 * The pidfd is readable: every thread of the engine has ended, so none of its stores
 * is still under way. What it left in device memory comes home. Runs on a handler; the
 * state decides which handler of those that saw it does the work.
 */
void emu_engine_died(struct emu_device *d)
{
	unsigned int state = EMU_DEVICE_RUNNING, next = EMU_DEVICE_LOST;
	struct pollfd p = { .fd = d->pidfd, .events = POLLIN };
	struct timespec now = { 0, 0 };
	int err;

	/* The news may be of an engine that was replaced meanwhile. */
	if (os_syscall5(SYS_ppoll, &p, 1, &now, NULL, 8) != 1)
		return;

	os_mutex_lock(&d->fault_lock);
	if (d->fault_valid && d->fault.generation == atomic_load(&d->generation))
		next = EMU_DEVICE_RESET;
	os_mutex_unlock(&d->fault_lock);
	if (!atomic_compare_exchange_strong(&d->state, &state, next))
		return;
	if (next == EMU_DEVICE_LOST)
		hmm_log(HMM_LOG_ERROR, "device %u: its engine (pid %d) died; pages come home",
			d->index, d->pid);
	err = emu_home_device(d);
	if (err)
		hmm_log(HMM_LOG_ERROR, "device %u: not everything came home (%d)", d->index, err);
}

/* One request and its answer. Locking: none that the engine's faults could need. */
int emu_engine_request(struct emu_device *d, const struct hmm_engine_msg *msg, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct hmm_engine_reply reply = { 0 };
	struct iovec iov = { (void *)(uintptr_t)msg, sizeof(*msg) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	long got;

	if (fd >= 0) {
		struct cmsghdr *c;

		m.msg_control = control.bytes;
		m.msg_controllen = sizeof(control.bytes);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		os_copy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	if (!emu_device_up(d))
		return -ENODEV;
	os_mutex_lock(&d->control_lock);
	got = os_syscall3(SYS_sendmsg, d->control_fd, &m, MSG_NOSIGNAL);
	if (got == sizeof(*msg))
		got = os_read(d->control_fd, &reply, sizeof(reply));
	os_mutex_unlock(&d->control_lock);
	if (got != sizeof(reply) || reply.magic != HMM_ENGINE_MAGIC)
		return -ENODEV;
	return reply.result;
}

/* Post to a mailbox and wait, as long as the engine lives. Locking: the mailbox's. */
static int post(struct emu_device *d, struct hmm_engine_mbox *m)
{
	uint32_t *state = (uint32_t *)&m->state;

	__atomic_store_n(state, HMM_MBOX_REQUEST, __ATOMIC_RELEASE);
	os_futex_wake(state, 1, true);
	while (__atomic_load_n(state, __ATOMIC_ACQUIRE) == HMM_MBOX_REQUEST) {
		struct pollfd p = { .fd = d->pidfd, .events = POLLIN };
		struct timespec now = { 0, 0 };

		if (os_futex_wait(state, HMM_MBOX_REQUEST, 5000000, true) != -ETIMEDOUT)
			continue;
		if (os_syscall5(SYS_ppoll, &p, 1, &now, NULL, 8) == 1)
			return -ENODEV; /* it is dead, so nothing is mapped there any more */
	}
	__atomic_store_n(state, HMM_MBOX_IDLE, __ATOMIC_RELEASE);
	return m->result;
}

int emu_engine_agent(struct emu_device *d, uint32_t op, uintptr_t start, size_t len)
{
	unsigned int n = os_mutex_trylock(&d->agent_lock[0]) ? 0 : 1;
	struct hmm_engine_mbox *m = &d->shared->agent[n];
	int err;

	if (n)
		os_mutex_lock(&d->agent_lock[n]);
	m->op = op;
	m->start = start;
	m->length = len;
	err = post(d, m);
	os_mutex_unlock(&d->agent_lock[n]);
	return err;
}

/* Page by page what is in the buffer must not fault while the mailbox is ours. */
static long io_chunk(struct emu_device *d, uintptr_t addr, char *buffer, size_t n, bool write)
{
	struct hmm_engine_mbox *m = &d->shared->io;
	char *data = (char *)d->shared + HMM_ENGINE_IO_OFFSET;
	long done;

	if (write)
		memcpy(data, buffer, n);
	m->op = write ? HMM_ENGINE_IO_WRITE : HMM_ENGINE_IO_READ;
	m->start = addr;
	m->length = n;
	done = post(d, m);
	if (done > 0 && !write)
		memcpy(buffer, data, (size_t)done);
	return done;
}

long emu_device_io(unsigned int device, uintptr_t addr, char *buffer, size_t length, bool write)
{
	struct emu_device *d = &emu.device[device];
	size_t total = 0;
	long n = 0;

	emu_remote_revalidate(d);
	os_mutex_lock(&d->io_lock);
	if (!emu_device_up(d))
		n = -ENODEV;
	while (n >= 0 && total < length) {
		size_t want = length - total;

		if (want > HMM_ENGINE_IO_BYTES)
			want = HMM_ENGINE_IO_BYTES;
		n = io_chunk(d, addr + total, buffer + total, want, write);
		if (n > 0)
			total += (size_t)n;
		if (n < (long)want)
			break;
	}
	os_mutex_unlock(&d->io_lock);
	return total ? (long)total : n;
}

/*
 * A device access that cannot be. hmm_device_read() and _write() end with what they
 * did so far; a kernel ends with its engine, which starts again for the next launch.
 */
void emu_engine_invalid(struct emu_device *d, uint64_t addr, int write, uint32_t tid,
			const char *reason)
{
	size_t i = 0;

	emu_count(d, EMU_INVALID, 1);
	if (tid && tid == __atomic_load_n((uint32_t *)&d->shared->io_tid, __ATOMIC_ACQUIRE)) {
		__atomic_store_n((uint32_t *)&d->shared->io_abort, 1, __ATOMIC_RELEASE);
		os_syscall3(SYS_tgkill, d->pid, tid, HMM_ENGINE_SIG_ABORT);
		return;
	}
	os_mutex_lock(&d->fault_lock);
	if (!d->fault_valid || d->fault.generation != atomic_load(&d->generation)) {
		d->fault = (struct hmm_device_fault){
			.address = addr,
			.write = (uint32_t)write,
			.generation = atomic_load(&d->generation),
			.device_faults = atomic_load(&d->served),
			.pages = atomic_load(&d->served_pages),
		};
		for (; reason[i] && i < sizeof(d->fault.reason) - 1; i++)
			d->fault.reason[i] = reason[i];
		d->fault_valid = true;
		hmm_log(HMM_LOG_ERROR, "device %u: invalid %s at %lx: %s", d->index,
			write ? "store" : "load", addr, reason);
	}
	os_mutex_unlock(&d->fault_lock);
	os_syscall4(SYS_pidfd_send_signal, d->pidfd, SIGKILL, NULL, 0);
}

// SPDX-License-Identifier: MIT
/* The engine process of a device: its end, and what front ends see of it. */
#include "device/proc.h"
#include "os/log.h"
#include "os/sys.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

void hmm_proc_init(struct hmm_proc *p, unsigned int index)
{
	*p = (struct hmm_proc){ .index = index, .pidfd = -1, .control_fd = -1 };
}

/* Not our child, so there is no status to collect; but its stores must be over. */
static void end(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	os_syscall4(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
}

void hmm_proc_kill(int pidfd)
{
	end(pidfd);
	os_close(pidfd);
}

/*
 * Who waits for an answer sees that the engine is dead, and lets go of its lock. Who takes one
 * later finds nothing up, or no shared page: the numbers of what is closed here are soon those of
 * the application's files.
 */
void hmm_proc_release(struct hmm_proc *p)
{
	if (!p->pid)
		return;
	end(p->pidfd);
	os_mutex_lock(&p->io_lock);
	os_mutex_lock(&p->control_lock);
	os_mutex_lock(&p->fault_lock);
	os_close(p->pidfd);
	os_close(p->control_fd);
	os_munmap(p->shared, HMM_ENGINE_SHARED_BYTES);
	p->shared = NULL;
	p->pid = 0;
	p->pidfd = -1;
	p->control_fd = -1;
	os_mutex_unlock(&p->fault_lock);
	os_mutex_unlock(&p->control_lock);
	os_mutex_unlock(&p->io_lock);
}

void hmm_proc_forget(struct hmm_proc *p)
{
	if (p->control_fd >= 0)
		os_close(p->control_fd);
	if (p->pidfd >= 0)
		os_close(p->pidfd);
	hmm_proc_init(p, p->index);
}

/* Locking: p->fault_lock. The first of an engine's life counts. */
static void note_fault(struct hmm_proc *p, uint64_t addr, uint32_t write, const char *reason)
{
	unsigned int generation = atomic_load(&p->generation);
	size_t i = 0;

	if (p->fault_valid && p->fault.generation == generation)
		return;
	p->fault = (struct hmm_device_fault){
		.address = addr,
		.write = write,
		.generation = generation,
		.device_faults = atomic_load(&p->served),
		.pages = atomic_load(&p->served_pages),
	};
	for (; reason[i] && i < sizeof(p->fault.reason) - 1; i++)
		p->fault.reason[i] = reason[i];
	p->fault_valid = true;
	hmm_log(HMM_LOG_INFO, "device %u: invalid %s at %lx: %s", p->index,
		write == 1 ? "store" : "access", addr, reason);
}

/* Did the engine end because of what a kernel did? Locking: p->fault_lock. */
static void look_at_crash(struct hmm_proc *p)
{
	const struct hmm_engine_crash *c = &p->shared->crash;
	const char *reason = "no memory for a device, or only to be read";

	if (__atomic_load_n(&c->state, __ATOMIC_ACQUIRE) != HMM_CRASH_VALID) {
		if (__atomic_load_n(&p->shared->cl_busy, __ATOMIC_ACQUIRE))
			note_fault(p, 0, 2, "the engine ended while it built or ran a kernel");
		return;
	}
	if (c->signal == SIGBUS)
		reason = "beyond the end of a file";
	else if (c->signal != SIGSEGV)
		reason = "the kernel computed or executed what cannot be";
	atomic_fetch_add(&p->invalid, 1);
	note_fault(p, c->address, c->write, reason);
}

/* Locking: p->fault_lock. */
static bool has_ended(const struct hmm_proc *p)
{
	struct pollfd end = { .fd = p->pidfd, .events = POLLIN };
	struct timespec now = { 0, 0 };

	return p->pidfd >= 0 && os_syscall5(SYS_ppoll, &end, 1, &now, NULL, 8) == 1;
}

bool hmm_proc_died(struct hmm_proc *p)
{
	unsigned int state = HMM_PROC_RUNNING, next = HMM_PROC_LOST;
	bool first = false;

	os_mutex_lock(&p->fault_lock);
	/* The news may be of an engine that was replaced meanwhile. */
	if (has_ended(p)) {
		look_at_crash(p);
		if (p->fault_valid && p->fault.generation == atomic_load(&p->generation))
			next = HMM_PROC_RESET;
		first = atomic_compare_exchange_strong(&p->state, &state, next);
	}
	if (first && next == HMM_PROC_LOST)
		hmm_log(HMM_LOG_ERROR, "device %u: its engine (pid %d) died; pages come home",
			p->index, p->pid);
	os_mutex_unlock(&p->fault_lock);
	return first;
}

/*
 * hmm_device_read() and _write() end with what they did so far; a kernel ends with its engine,
 * which starts again for the next launch.
 */
void hmm_proc_invalid(struct hmm_proc *p, unsigned int generation, uint64_t addr, int write,
		      uint32_t tid, const char *reason)
{
	os_mutex_lock(&p->fault_lock);
	/* An engine that came after has done nothing wrong. */
	if (!p->shared || generation != atomic_load(&p->generation) || has_ended(p))
		goto out;
	atomic_fetch_add(&p->invalid, 1);
	if (tid && tid == __atomic_load_n(&p->shared->io_tid, __ATOMIC_ACQUIRE)) {
		hmm_log(HMM_LOG_INFO, "device %u: no access at %lx: %s", p->index,
			(unsigned long)addr, reason);
		__atomic_store_n(&p->shared->io_abort, 1, __ATOMIC_RELEASE);
		os_syscall3(SYS_tgkill, p->pid, tid, HMM_ENGINE_SIG_ABORT);
	} else {
		note_fault(p, addr, (uint32_t)write, reason);
		os_syscall4(SYS_pidfd_send_signal, p->pidfd, SIGKILL, NULL, 0);
	}
out:
	os_mutex_unlock(&p->fault_lock);
}

/* Its end of the socket is closed before the pidfd is readable. Locking: p->fault_lock. */
static bool has_closed(const struct hmm_proc *p)
{
	struct pollfd f[2] = { { .fd = p->pidfd, .events = POLLIN }, { .fd = p->control_fd } };
	struct timespec now = { 0, 0 };

	return os_syscall5(SYS_ppoll, f, 2, &now, NULL, 8) > 0;
}

static bool is_ending(struct hmm_proc *p)
{
	bool ending;

	os_mutex_lock(&p->fault_lock);
	ending = p->fault_valid && p->fault.generation == atomic_load(&p->generation);
	ending |= p->shared && __atomic_load_n(&p->shared->crash.state, __ATOMIC_ACQUIRE);
	ending |= has_closed(p);
	os_mutex_unlock(&p->fault_lock);
	return ending;
}

/* An engine's socket breaks a moment before a handler sees it dead, which has much to do perhaps. */
static unsigned int settled_state(struct hmm_proc *p)
{
	for (int i = 0; i < 60000; i++) {
		if (!hmm_proc_up(p) || !is_ending(p))
			break;
		os_sleep_ns(1000000);
	}
	return atomic_load(&p->state);
}

int hmm_proc_renew(struct hmm_proc *p, int (*restart)(unsigned int), unsigned int generation)
{
	unsigned int state = settled_state(p);
	int err = 0;

	/* Off: another thread is at it. */
	if (state != HMM_PROC_RUNNING && state != HMM_PROC_LOST)
		err = restart(p->index);
	if (err)
		return err;
	return hmm_proc_up(p) && generation != atomic_load(&p->generation) ? 0 : -ENODEV;
}

static int try_connect(struct hmm_proc *p, int *fd, unsigned int generation)
{
	struct hmm_engine_msg msg = { .magic = HMM_ENGINE_MAGIC, .op = HMM_ENGINE_CONNECT };
	int pair[2], err;

	if (settled_state(p) != HMM_PROC_RUNNING)
		return -ENODEV;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	err = hmm_proc_request(p, &msg, pair[1]);
	os_close(pair[1]);
	if (!err && generation != atomic_load(&p->generation))
		err = -ENODEV; /* of an engine that was replaced meanwhile, or of the next */
	if (err)
		os_close(pair[0]);
	else
		*fd = pair[0];
	return err;
}

int hmm_proc_connect(struct hmm_proc *p, int (*restart)(unsigned int), int *fd,
		     unsigned int *generation)
{
	unsigned int now;
	int err;

	do {
		now = atomic_load(&p->generation);
		err = try_connect(p, fd, now);
	} while (err == -ENODEV && !(err = hmm_proc_renew(p, restart, now)));
	if (!err)
		*generation = now;
	return err;
}

int hmm_proc_launch_end(struct hmm_proc *p, unsigned int generation, struct hmm_device_fault *fault)
{
	unsigned int state = settled_state(p);
	int ended = 0;

	os_mutex_lock(&p->fault_lock);
	if (p->fault_valid && p->fault.generation == generation) {
		*fault = p->fault;
		ended = 1;
	}
	os_mutex_unlock(&p->fault_lock);
	return !ended && state == HMM_PROC_LOST ? -ENODEV : ended;
}

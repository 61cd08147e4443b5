// SPDX-License-Identifier: MIT
/* The engine process of a device while it runs: requests, mailboxes, device I/O, death. */
#include "emulated/emu.h"
#include "os/arena.h"
#include "os/sys.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

/* Not our child, so there is no status to collect; but its stores must be over. */
void emu_engine_end(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	os_syscall4(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	os_close(pidfd);
}

/* Everything of the engine but what it left in device memory. */
static void release(struct emu_device *d)
{
	emu_engine_end(d->pidfd);
	os_close(d->control_fd);
	os_close(d->uffd);
	os_mutex_lock(&d->fault_lock);
	os_munmap(d->shared, HMM_ENGINE_SHARED_BYTES);
	d->shared = NULL;
	os_mutex_unlock(&d->fault_lock);
	d->pid = 0;
	d->control_fd = d->pidfd = d->uffd = -1;
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

/* Locking: d->fault_lock. The first of an engine's life counts. */
static void note_fault(struct emu_device *d, uint64_t addr, uint32_t write, const char *reason)
{
	unsigned int generation = atomic_load(&d->generation);
	size_t i = 0;

	if (d->fault_valid && d->fault.generation == generation)
		return;
	d->fault = (struct hmm_device_fault){
		.address = addr,
		.write = write,
		.generation = generation,
		.device_faults = atomic_load(&d->served),
		.pages = atomic_load(&d->served_pages),
	};
	for (; reason[i] && i < sizeof(d->fault.reason) - 1; i++)
		d->fault.reason[i] = reason[i];
	d->fault_valid = true;
	hmm_log(HMM_LOG_INFO, "device %u: invalid %s at %lx: %s", d->index,
		write == 1 ? "store" : "access", addr, reason);
}

/* Did the engine end because of what a kernel did? Locking: d->fault_lock. */
static void look_at_crash(struct emu_device *d)
{
	const struct hmm_engine_crash *c = &d->shared->crash;
	const char *reason = "no memory for a device, or only to be read";

	if (__atomic_load_n(&c->state, __ATOMIC_ACQUIRE) != HMM_CRASH_VALID)
		return;
	if (c->signal == SIGBUS)
		reason = "beyond the end of a file";
	else if (c->signal != SIGSEGV)
		reason = "the kernel computed or executed what cannot be";
	emu_count(d, EMU_INVALID, 1);
	note_fault(d, c->address, c->write, reason);
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
	look_at_crash(d);
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
	emu_count(d, EMU_INVALID, 1);
	if (tid && tid == __atomic_load_n((uint32_t *)&d->shared->io_tid, __ATOMIC_ACQUIRE)) {
		__atomic_store_n((uint32_t *)&d->shared->io_abort, 1, __ATOMIC_RELEASE);
		os_syscall3(SYS_tgkill, d->pid, tid, HMM_ENGINE_SIG_ABORT);
		return;
	}
	os_mutex_lock(&d->fault_lock);
	note_fault(d, addr, (uint32_t)write, reason);
	os_mutex_unlock(&d->fault_lock);
	os_syscall4(SYS_pidfd_send_signal, d->pidfd, SIGKILL, NULL, 0);
}

// SPDX-License-Identifier: MIT
/*
 * The engine's threads: agents that drop page table entries for the client, one that
 * loads and stores for hmm_device_read() and _write(), and one that ends the process
 * with its client, even while a kernel spins.
 */
#include "engine/engine.h"
#include "os/lock.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define AGENTS 2

static void wait_request(struct hmm_engine_mbox *m)
{
	for (;;) {
		uint32_t state = __atomic_load_n(&m->state, __ATOMIC_ACQUIRE);

		if (state == HMM_MBOX_REQUEST)
			return;
		os_futex_wait(&m->state, state, 0, true);
	}
}

static void answer(struct hmm_engine_mbox *m, int32_t result)
{
	m->result = result;
	__atomic_store_n(&m->state, HMM_MBOX_DONE, __ATOMIC_RELEASE);
	os_futex_wake(&m->state, 1, true);
}

static bool in_windows(uint64_t start, uint64_t length)
{
	for (unsigned int i = 0; i < engine.n_windows; i++)
		if (start >= engine.window[i].start && start <= engine.window[i].end &&
		    length <= engine.window[i].end - start)
			return true;
	return false;
}

/* What is asked, read once: the client can write the mailbox at any time. */
struct request {
	uint32_t op;
	uint64_t start, length;
};

static struct request take(const struct hmm_engine_mbox *m)
{
	return (struct request){
		.op = __atomic_load_n(&m->op, __ATOMIC_RELAXED),
		.start = __atomic_load_n(&m->start, __ATOMIC_RELAXED),
		.length = __atomic_load_n(&m->length, __ATOMIC_RELAXED),
	};
}

static void *agent(void *arg)
{
	struct hmm_engine_mbox *m = arg;

	for (;;) {
		struct request q;
		int err = 0;

		wait_request(m);
		q = take(m);
		if (q.op != HMM_ENGINE_ZAP || !in_windows(q.start, q.length))
			err = -EINVAL;
		else if (madvise((void *)(uintptr_t)q.start, q.length, MADV_DONTNEED))
			err = -errno;
		answer(m, err);
	}
	return NULL;
}

static sigjmp_buf io_escape;
static volatile size_t io_done;
static volatile sig_atomic_t io_busy;
static pid_t io_tid;

/*
 * The client says that the address which this thread waits for will never be valid.
 * Late, when the access came through after all, there is nothing left to leave.
 */
static void on_abort(int sig)
{
	(void)sig;
	if (syscall(SYS_gettid) == io_tid &&
	    __atomic_exchange_n(&engine.shared->io_abort, 0, __ATOMIC_ACQ_REL))
		engine_io_escape();
}

void engine_io_escape(void)
{
	if (syscall(SYS_gettid) == io_tid && io_busy)
		siglongjmp(io_escape, 1);
}

/* Up to the end of each page, so that what is done before an invalid one counts. */
static void io_copy(char *data, uint64_t start, size_t length, bool write)
{
	while (io_done < length) {
		char *at = (char *)(uintptr_t)(start + io_done);
		size_t n = 4096 - ((uintptr_t)at & 4095);

		if (n > length - io_done)
			n = length - io_done;
		if (write)
			memcpy(at, data + io_done, n);
		else
			memcpy(data + io_done, at, n);
		io_done = io_done + n;
	}
}

/* How much of [start, start + length) is addressable here at all. */
static uint64_t io_inside(uint64_t start, uint64_t length)
{
	for (unsigned int i = 0; i < engine.n_windows; i++) {
		uint64_t left = engine.window[i].end - start;

		if (start >= engine.window[i].start && start < engine.window[i].end)
			return length < left ? length : left;
	}
	return 0;
}

static void io_try(const struct request *q, uint64_t length)
{
	char *data = (char *)engine.shared + HMM_ENGINE_IO_OFFSET;

	io_done = 0;
	__atomic_store_n(&engine.shared->io_abort, 0, __ATOMIC_RELEASE);
	if (!sigsetjmp(io_escape, 1)) {
		io_busy = 1;
		io_copy(data, q->start, length, q->op == HMM_ENGINE_IO_WRITE);
	}
	io_busy = 0;
}

static int32_t io_serve(const struct request *q)
{
	uint64_t length = io_inside(q->start, q->length);

	if (q->length > HMM_ENGINE_IO_BYTES ||
	    (q->op != HMM_ENGINE_IO_READ && q->op != HMM_ENGINE_IO_WRITE))
		return -EINVAL;
	if (length)
		io_try(q, length);
	return length && io_done ? (int32_t)io_done : -EFAULT;
}

static void *io_thread(void *unused)
{
	struct sigaction sa = { .sa_handler = on_abort };
	struct hmm_engine_mbox *m = &engine.shared->io;

	(void)unused;
	io_tid = (pid_t)syscall(SYS_gettid);
	sigaction(HMM_ENGINE_SIG_ABORT, &sa, NULL);
	__atomic_store_n(&engine.shared->io_tid, (uint32_t)io_tid, __ATOMIC_RELEASE);
	for (;;) {
		struct request q;

		wait_request(m);
		q = take(m);
		answer(m, io_serve(&q));
	}
	return NULL;
}

/*
 * By pidfd, not by the socket alone: a forked child of the client keeps that open. And
 * by the socket, too: after exec the client's pid lives on.
 */
static void *watchdog(void *unused)
{
	struct pollfd p[2] = {
		{ .fd = (int)syscall(SYS_pidfd_open, engine.opts.client, 0), .events = POLLIN },
		{ .fd = HMM_ENGINE_CTL_FD, .events = 0 },
	};

	(void)unused;
	while (p[0].fd >= 0) {
		poll(p, 2, -1);
		if (p[0].revents || p[1].revents & (POLLHUP | POLLERR))
			break;
	}
	_exit(0);
}

static int thread(void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t id;
	int err;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 256 << 10);
	err = pthread_create(&id, &attr, fn, arg);
	pthread_attr_destroy(&attr);
	return -err;
}

int engine_service_start(void)
{
	int err = thread(watchdog, NULL);

	engine_crash_install();
	for (unsigned int i = 0; !err && i < AGENTS; i++)
		err = thread(agent, &engine.shared->agent[i]);
	if (!err)
		err = thread(io_thread, NULL);
	while (!err && !__atomic_load_n(&engine.shared->io_tid, __ATOMIC_ACQUIRE))
		usleep(100);
	return err;
}

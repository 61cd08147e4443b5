// SPDX-License-Identifier: MIT
/*
 * The threads that serve faults. A wake-up of another CPU costs more than the rest of
 * a fault, so there is one handler pinned to each CPU (up to a limit), all waiting on
 * the same descriptors: the one on the faulting CPU runs first.
 *
 * A handler waits for no lock that an application thread can hold while it touches
 * migratable memory.
 */
#include "emulated/emu.h"
#include "os/sys.h"
#include "os/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <time.h>

#define MAX_HANDLERS 8
#define QUEUE_SIZE 1024u

static struct {
	struct os_mutex lock;            /* leaf */
	_Atomic unsigned int head, tail; /* changed under it */
	struct {
		int device;
		uint8_t seen;
		unsigned int generation;
		struct uffd_msg msg;
	} entry[QUEUE_SIZE];
} queue;

static pthread_t handler[MAX_HANDLERS];
static unsigned int n_handlers;
static int kick_fd = -1;
static _Atomic bool stopping;
static _Atomic unsigned int asleep; /* handlers that may not see what is queued */

void emu_kick(void)
{
	uint64_t one = 1;

	os_write(kick_fd, &one, sizeof(one));
}

static void wake(int device, const struct uffd_msg *msg)
{
	uintptr_t addr = msg->arg.pagefault.address & ~(HMM_PAGE_BYTES - 1);

	if (device < 0)
		uffd_wake(emu.client, addr, HMM_PAGE_BYTES);
	else
		emu_device_wake(&emu.device[device], addr, HMM_PAGE_BYTES);
}

void emu_queue_fault(int device, const struct uffd_msg *msg, uint8_t seen, unsigned int generation)
{
	bool full;

	os_mutex_lock(&queue.lock);
	full = queue.tail - queue.head == QUEUE_SIZE;
	if (!full) {
		queue.entry[queue.tail % QUEUE_SIZE].device = device;
		queue.entry[queue.tail % QUEUE_SIZE].seen = seen;
		queue.entry[queue.tail % QUEUE_SIZE].generation = generation;
		queue.entry[queue.tail % QUEUE_SIZE].msg = *msg;
		queue.tail++;
	}
	os_mutex_unlock(&queue.lock);
	if (full) /* the thread faults again when it is woken */
		wake(device, msg);
	else if (atomic_load(&asleep))
		emu_kick();
}

static void serve(int device, const struct uffd_msg *m, uint8_t seen, unsigned int generation)
{
	if (device < 0)
		emu_cpu_fault(m, seen);
	else
		emu_device_fault(&emu.device[device], m, seen, generation);
}

static bool is_queued(void)
{
	return atomic_load(&queue.head) != atomic_load(&queue.tail);
}

static void serve_queue(void)
{
	/* In this order: what is queued anew meanwhile, while a fork is under way, waits its turn. */
	unsigned int head = queue.head, left = queue.tail - head;

	while (left-- && is_queued()) {
		unsigned int generation;
		struct uffd_msg m;
		uint8_t seen;
		int device;

		os_mutex_lock(&queue.lock);
		if (!is_queued()) {
			os_mutex_unlock(&queue.lock);
			return;
		}
		device = queue.entry[queue.head % QUEUE_SIZE].device;
		seen = queue.entry[queue.head % QUEUE_SIZE].seen;
		generation = queue.entry[queue.head % QUEUE_SIZE].generation;
		m = queue.entry[queue.head % QUEUE_SIZE].msg;
		queue.head++;
		os_mutex_unlock(&queue.lock);
		serve(device, &m, seen, generation);
	}
}

/*
 * Another thread's fault on the page can be served while we read, and the page can have left again
 * before we count its moves. Then whoever still waits faults once more.
 */
static void serve_device(struct emu_device *d)
{
	struct uffd_msg m = { 0 };
	uint64_t before = os_now_ns();
	unsigned int generation;
	uintptr_t addr;
	uint8_t moves;

	/* With the mirror lock it is this engine's, and no file's of the application. */
	os_read_lock(&emu.mirror);
	generation = atomic_load(&d->proc.generation);
	if (!emu_device_up(d) || os_read(d->uffd, &m, sizeof(m)) != sizeof(m))
		m.event = 0;
	os_read_unlock(&emu.mirror);
	if (m.event != UFFD_EVENT_PAGEFAULT)
		return;
	addr = m.arg.pagefault.address & ~(HMM_PAGE_BYTES - 1);
	moves = emu_moves(addr);
	if (emu_changed_since(addr, before))
		emu_device_wake(d, addr, HMM_PAGE_BYTES);
	else
		serve((int)d->index, &m, moves, generation);
}

static void serve_client(void)
{
	struct uffd_msg m = { 0 };
	uint8_t homes;

	if (emu_events_next(&m, &homes))
		serve(-1, &m, homes, 0);
}

struct wait {
	struct pollfd fd[2 + 2 * HMM_MAX_DEVICES];
	unsigned int device[2 + 2 * HMM_MAX_DEVICES];
	unsigned int n;
};

static void wait_add(struct wait *w, int fd, unsigned int device)
{
	w->fd[w->n] = (struct pollfd){ .fd = fd, .events = POLLIN };
	w->device[w->n++] = device;
}

/* Order: kick, client, then uffd and pidfd of each device that runs. */
static void wait_fill(struct wait *w)
{
	w->n = 0;
	wait_add(w, kick_fd, 0);
	wait_add(w, emu.client, 0);
	for (unsigned int i = 0; i < emu.devices; i++) {
		if (!emu_device_up(&emu.device[i]))
			continue;
		wait_add(w, emu.device[i].uffd, i);
		wait_add(w, emu.device[i].proc.pidfd, i);
	}
}

static long look(struct wait *w, bool wait)
{
	struct timespec now = { 0 };

	return os_syscall5(SYS_ppoll, w->fd, w->n, wait ? NULL : &now, NULL, 8);
}

/*
 * Who queues a fault looks at @asleep after that, and we at the queue before we sleep. What another
 * handler has read for us while the fault woke us goes first; the descriptors are then looked at
 * again, for what was there may have been read.
 */
static long wait_for_work(struct wait *w)
{
	long n;

	atomic_fetch_add(&asleep, 1);
	n = look(w, !is_queued());
	atomic_fetch_sub(&asleep, 1);
	if (n < 0 || !is_queued())
		return n;
	serve_queue();
	return look(w, false);
}

static void handler_loop(void *unused)
{
	struct wait w;
	uint64_t value;

	(void)unused;
	while (!atomic_load(&stopping)) {
		wait_fill(&w);
		if (wait_for_work(&w) < 0)
			continue;
		for (unsigned int i = 2; i < w.n; i += 2) {
			struct emu_device *d = &emu.device[w.device[i]];

			if (w.fd[i + 1].revents)
				emu_engine_died(d);
			else if (w.fd[i].revents)
				serve_device(d);
		}
		if (w.fd[1].revents)
			serve_client();
		if (w.fd[0].revents && !atomic_load(&stopping))
			os_read(kick_fd, &value, sizeof(value));
		serve_queue();
	}
}

static void pin(pthread_t thread, unsigned int nth)
{
	cpu_set_t allowed, one;

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed) || nth--)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		pthread_setaffinity_np(thread, sizeof(one), &one);
		return;
	}
}

int emu_handlers_start(void)
{
	cpu_set_t allowed;
	unsigned int cpus = 1, want;

	if (!sched_getaffinity(0, sizeof(allowed), &allowed))
		cpus = (unsigned int)CPU_COUNT(&allowed);
	want = cpus < 2 ? 2 : cpus > MAX_HANDLERS ? MAX_HANDLERS : cpus;
	kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (kick_fd < 0)
		return -errno;
	atomic_store(&stopping, false);
	for (n_handlers = 0; n_handlers < want; n_handlers++) {
		int err = os_thread_start(&handler[n_handlers], handler_loop, NULL);

		if (err) {
			emu_handlers_stop();
			return err;
		}
		/* With more CPUs than handlers the scheduler places them better. */
		if (cpus <= MAX_HANDLERS)
			pin(handler[n_handlers], n_handlers % cpus);
	}
	return 0;
}

void emu_handlers_stop(void)
{
	atomic_store(&stopping, true);
	if (kick_fd >= 0)
		emu_kick();
	while (n_handlers)
		os_thread_join(handler[--n_handlers]);
	if (kick_fd >= 0)
		os_close(kick_fd);
	kick_fd = -1;
	queue.head = atomic_load(&queue.tail);
}

void emu_handlers_forget(void)
{
	if (kick_fd >= 0)
		os_close(kick_fd);
	kick_fd = -1;
	n_handlers = 0;
	os_thread_forget();
	asleep = 0;
	queue.head = atomic_load(&queue.tail);
	queue.lock = (struct os_mutex){ 0 };
}

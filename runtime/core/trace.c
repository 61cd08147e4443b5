// SPDX-License-Identifier: MIT
#include "core/trace.h"
#include "core/backend.h"
#include "os/arena.h"
#include "os/lock.h"
#include "os/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define RINGS 256    /* threads that are told apart */
#define EVENTS 8192u /* of a ring, by default */
#define MAX_EVENTS 262144u
#define BATCH 1024u /* records of one write */

/* One writer, the thread @tid, and one reader, who holds trace.lock. */
struct ring {
	_Atomic int tid; /* 0: free */
	_Atomic uint32_t head, tail;
	_Atomic uint64_t dropped;
	struct hmm_trace_record *record; /* NULL: there was no memory */
};

struct batch {
	struct hmm_trace_batch head;
	struct hmm_trace_record record[BATCH];
};

bool hmm_trace_on;

static struct {
	struct os_mutex lock; /* leaf; the fault path does not take it */
	int fd;
	uint32_t events; /* of a ring; a power of two */
	struct ring *rings;
	struct batch *batch;
	_Atomic uint64_t dropped; /* by threads without a ring */
} trace = { .fd = -1 };

static size_t ring_bytes(void)
{
	return trace.events * sizeof(struct hmm_trace_record);
}

/* The calling thread's; rings are never given up, a thread of the same id goes on with it. */
static struct ring *my_ring(void)
{
	int tid = os_gettid();

	for (unsigned int n = 0; n < RINGS; n++) {
		struct ring *r = &trace.rings[((unsigned int)tid + n) % RINGS];
		int owner = atomic_load_explicit(&r->tid, memory_order_acquire);

		if (!owner && atomic_compare_exchange_strong(&r->tid, &owner, tid)) {
			r->record = os_alloc(ring_bytes());
			return r;
		}
		if (owner == tid)
			return r;
	}
	return NULL;
}

void hmm_trace_add(enum hmm_trace_kind kind, uint64_t start, int device, uint64_t address,
		   uint32_t pages)
{
	struct ring *r = hmm_trace_on ? my_ring() : NULL;
	uint32_t head;

	if (!r || !r->record) {
		atomic_fetch_add(&trace.dropped, 1);
		return;
	}
	head = atomic_load_explicit(&r->head, memory_order_relaxed);
	if (head - atomic_load_explicit(&r->tail, memory_order_acquire) == trace.events) {
		atomic_fetch_add(&r->dropped, 1);
		return;
	}
	r->record[head & (trace.events - 1)] = (struct hmm_trace_record){
		start, os_now_ns() - start, address, pages, (uint16_t)kind, (int16_t)device
	};
	atomic_store_explicit(&r->head, head + 1, memory_order_release);
}

static void put_number(char **p, unsigned int n)
{
	if (n > 9)
		put_number(p, n / 10);
	*(*p)++ = (char)('0' + n % 10);
}

/* A thread that has ended keeps the name of an earlier batch, or none. */
static void read_name(char name[16], int tid)
{
	char path[64] = "/proc/self/task/", *p = path + strlen(path);
	long n = -1;
	int fd;

	put_number(&p, (unsigned int)tid);
	memcpy(p, "/comm", 6);
	fd = (int)os_syscall4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd >= 0) {
		n = os_read(fd, name, 15);
		os_close(fd);
	}
	name[n > 0 ? n - 1 : 0] = 0;
}

/* Locking: trace.lock. */
static void write_batch(int tid, uint32_t count, uint64_t dropped)
{
	struct hmm_trace_batch *b = &trace.batch->head;
	size_t bytes = sizeof(*b) + count * sizeof(struct hmm_trace_record);

	*b = (struct hmm_trace_batch){ HMM_TRACE_MAGIC, (uint32_t)os_getpid(),
				       (uint32_t)tid,   count,
				       dropped,         "" };
	if (tid)
		read_name(b->thread, tid);
	os_write(trace.fd, b, bytes);
}

/* Locking: trace.lock. */
static void flush_ring(struct ring *r)
{
	int tid = atomic_load_explicit(&r->tid, memory_order_acquire);
	uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed), n;
	uint32_t head = atomic_load_explicit(&r->head, memory_order_acquire);
	uint64_t dropped = atomic_exchange(&r->dropped, 0);

	while (tail != head || dropped) {
		for (n = 0; n < BATCH && tail + n != head; n++)
			trace.batch->record[n] = r->record[(tail + n) & (trace.events - 1)];
		write_batch(tid, n, dropped);
		dropped = 0;
		tail += n;
		atomic_store_explicit(&r->tail, tail, memory_order_release);
	}
}

void hmm_trace_flush(void)
{
	uint64_t dropped;

	if (!hmm_trace_on)
		return;
	os_mutex_lock(&trace.lock);
	for (unsigned int i = 0; i < RINGS; i++)
		if (atomic_load_explicit(&trace.rings[i].tid, memory_order_acquire))
			flush_ring(&trace.rings[i]);
	dropped = atomic_exchange(&trace.dropped, 0);
	if (dropped)
		write_batch(0, 0, dropped);
	os_mutex_unlock(&trace.lock);
}

void hmm_trace_sample(const struct hmm_backend_ops *ops)
{
	if (!hmm_trace_on)
		return;
	for (unsigned int d = 0; d < ops->device_count(); d++) {
		struct hmm_stats s = { 0 };

		ops->stats(d, &s);
		hmm_trace_add(HMM_TRACE_RESIDENT, os_now_ns(), (int)d, s.resident_pages, 0);
	}
}

/* The number of HMM_TRACE_EVENTS, as a power of two. */
static uint32_t wanted_events(void)
{
	const char *text = secure_getenv("HMM_TRACE_EVENTS");
	long wanted = text ? strtol(text, NULL, 10) : 0;
	uint32_t n = 16;

	if (wanted <= 0)
		return EVENTS;
	while (n < MAX_EVENTS && n < wanted)
		n *= 2;
	return n;
}

void hmm_trace_start(void)
{
	const char *path = secure_getenv("HMM_TRACE");

	if (!path || !*path)
		return;
	trace.events = wanted_events();
	/* Of a pipe that nobody reads this is an error, and does not wait for who does. */
	trace.fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);
	if (trace.fd < 0) {
		hmm_log(HMM_LOG_ERROR, "HMM_TRACE=%s: %s", path, strerrordesc_np(errno));
		return;
	}
	fcntl(trace.fd, F_SETFL, O_APPEND);
	trace.rings = os_alloc(RINGS * sizeof(*trace.rings));
	trace.batch = os_alloc(sizeof(*trace.batch));
	hmm_trace_on = trace.rings && trace.batch;
	if (!hmm_trace_on)
		hmm_trace_stop();
}

void hmm_trace_stop(void)
{
	hmm_trace_flush();
	hmm_trace_on = false;
	for (unsigned int i = 0; trace.rings && i < RINGS; i++)
		os_free(trace.rings[i].record, ring_bytes());
	os_free(trace.rings, RINGS * sizeof(*trace.rings));
	os_free(trace.batch, sizeof(*trace.batch));
	hmm_trace_forget();
}

void hmm_trace_forget(void)
{
	hmm_trace_on = false;
	trace.lock = (struct os_mutex){ 0 };
	trace.rings = NULL;
	trace.batch = NULL;
	if (trace.fd >= 0)
		os_close(trace.fd);
	trace.fd = -1;
}

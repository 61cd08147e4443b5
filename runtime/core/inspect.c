// SPDX-License-Identifier: MIT
#include "core/inspect.h"
#include "core/block.h"
#include "core/inspect_proto.h"
#include "core/trace.h"
#include "os/arena.h"
#include "os/log.h"
#include "os/sys.h"
#include "os/thread.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <unistd.h>

#define TRACE_MS 50

/* What an answer is made in; the thread's own. */
struct answer {
	struct hmm_inspect_stats stats;
	struct hmm_inspect_map map;
	struct hmm_page_status page[HMM_INSPECT_PAGES];
};

static struct {
	const struct hmm_backend_ops *ops;
	struct answer *answer;
	int listener, stop;
	bool running;
	unsigned long thread;
} inspect = { .listener = -1, .stop = -1 };

static void fill_stats(struct hmm_inspect_stats *a)
{
	*a = (struct hmm_inspect_stats){ .magic = HMM_INSPECT_MAGIC,
					 .version = HMM_INSPECT_VERSION,
					 .devices = inspect.ops->device_count() };
	for (unsigned int d = 0; d < a->devices; d++) {
		inspect.ops->device_info(d, &a->device[d].info);
		inspect.ops->stats(d, &a->device[d].stats);
		a->device[d].stats.sz = sizeof(a->device[d].stats);
	}
}

static void fill_map(struct answer *a, const struct hmm_inspect_request *r)
{
	uint64_t bytes = (uint64_t)r->pages << HMM_PAGE_SHIFT;
	int err = -EINVAL;

	if (r->pages && r->pages <= HMM_INSPECT_PAGES && !(r->start & (HMM_PAGE_BYTES - 1)) &&
	    r->start <= (1ull << HMM_VA_BITS) - bytes)
		err = inspect.ops->query(r->start, r->start + bytes, a->page);
	a->map = (struct hmm_inspect_map){ .magic = HMM_INSPECT_MAGIC,
					   .version = HMM_INSPECT_VERSION,
					   .err = err,
					   .pages = r->pages };
	for (unsigned int i = 0; !err && i < r->pages; i++)
		a->map.location[i] = a->page[i].location;
}

static bool answer_one(int fd)
{
	struct answer *a = inspect.answer;
	struct hmm_inspect_request r;
	const void *reply = &a->map;
	size_t bytes = sizeof(a->map);

	if (recv(fd, &r, sizeof(r), 0) != sizeof(r) || r.magic != HMM_INSPECT_MAGIC ||
	    r.version != HMM_INSPECT_VERSION)
		return false;
	if (r.op == HMM_INSPECT_STATS) {
		fill_stats(&a->stats);
		reply = &a->stats;
		bytes = sizeof(a->stats);
	} else if (r.op == HMM_INSPECT_MAP) {
		fill_map(a, &r);
	} else {
		return false;
	}
	return send(fd, reply, bytes, MSG_NOSIGNAL) == (ssize_t)bytes;
}

/* One who asks; he has a moment for each question, so that nobody holds us up. */
static void answer_all(int fd)
{
	struct timeval moment = { 0, 500000 };
	struct ucred who;
	socklen_t size = sizeof(who);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &moment, sizeof(moment));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &moment, sizeof(moment));
	if (!getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) &&
	    (who.uid == 0 || who.uid == geteuid()))
		while (answer_one(fd))
			;
	os_close(fd);
}

static void loop(void *unused)
{
	struct pollfd fd[2] = { { .fd = inspect.stop, .events = POLLIN },
				{ .fd = inspect.listener, .events = POLLIN } };

	(void)unused;
	for (;;) {
		poll(fd, 2, hmm_trace_on ? TRACE_MS : -1);
		if (fd[1].revents) {
			int one = accept4(inspect.listener, NULL, NULL, SOCK_CLOEXEC);

			if (one >= 0)
				answer_all(one);
		}
		hmm_trace_sample(inspect.ops);
		hmm_trace_flush();
		if (fd[0].revents)
			return;
	}
}

static int listen_here(void)
{
	struct sockaddr_un a;
	socklen_t size = hmm_inspect_address(&a, os_getpid());
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || (!bind(fd, (struct sockaddr *)&a, size) && !listen(fd, 8)))
		return fd;
	os_close(fd);
	return -1;
}

static void close_all(void)
{
	if (inspect.listener >= 0)
		os_close(inspect.listener);
	if (inspect.stop >= 0)
		os_close(inspect.stop);
	inspect.listener = inspect.stop = -1;
}

void hmm_inspect_start(const struct hmm_backend_ops *ops)
{
	inspect.ops = ops;
	inspect.answer = os_alloc(sizeof(*inspect.answer));
	inspect.listener = listen_here();
	inspect.stop = eventfd(0, EFD_CLOEXEC);
	if (inspect.answer && inspect.listener >= 0 && inspect.stop >= 0)
		inspect.running = !os_thread_start(&inspect.thread, loop, NULL);
	if (inspect.running)
		return;
	hmm_log(HMM_LOG_INFO, "hmmctl cannot look at this process");
	hmm_inspect_stop();
}

void hmm_inspect_stop(void)
{
	uint64_t one = 1;

	if (inspect.running) {
		os_write(inspect.stop, &one, sizeof(one));
		os_thread_join(inspect.thread);
	}
	inspect.running = false;
	close_all();
	os_free(inspect.answer, sizeof(*inspect.answer));
	inspect.answer = NULL;
}

void hmm_inspect_forget(void)
{
	close_all();
	inspect.running = false;
	inspect.answer = NULL;
}

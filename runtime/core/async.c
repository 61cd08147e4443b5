// SPDX-License-Identifier: MIT
/* hmm_migrate_async(): one thread works requests off in their order. */
#include "core/async.h"
#include "core/process.h"
#include "os/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct request {
	struct request *next;
	uintptr_t start, end;
	int target;
	int fence;
	hmm_async_fn fn;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct request *first, **last;
	bool running, stop;
	pthread_t thread;
} async = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.more = PTHREAD_COND_INITIALIZER,
	.last = &async.first,
};

static struct request *take(void)
{
	struct request *r;

	pthread_mutex_lock(&async.lock);
	while (!async.first && !async.stop)
		pthread_cond_wait(&async.more, &async.lock);
	r = async.first;
	if (r) {
		async.first = r->next;
		if (!async.first)
			async.last = &async.first;
	}
	pthread_mutex_unlock(&async.lock);
	return r;
}

static void worker(void *unused)
{
	struct request *r;

	(void)unused;
	while ((r = take())) {
		uint64_t one = 1;

		r->fn(r->start, r->end, r->target);
		if (write(r->fence, &one, sizeof(one)) != sizeof(one))
			abort(); /* an eventfd of ours with room: cannot fail */
		close(r->fence);
		free(r);
	}
}

int hmm_async_submit(hmm_async_fn fn, uintptr_t start, uintptr_t end, int target, int *fence_fd)
{
	struct request *r = malloc(sizeof(*r));
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int mine = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	int err = !r ? -ENOMEM : mine < 0 ? -errno : 0;

	if (err)
		goto failed;
	*r = (struct request){ NULL, start, end, target, mine, fn };
	pthread_mutex_lock(&async.lock);
	if (!async.running) {
		err = os_thread_start(&async.thread, worker, NULL);
		async.running = !err;
	}
	if (!err) {
		*async.last = r;
		async.last = &r->next;
		pthread_cond_signal(&async.more);
	}
	pthread_mutex_unlock(&async.lock);
	if (!err) {
		*fence_fd = fd;
		return 0;
	}
failed:
	free(r);
	if (fd >= 0)
		close(fd);
	if (mine >= 0)
		close(mine);
	return err;
}

void hmm_async_stop(void)
{
	if (!async.running)
		return;
	pthread_mutex_lock(&async.lock);
	async.stop = true;
	pthread_cond_signal(&async.more);
	pthread_mutex_unlock(&async.lock);
	os_thread_join(async.thread);
	async.running = async.stop = false;
}

void hmm_async_forget(void)
{
	pthread_mutex_init(&async.lock, NULL);
	pthread_cond_init(&async.more, NULL);
	async.first = NULL;
	async.last = &async.first;
	async.running = async.stop = false;
}

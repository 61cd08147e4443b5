// SPDX-License-Identifier: MIT
#include "core/process.h"
#include "core/advice.h"
#include "core/filemap.h"
#include "core/inspect.h"
#include "core/trace.h"
#include "os/arena.h"
#include "os/enter.h"
#include "os/lock.h"
#include "os/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define HANDLE_MAGIC 0x484d4d68u

static const struct hmm_backend_ops *const backends[] = { &hmm_drm_ops, &hmm_emulated_ops };

static struct {
	/* Taken by open, close and fork only. Order: before every other lock. */
	pthread_mutex_t lock;
	const struct hmm_backend_ops *ops; /* NULL: not running */
	unsigned int handles;
	uint32_t epoch;
} process = { .lock = PTHREAD_MUTEX_INITIALIZER, .epoch = 1 };

static void before_fork(void)
{
	pthread_mutex_lock(&process.lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&process.lock);
}

/*
 * The child has one thread, and copies of locks that others may have held: nothing of
 * the runtime's state is used again, and a handle of the parent is told by its epoch.
 */
static void in_child(void)
{
	if (process.ops) {
		process.ops->forget();
		hmm_async_forget();
		hmm_inspect_forget();
		hmm_trace_forget();
		hmm_filemap_forget();
		hmm_advice_forget();
		os_arena_forget();
		os_enter_forget();
	}
	process.ops = NULL;
	process.handles = 0;
	process.epoch++;
	pthread_mutex_unlock(&process.lock);
}

const struct hmm_backend_ops *hmm_backend_of(const struct hmm *h, int *err)
{
	*err = -EINVAL;
	if (!h || h->magic != HANDLE_MAGIC)
		return NULL;
	*err = -EPERM;
	return h->epoch == process.epoch ? process.ops : NULL;
}

const struct hmm_backend_ops *hmm_backend_running(void)
{
	return process.ops;
}

static const struct hmm_backend_ops *choose(const char *name, int *err)
{
	*err = 0;
	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++)
		if (name ? !strcmp(backends[i]->name, name) : backends[i]->probe())
			return backends[i];
	if (!name) {
		/* The last one says why it cannot. */
		return backends[sizeof(backends) / sizeof(backends[0]) - 1];
	}
	*err = -EINVAL;
	hmm_log(HMM_LOG_ERROR, "no backend \"%s\" here", name);
	return NULL;
}

/* Locking: process.lock. */
static int start(const char *name, const struct hmm_config *config)
{
	static bool prepared;
	const struct hmm_backend_ops *ops;
	int err = os_arena_init();

	if (err)
		return err;
	ops = choose(name, &err);
	if (!ops)
		return err;
	hmm_trace_start();
	/* Before the backend's: prepare handlers run in reverse, so its lock is outer. */
	err = ops->start(config);
	if (err) {
		hmm_log(HMM_LOG_ERROR, "backend \"%s\" does not start: %s", ops->name,
			strerrordesc_np(-err));
		hmm_trace_stop();
		return err;
	}
	if (!prepared)
		pthread_atfork(before_fork, after_fork, in_child);
	prepared = true;
	process.ops = ops;
	hmm_inspect_start(ops);
	return 0;
}

/* Locking: process.lock. */
static void stop(void)
{
	hmm_inspect_stop();
	process.ops->stop();
	process.ops = NULL;
	hmm_trace_stop();
	hmm_advice_clear();
}

int hmm_process_open(struct hmm **out, const char *backend, const struct hmm_config *config)
{
	struct hmm *h;
	int err = 0;

	hmm_log_init();
	pthread_mutex_lock(&process.lock);
	if (!process.ops)
		err = start(backend, config);
	if (err)
		goto out;
	h = os_alloc(sizeof(*h));
	if (!h) {
		err = -ENOMEM;
		if (!process.handles)
			stop();
		goto out;
	}
	h->magic = HANDLE_MAGIC;
	h->epoch = process.epoch;
	process.handles++;
	*out = h;
out:
	pthread_mutex_unlock(&process.lock);
	return err;
}

void hmm_process_close(struct hmm *h)
{
	int err;

	if (!hmm_backend_of(h, &err))
		return;
	pthread_mutex_lock(&process.lock);
	h->magic = 0;
	if (!--process.handles) {
		hmm_async_stop();
		hmm_stats_report(process.ops);
		stop();
	}
	os_free(h, sizeof(*h));
	pthread_mutex_unlock(&process.lock);
}

/*
 * LeakSanitizer looks at all memory after this, with every other thread stopped: a page that it
 * touches must not need one. Not where another thread opens or closes meanwhile.
 */
extern void __lsan_do_leak_check(void) __attribute__((weak));

static void leave_for_sanitizer(void)
{
	if (!__lsan_do_leak_check || !process.ops->leave || pthread_mutex_trylock(&process.lock))
		return;
	if (process.ops)
		process.ops->leave();
	pthread_mutex_unlock(&process.lock);
}

/* A program that ends without hmm_close() still reports what it did. */
static void __attribute__((destructor)) at_exit(void)
{
	if (!process.ops)
		return;
	hmm_stats_report(process.ops);
	hmm_trace_flush();
	leave_for_sanitizer();
}

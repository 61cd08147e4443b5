// SPDX-License-Identifier: MIT
#include "os/thread.h"
#include "os/arena.h"
#include "os/lock.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

#ifdef __SANITIZE_THREAD__
#define STACK_BYTES (4u << 20) /* it keeps a record of each thread there */
#else
#define STACK_BYTES (256u << 10)
#endif
#define MAX_THREADS 32

static struct os_mutex lock;
static struct {
	pthread_t thread;
	void *stack; /* NULL: free slot */
} threads[MAX_THREADS];

struct start {
	void (*fn)(void *);
	void *arg;
	uint32_t running; /* futex: set by the thread, who then does not touch this any more */
};

static void *trampoline(void *p)
{
	struct start *start = p, s = *start;

	__atomic_store_n(&start->running, 1, __ATOMIC_RELEASE);
	os_futex_wake(&start->running, 1, false);
	s.fn(s.arg);
	return NULL;
}

/*
 * Before it runs code of ours it runs the C library's, or a sanitizer's, which may hold a lock of
 * its allocator: a child of a fork() at that moment would find it locked for ever.
 */
static void wait_until_running(struct start *s)
{
	while (!__atomic_load_n(&s->running, __ATOMIC_ACQUIRE))
		os_futex_wait(&s->running, 0, 0, false);
}

static int create(pthread_t *thread, void *stack, struct start *s)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int err;

	pthread_attr_init(&attr);
	pthread_attr_setstack(&attr, stack, STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(thread, &attr, trampoline, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -err;
}

/* Locking: lock. */
static unsigned int find(const void *stack, pthread_t thread)
{
	unsigned int i = 0;

	while (i < MAX_THREADS && (stack ? threads[i].stack != NULL :
					   !threads[i].stack || threads[i].thread != thread))
		i++;
	return i;
}

int os_thread_start(unsigned long *thread, void (*fn)(void *), void *arg)
{
	struct start *s = os_alloc(sizeof(*s));
	char *stack = os_alloc(STACK_BYTES);
	int err = -ENOMEM;
	unsigned int slot;

	os_mutex_lock(&lock);
	slot = s && stack ? find(stack, 0) : MAX_THREADS;
	if (slot < MAX_THREADS) {
		*s = (struct start){ fn, arg, 0 };
		err = create(thread, stack, s);
	}
	if (!err) {
		threads[slot].thread = *thread;
		threads[slot].stack = stack;
	}
	os_mutex_unlock(&lock);
	if (!err)
		wait_until_running(s);
	else
		os_free(stack, STACK_BYTES);
	os_free(s, sizeof(*s));
	return err;
}

void os_thread_join(unsigned long thread)
{
	void *stack = NULL;
	unsigned int slot;

	pthread_join(thread, NULL);
	os_mutex_lock(&lock);
	slot = find(NULL, thread);
	if (slot < MAX_THREADS) {
		stack = threads[slot].stack;
		threads[slot].stack = NULL;
	}
	os_mutex_unlock(&lock);
	os_free(stack, STACK_BYTES);
}

void os_thread_forget(void)
{
	for (unsigned int i = 0; i < MAX_THREADS; i++)
		threads[i].stack = NULL;
	lock = (struct os_mutex){ 0 };
}

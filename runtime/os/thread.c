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
};

static void *trampoline(void *p)
{
	struct start s = *(struct start *)p;

	os_free(p, sizeof(s));
	s.fn(s.arg);
	return NULL;
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
		*s = (struct start){ fn, arg };
		err = create(thread, stack, s);
	}
	if (!err) {
		threads[slot].thread = *thread;
		threads[slot].stack = stack;
	}
	os_mutex_unlock(&lock);
	if (err) {
		os_free(s, sizeof(*s));
		os_free(stack, STACK_BYTES);
	}
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

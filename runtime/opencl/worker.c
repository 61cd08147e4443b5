// SPDX-License-Identifier: MIT
/*
 * A queue's worker runs its commands in order. Workers are never ended: one whose queue
 * is gone waits for the next. Their stacks do not migrate, because they do I/O from
 * there, also while the page that they fault on comes home.
 */
#include "opencl/ocl.h"

#include <limits.h>
#include <signal.h>
#include <sys/mman.h>

#define STACK_BYTES (1u << 20)
#define GUARD_BYTES 4096u
#define LAZY_FROM 8 /* launches that were helped */
#define LOOK_NS 1000000u
#define SOON_NS 20000u /* after it was enqueued: the worker was only a little faster */

struct ocl_worker {
	struct ocl_worker *next;
	struct ocl_state *state;
	cl_command_queue queue;
	pthread_cond_t wake;
};

static cl_int wait_for_list(struct ocl_command *c)
{
	cl_int err = CL_SUCCESS;

	for (cl_uint i = 0; i < c->n_wait; i++)
		if (ocl_event_wait(c->wait[i]) < 0)
			err = CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST;
	return err;
}

static void free_command(struct ocl_command *c)
{
	if (c->clean)
		c->clean(c);
	for (cl_uint i = 0; i < c->n_wait; i++)
		ocl_drop(c->wait[i]);
	for (unsigned int i = 0; i < 2; i++)
		if (c->mem[i])
			ocl_drop(c->mem[i]);
	ocl_free(c->wait);
	ocl_free(c);
}

static void execute(struct ocl_command *c)
{
	cl_event e = c->event;
	cl_int status;

	e->times[1] = ocl_now();
	ocl_event_set(e, CL_SUBMITTED);
	status = wait_for_list(c);
	e->times[2] = ocl_now();
	if (!status) {
		ocl_event_set(e, CL_RUNNING);
		status = c->run(c);
	}
	/* A launch knows better when it ran. */
	if (!e->times[3])
		e->times[3] = ocl_now();
	e->times[4] = e->times[3];
	/* What it held is free before anybody hears that it is over. */
	c->event = NULL;
	free_command(c);
	ocl_event_set(e, status);
	ocl_drop(e);
}

static bool goes_together(const struct ocl_command *c, const struct ocl_command *first)
{
	return c && c->run_all && c->run_all == first->run_all && c->silent && !c->n_wait;
}

/* They may go together, or be a single one. None has an event that anybody looks at. */
static void execute_all(struct ocl_command *c)
{
	struct ocl_command *next;

	c->run_all(c);
	for (; c; c = next) {
		cl_event e = c->event;

		next = c->next;
		free_command(c);
		ocl_drop(e);
	}
}

/*
 * The first, or all that go with it: an empty kernel's way to the engine and back takes longer than
 * to enqueue ten. Locking: state->lock, dropped meanwhile; q->first is there, and nobody runs one.
 */
static void run_first(struct ocl_state *s, cl_command_queue q)
{
	struct ocl_command *c = q->first, *last = c;
	bool all = goes_together(c, c);

	while (all && goes_together(last->next, c))
		last = last->next;
	q->first = last->next;
	if (!q->first)
		q->last = &q->first;
	last->next = NULL;
	q->running = true;
	pthread_mutex_unlock(&s->lock);
	if (all)
		execute_all(c);
	else
		execute(c);
	pthread_mutex_lock(&s->lock);
	q->running = false;
}

/* Locking: state->lock, dropped meanwhile. Was it woken, or is it time to look? */
static bool wait_or_look(struct ocl_state *s, struct ocl_worker *w, cl_command_queue q)
{
	uint64_t end = ocl_now() + LOOK_NS;
	struct timespec until = { (time_t)(end / 1000000000u), (long)(end % 1000000000u) };
	int err;

	q->lazy = true;
	err = pthread_cond_clockwait(&w->wake, &s->lock, CLOCK_MONOTONIC, &until);
	q->lazy = false;
	return !err;
}

/*
 * A program that waits for each launch as soon as it is enqueued sends them all itself, and to wake
 * the worker costs it about a third of the launch. So the worker then looks each LOOK_NS whether
 * something lies there that nobody waits for, and is woken for a flush only.
 * Locking: state->lock, dropped meanwhile.
 */
static void wait_for_work(struct ocl_state *s, struct ocl_worker *w, cl_command_queue q)
{
	const struct ocl_command *seen = NULL;
	unsigned int helped = q->helped;

	if (helped < LAZY_FROM) {
		pthread_cond_wait(&w->wake, &s->lock);
		return;
	}
	while (!wait_or_look(s, w, q)) {
		bool waits = q->first && !q->running;

		if (waits ? q->first == seen : q->helped == helped) {
			q->helped = 0; /* nobody came for it, or nothing comes any more */
			return;
		}
		seen = waits ? q->first : NULL;
		helped = q->helped;
	}
}

/* Locking: state->lock, dropped meanwhile. */
static void serve(struct ocl_state *s, struct ocl_worker *w, cl_command_queue q)
{
	for (;;) {
		if (q->first && !q->running) {
			q->helped = q->helped > 2 * LAZY_FROM ? 2 * LAZY_FROM :
				    q->helped                 ? q->helped - 1 :
								0;
			run_first(s, q);
			continue;
		}
		if (!q->running) {
			pthread_cond_broadcast(&q->idle);
			if (q->closing)
				break;
		}
		wait_for_work(s, w, q);
	}
	w->queue = NULL;
	q->worker = NULL;
	pthread_mutex_unlock(&s->lock);
	ocl_drop(q); /* its connection may be another worker's again: who kept an event has the
			queue */
	pthread_mutex_lock(&s->lock);
}

static void *worker_main(void *arg)
{
	struct ocl_worker *w = arg;
	struct ocl_state *s = w->state;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		while (!w->queue)
			pthread_cond_wait(&w->wake, &s->lock);
		serve(s, w, w->queue);
		w->next = s->idle;
		s->idle = w;
	}
	return NULL;
}

/* None of the application's, but what the worker's own loads and stores raise: that is handled. */
static void block_signals(sigset_t *old)
{
	static const int own[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };
	sigset_t set;

	sigfillset(&set);
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		sigdelset(&set, own[i]);
	pthread_sigmask(SIG_SETMASK, &set, old);
}

int ocl_thread_start(void *(*fn)(void *), void *arg)
{
	char *stack = hmm_engine_alloc(STACK_BYTES);
	pthread_attr_t attr;
	sigset_t old;
	pthread_t id;
	int err;

	if (!stack)
		return -1;
	pthread_attr_init(&attr);
	pthread_attr_setstack(&attr, stack, STACK_BYTES);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	mprotect(stack, GUARD_BYTES, PROT_NONE); /* callbacks of the application run there */
	block_signals(&old);
	err = pthread_create(&id, &attr, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (err) {
		mprotect(stack, GUARD_BYTES, PROT_READ | PROT_WRITE);
		hmm_engine_free(stack, STACK_BYTES);
	}
	return err;
}

/* Locking: state->lock. */
static cl_int get_worker(struct ocl_state *s, cl_command_queue q)
{
	struct ocl_worker *w = s->idle;

	if (w) {
		s->idle = w->next;
	} else {
		w = ocl_alloc(sizeof(*w));
		if (!w)
			return CL_OUT_OF_HOST_MEMORY;
		w->state = s;
		pthread_cond_init(&w->wake, NULL);
		if (ocl_thread_start(worker_main, w)) {
			ocl_free(w);
			return CL_OUT_OF_RESOURCES;
		}
	}
	ocl_hold(q);
	w->queue = q;
	q->worker = w;
	return CL_SUCCESS;
}

cl_int ocl_queue_push(cl_command_queue q, struct ocl_command *c)
{
	struct ocl_state *s = ocl_state();
	cl_int err = CL_SUCCESS;

	pthread_mutex_lock(&s->lock);
	if (!q->worker)
		err = get_worker(s, q);
	if (!err) {
		*q->last = c;
		q->last = &c->next;
		q->pushed_at = c->event->times[0];
		if (!q->lazy || !c->anywhere || q->first != c || q->running)
			pthread_cond_signal(&q->worker->wake);
	}
	pthread_mutex_unlock(&s->lock);
	if (err) {
		cl_event e = c->event;

		free_command(c);
		ocl_drop(e);
	}
	return err;
}

/*
 * Who waits for one launch that the worker has not begun sends it himself: two wake-ups less. Only
 * what touches no memory of the application, whose threads' stacks migrate, and waits for no event.
 */
bool ocl_queue_help(struct ocl_state *s, cl_command_queue q)
{
	if (q->running && !q->first && ocl_now() - q->pushed_at < SOON_NS)
		q->helped += 2;
	if (!q->first || q->running || !q->first->anywhere || q->first->n_wait || q->first->next)
		return false;
	q->helped++;
	run_first(s, q);
	if (!q->first)
		pthread_cond_broadcast(&q->idle);
	if (q->first || q->closing)
		pthread_cond_signal(&q->worker->wake);
	return true;
}

cl_int ocl_queue_finish(cl_command_queue q)
{
	struct ocl_state *s = ocl_state();
	cl_int err;
	int old;

	/* As in ocl_event_wait(). */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	pthread_mutex_lock(&s->lock);
	while (q->first || q->running)
		if (!ocl_queue_help(s, q))
			pthread_cond_wait(&q->idle, &s->lock);
	err = ocl_take_error(q);
	pthread_mutex_unlock(&s->lock);
	pthread_setcancelstate(old, NULL);
	return err;
}

void ocl_queue_flush(cl_command_queue q)
{
	if (q->lazy && q->first)
		pthread_cond_signal(&q->worker->wake);
}

/* The application let go of it: what was enqueued still runs. */
void ocl_queue_close(cl_command_queue q)
{
	struct ocl_state *s = ocl_state();

	pthread_mutex_lock(&s->lock);
	q->closing = true;
	if (q->worker)
		pthread_cond_signal(&q->worker->wake);
	pthread_mutex_unlock(&s->lock);
}

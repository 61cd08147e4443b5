// SPDX-License-Identifier: MIT
/*
 * Callbacks of events, on a thread of their own: they may take a lock that somebody holds who
 * waits for the event, or for its queue.
 */
#include "opencl/ocl.h"

static struct ocl_event_callback *next_due(struct ocl_state *s)
{
	struct ocl_event_callback *c;

	while (!s->due)
		pthread_cond_wait(&s->due_wake, &s->lock);
	c = s->due;
	s->due = c->next;
	if (!s->due)
		s->due_last = &s->due;
	return c;
}

static void *caller_main(void *arg)
{
	struct ocl_state *s = arg;

	for (;;) {
		struct ocl_event_callback *c;

		pthread_mutex_lock(&s->lock);
		c = next_due(s);
		pthread_mutex_unlock(&s->lock);
		c->fn(c->event, c->status, c->data);
		ocl_drop(c->event);
		ocl_free(c);
	}
	return NULL;
}

/* In the order in which they were set. The event is there until the last one was called. */
void ocl_callbacks_due(struct ocl_state *s, cl_event e)
{
	for (struct ocl_event_callback **p = &e->callbacks; *p;) {
		struct ocl_event_callback *c = *p;

		if (e->status > c->type) {
			p = &c->next;
			continue;
		}
		*p = c->next;
		c->next = NULL;
		c->event = e;
		c->status = e->status < 0 ? e->status : c->type;
		ocl_hold(e);
		*s->due_last = c;
		s->due_last = &c->next;
		pthread_cond_signal(&s->due_wake);
	}
}

cl_int ocl_callbacks_start(struct ocl_state *s)
{
	if (!s->calls && !ocl_thread_start(caller_main, s)) {
		s->due_last = &s->due;
		s->calls = true;
	}
	return s->calls ? CL_SUCCESS : CL_OUT_OF_RESOURCES;
}

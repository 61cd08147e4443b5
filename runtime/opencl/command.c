// SPDX-License-Identifier: MIT
/* From an API call to a queue, the part that all commands share. */
#include "opencl/ocl.h"

#include <string.h>

cl_int ocl_command_check(cl_command_queue q, const struct ocl_wait *w)
{
	if (!ocl_valid(q, OCL_QUEUE))
		return CL_INVALID_COMMAND_QUEUE;
	return ocl_check_wait_list(q->context, w->n, w->list);
}

void *ocl_command_new(cl_command_queue q, size_t bytes, cl_int (*run)(struct ocl_command *))
{
	struct ocl_command *c = ocl_alloc(bytes);

	if (!c)
		return NULL;
	c->queue = q;
	c->run = run;
	return c;
}

void ocl_command_hold(struct ocl_command *c, unsigned int i, cl_mem m)
{
	if (!c)
		return;
	ocl_hold(m);
	c->mem[i] = m;
}

static void discard(struct ocl_command *c)
{
	if (c->clean)
		c->clean(c);
	for (unsigned int i = 0; i < 2; i++)
		if (c->mem[i])
			ocl_drop(c->mem[i]);
	ocl_free(c->wait);
	ocl_free(c);
}

static bool copy_wait_list(struct ocl_command *c, const struct ocl_wait *w)
{
	if (!w->n)
		return true;
	c->wait = ocl_alloc(w->n * sizeof(*c->wait));
	if (!c->wait)
		return false;
	for (cl_uint i = 0; i < w->n; i++) {
		c->wait[i] = w->list[i];
		ocl_hold(w->list[i]);
	}
	c->n_wait = w->n;
	return true;
}

static cl_int take_error(cl_command_queue q)
{
	struct ocl_state *s = ocl_state();
	cl_int err;

	pthread_mutex_lock(&s->lock);
	err = ocl_take_error(q);
	pthread_mutex_unlock(&s->lock);
	return err;
}

/* A blocking command tells of its own failure, and of launches before it. */
static cl_int finish_blocking(cl_command_queue q, cl_event e)
{
	cl_int status = ocl_event_wait(e), before = take_error(q);

	if (before)
		return before;
	if (status == CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST || status >= 0)
		return status;
	return CL_OUT_OF_RESOURCES;
}

cl_int ocl_command_submit(struct ocl_command *c, cl_command_type type, const struct ocl_wait *w)
{
	cl_command_queue q;
	cl_event e;
	cl_int err;

	if (!c)
		return CL_OUT_OF_HOST_MEMORY;
	q = c->queue;
	e = ocl_event_new(q->context, q, type);
	if (!e || !copy_wait_list(c, w)) {
		if (e)
			ocl_drop(e);
		discard(c);
		return CL_OUT_OF_HOST_MEMORY;
	}
	/* The queue's own hold is the one that the event was made with. */
	atomic_store(&e->o.refs, 0);
	ocl_hold(e);
	c->event = e;
	e->times[0] = ocl_now();
	c->silent = !w->event && !w->blocking;
	if (w->event)
		ocl_retain(e);
	err = ocl_queue_push(q, c);
	if (!err && w->blocking)
		err = finish_blocking(q, e);
	if (w->event && err && err != CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST)
		ocl_release(e);
	else if (w->event)
		*w->event = e;
	ocl_drop(e);
	return err;
}

cl_int ocl_nothing(struct ocl_command *c)
{
	(void)c;
	return CL_SUCCESS;
}

// SPDX-License-Identifier: MIT
/* Events: their status is what happened, and is set once it did. */
#include "opencl/api.h"

#include <string.h>

static void destroy(void *object)
{
	cl_event e = object;

	while (e->callbacks) {
		struct ocl_event_callback *c = e->callbacks;

		e->callbacks = c->next;
		ocl_free(c);
	}
	pthread_cond_destroy(&e->changed);
	if (e->queue)
		ocl_drop(e->queue);
	ocl_drop(e->context);
}

cl_event ocl_event_new(cl_context c, cl_command_queue q, cl_command_type type)
{
	cl_event e = ocl_object_new(OCL_EVENT, sizeof(*e), destroy);

	if (!e)
		return NULL;
	e->context = c;
	e->queue = q;
	e->type = type;
	e->status = q ? CL_QUEUED : CL_SUBMITTED;
	pthread_cond_init(&e->changed, NULL);
	ocl_hold(c);
	if (q)
		ocl_hold(q);
	return e;
}

cl_int ocl_take_error(cl_command_queue q)
{
	cl_int err = q->error;

	q->error = CL_SUCCESS;
	q->failed = 0;
	q->told++;
	return err;
}

/*
 * The application hears of a failure by the event: what comes next on the queue says no more of
 * it, if it was the only one. Locking: state->lock.
 */
static void tell(cl_event e)
{
	cl_command_queue q = e->queue;

	if (!e->failed_at || e->failed_at != q->told + 1)
		return;
	e->failed_at = 0;
	if (!--q->failed)
		q->error = CL_SUCCESS;
}

/* Locking: state->lock. Errors and completion are final. */
static void set_status(struct ocl_state *s, cl_event e, cl_int status)
{
	e->status = status;
	ocl_callbacks_due(s, e);
	pthread_cond_broadcast(&e->changed);
}

void ocl_event_set(cl_event e, cl_int status)
{
	struct ocl_state *s = ocl_state();

	pthread_mutex_lock(&s->lock);
	set_status(s, e, status);
	pthread_mutex_unlock(&s->lock);
}

cl_int ocl_event_wait(cl_event e)
{
	struct ocl_state *s = ocl_state();
	cl_int status;
	int old;

	/* A thread that is cancelled while it waits would end with the lock. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	pthread_mutex_lock(&s->lock);
	while (e->status > CL_COMPLETE) {
		if (e->queue && ocl_queue_help(s, e->queue))
			continue;
		if (e->queue)
			ocl_queue_flush(e->queue);
		pthread_cond_wait(&e->changed, &s->lock);
	}
	status = e->status;
	pthread_mutex_unlock(&s->lock);
	pthread_setcancelstate(old, NULL);
	return status;
}

cl_int ocl_check_wait_list(cl_context c, cl_uint n, const cl_event *list)
{
	if (!n != !list)
		return CL_INVALID_EVENT_WAIT_LIST;
	for (cl_uint i = 0; i < n; i++) {
		if (!ocl_valid(list[i], OCL_EVENT))
			return CL_INVALID_EVENT_WAIT_LIST;
		if (list[i]->context != c)
			return CL_INVALID_CONTEXT;
	}
	return CL_SUCCESS;
}

cl_event CL_API_CALL ocl_CreateUserEvent(cl_context c, cl_int *err_ret)
{
	cl_int err = ocl_valid(c, OCL_CONTEXT) ? CL_SUCCESS : CL_INVALID_CONTEXT;
	cl_event e = err ? NULL : ocl_event_new(c, NULL, CL_COMMAND_USER);

	if (!err && !e)
		err = CL_OUT_OF_HOST_MEMORY;
	if (err_ret)
		*err_ret = err;
	return e;
}

cl_int CL_API_CALL ocl_SetUserEventStatus(cl_event e, cl_int status)
{
	struct ocl_state *s = ocl_state();
	cl_int err = CL_SUCCESS;

	if (!ocl_valid(e, OCL_EVENT) || e->queue)
		return CL_INVALID_EVENT;
	if (status > CL_COMPLETE)
		return CL_INVALID_VALUE;
	pthread_mutex_lock(&s->lock);
	if (e->status > CL_COMPLETE)
		set_status(s, e, status);
	else
		err = CL_INVALID_OPERATION;
	pthread_mutex_unlock(&s->lock);
	return err;
}

cl_int CL_API_CALL ocl_SetEventCallback(cl_event e, cl_int type,
					void(CL_CALLBACK *fn)(cl_event, cl_int, void *), void *data)
{
	struct ocl_state *s = ocl_state();
	struct ocl_event_callback *c, **last;
	cl_int err;

	if (!ocl_valid(e, OCL_EVENT))
		return CL_INVALID_EVENT;
	if (!fn || (type != CL_SUBMITTED && type != CL_RUNNING && type != CL_COMPLETE))
		return CL_INVALID_VALUE;
	c = ocl_alloc(sizeof(*c));
	if (!c)
		return CL_OUT_OF_HOST_MEMORY;
	*c = (struct ocl_event_callback){ .type = type, .fn = fn, .data = data };
	pthread_mutex_lock(&s->lock);
	err = ocl_callbacks_start(s);
	for (last = &e->callbacks; !err && *last; last = &(*last)->next)
		;
	if (!err) {
		*last = c;
		ocl_callbacks_due(s, e);
	}
	pthread_mutex_unlock(&s->lock);
	if (err)
		ocl_free(c);
	return err;
}

cl_int CL_API_CALL ocl_WaitForEvents(cl_uint n, const cl_event *list)
{
	struct ocl_state *s = ocl_state();
	cl_int err = CL_SUCCESS;

	if (!n || !list)
		return CL_INVALID_VALUE;
	for (cl_uint i = 0; i < n; i++) {
		if (!ocl_valid(list[i], OCL_EVENT))
			return CL_INVALID_EVENT;
		if (list[i]->context != list[0]->context)
			return CL_INVALID_CONTEXT;
	}
	for (cl_uint i = 0; i < n; i++) {
		if (ocl_event_wait(list[i]) >= 0)
			continue;
		err = CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST;
		pthread_mutex_lock(&s->lock);
		tell(list[i]);
		pthread_mutex_unlock(&s->lock);
	}
	return err;
}

cl_int CL_API_CALL ocl_RetainEvent(cl_event e)
{
	return ocl_valid(e, OCL_EVENT) && ocl_retain(e) ? CL_SUCCESS : CL_INVALID_EVENT;
}

cl_int CL_API_CALL ocl_ReleaseEvent(cl_event e)
{
	return ocl_valid(e, OCL_EVENT) && ocl_release(e) ? CL_SUCCESS : CL_INVALID_EVENT;
}

cl_int CL_API_CALL ocl_GetEventInfo(cl_event e, cl_event_info param, size_t size, void *value,
				    size_t *size_ret)
{
	struct ocl_state *s = ocl_state();
	cl_int status;
	cl_uint refs;

	if (!ocl_valid(e, OCL_EVENT))
		return CL_INVALID_EVENT;
	pthread_mutex_lock(&s->lock);
	status = e->status;
	if (param == CL_EVENT_COMMAND_EXECUTION_STATUS)
		tell(e);
	pthread_mutex_unlock(&s->lock);
	refs = ocl_refs(e);
	switch (param) {
	case CL_EVENT_COMMAND_QUEUE:
		return OCL_INFO(e->queue);
	case CL_EVENT_CONTEXT:
		return OCL_INFO(e->context);
	case CL_EVENT_COMMAND_TYPE:
		return OCL_INFO(e->type);
	case CL_EVENT_COMMAND_EXECUTION_STATUS:
		return OCL_INFO(status);
	case CL_EVENT_REFERENCE_COUNT:
		return OCL_INFO(refs);
	default:
		return CL_INVALID_VALUE;
	}
}

cl_int CL_API_CALL ocl_GetEventProfilingInfo(cl_event e, cl_profiling_info param, size_t size,
					     void *value, size_t *size_ret)
{
	struct ocl_state *s = ocl_state();
	cl_int status;

	if (!ocl_valid(e, OCL_EVENT))
		return CL_INVALID_EVENT;
	if (!e->queue || !(e->queue->properties & CL_QUEUE_PROFILING_ENABLE))
		return CL_PROFILING_INFO_NOT_AVAILABLE;
	if (param < CL_PROFILING_COMMAND_QUEUED || param > CL_PROFILING_COMMAND_COMPLETE)
		return CL_INVALID_VALUE;
	pthread_mutex_lock(&s->lock);
	status = e->status;
	pthread_mutex_unlock(&s->lock);
	if (status != CL_COMPLETE)
		return CL_PROFILING_INFO_NOT_AVAILABLE;
	return OCL_INFO(e->times[param - CL_PROFILING_COMMAND_QUEUED]);
}

// SPDX-License-Identifier: MIT
/* Command queues: in order, with or without profiling. */
#include "opencl/api.h"

#include <string.h>

static void destroy(void *object)
{
	cl_command_queue q = object;

	ocl_conn_exit(&q->conn);
	pthread_cond_destroy(&q->idle);
	ocl_free(q->list);
	ocl_drop(q->context);
}

static cl_command_queue make(cl_context c, cl_device_id d, cl_command_queue_properties props)
{
	cl_command_queue q = ocl_object_new(OCL_QUEUE, sizeof(*q), destroy);

	if (!q)
		return NULL;
	q->context = c;
	ocl_hold(c);
	q->device = d;
	q->properties = props;
	q->conn.fd = -1;
	q->last = &q->first;
	pthread_cond_init(&q->idle, NULL);
	return q;
}

static cl_int check(cl_context c, cl_device_id d, cl_command_queue_properties props)
{
	const cl_command_queue_properties all = CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE |
						CL_QUEUE_PROFILING_ENABLE | CL_QUEUE_ON_DEVICE |
						CL_QUEUE_ON_DEVICE_DEFAULT;

	if (!ocl_valid(c, OCL_CONTEXT))
		return CL_INVALID_CONTEXT;
	if (!ocl_valid(d, OCL_DEVICE) || !ocl_context_has(c, d))
		return CL_INVALID_DEVICE;
	if (props & ~all)
		return CL_INVALID_VALUE;
	return props & ~(cl_command_queue_properties)CL_QUEUE_PROFILING_ENABLE ?
		       CL_INVALID_QUEUE_PROPERTIES :
		       CL_SUCCESS;
}

cl_command_queue CL_API_CALL ocl_CreateCommandQueue(cl_context c, cl_device_id d,
						    cl_command_queue_properties props,
						    cl_int *err_ret)
{
	cl_int err = check(c, d, props);
	cl_command_queue q = err ? NULL : make(c, d, props);

	if (!err && !q)
		err = CL_OUT_OF_HOST_MEMORY;
	if (err_ret)
		*err_ret = err;
	return q;
}

static cl_int parse(const cl_queue_properties *list, cl_command_queue_properties *props,
		    unsigned int *n)
{
	*n = 0;
	*props = 0;
	if (!list)
		return CL_SUCCESS;
	for (; list[*n]; *n += 2) {
		if (list[*n] == CL_QUEUE_SIZE)
			return CL_INVALID_QUEUE_PROPERTIES;
		if (list[*n] != CL_QUEUE_PROPERTIES)
			return CL_INVALID_VALUE;
		*props = list[*n + 1];
	}
	(*n)++;
	return CL_SUCCESS;
}

cl_command_queue CL_API_CALL ocl_CreateCommandQueueWithProperties(cl_context c, cl_device_id d,
								  const cl_queue_properties *list,
								  cl_int *err_ret)
{
	cl_command_queue_properties props;
	cl_command_queue q = NULL;
	unsigned int n;
	cl_int err = parse(list, &props, &n);

	if (!err)
		q = ocl_CreateCommandQueue(c, d, props, &err);
	if (q && n) {
		q->list = ocl_alloc(n * sizeof(*list));
		if (q->list) {
			memcpy(q->list, list, n * sizeof(*list));
			q->n_list = n;
		} else {
			ocl_drop(q);
			q = NULL;
			err = CL_OUT_OF_HOST_MEMORY;
		}
	}
	if (err_ret)
		*err_ret = err;
	return q;
}

cl_int CL_API_CALL ocl_RetainCommandQueue(cl_command_queue q)
{
	return ocl_valid(q, OCL_QUEUE) && ocl_retain(q) ? CL_SUCCESS : CL_INVALID_COMMAND_QUEUE;
}

cl_int CL_API_CALL ocl_ReleaseCommandQueue(cl_command_queue q)
{
	bool held;

	if (!ocl_valid(q, OCL_QUEUE))
		return CL_INVALID_COMMAND_QUEUE;
	ocl_hold(q);
	held = ocl_release(q);
	if (held && !ocl_refs(q))
		ocl_queue_close(q);
	ocl_drop(q);
	return held ? CL_SUCCESS : CL_INVALID_COMMAND_QUEUE;
}

cl_int CL_API_CALL ocl_GetCommandQueueInfo(cl_command_queue q, cl_command_queue_info param,
					   size_t size, void *value, size_t *size_ret)
{
	cl_command_queue none = NULL;
	cl_uint refs;

	if (!ocl_valid(q, OCL_QUEUE))
		return CL_INVALID_COMMAND_QUEUE;
	refs = ocl_refs(q);
	switch (param) {
	case CL_QUEUE_CONTEXT:
		return OCL_INFO(q->context);
	case CL_QUEUE_DEVICE:
		return OCL_INFO(q->device);
	case CL_QUEUE_REFERENCE_COUNT:
		return OCL_INFO(refs);
	case CL_QUEUE_PROPERTIES:
		return OCL_INFO(q->properties);
	case CL_QUEUE_PROPERTIES_ARRAY:
		return ocl_copy_info(q->list, q->n_list * sizeof(*q->list), size, value, size_ret);
	case CL_QUEUE_DEVICE_DEFAULT:
		return OCL_INFO(none);
	default:
		return CL_INVALID_VALUE;
	}
}

cl_int CL_API_CALL ocl_SetCommandQueueProperty(cl_command_queue q,
					       cl_command_queue_properties props, cl_bool enable,
					       cl_command_queue_properties *old)
{
	(void)props, (void)enable, (void)old;
	return ocl_valid(q, OCL_QUEUE) ? CL_INVALID_OPERATION : CL_INVALID_COMMAND_QUEUE;
}

cl_int CL_API_CALL ocl_Flush(cl_command_queue q)
{
	if (!ocl_valid(q, OCL_QUEUE))
		return CL_INVALID_COMMAND_QUEUE;
	pthread_mutex_lock(&ocl_state()->lock);
	ocl_queue_flush(q);
	pthread_mutex_unlock(&ocl_state()->lock);
	return CL_SUCCESS;
}

cl_int CL_API_CALL ocl_Finish(cl_command_queue q)
{
	return ocl_valid(q, OCL_QUEUE) ? ocl_queue_finish(q) : CL_INVALID_COMMAND_QUEUE;
}

static cl_int enqueue_nothing(cl_command_queue q, cl_command_type type, struct ocl_wait w)
{
	cl_int err = ocl_command_check(q, &w);

	if (err)
		return err;
	return ocl_command_submit(ocl_command_new(q, sizeof(struct ocl_command), ocl_nothing), type,
				  &w);
}

cl_int CL_API_CALL ocl_EnqueueMarkerWithWaitList(cl_command_queue q, cl_uint n,
						 const cl_event *list, cl_event *event)
{
	return enqueue_nothing(q, CL_COMMAND_MARKER, OCL_WAIT(n, list, event));
}

cl_int CL_API_CALL ocl_EnqueueBarrierWithWaitList(cl_command_queue q, cl_uint n,
						  const cl_event *list, cl_event *event)
{
	return enqueue_nothing(q, CL_COMMAND_BARRIER, OCL_WAIT(n, list, event));
}

cl_int CL_API_CALL ocl_EnqueueMarker(cl_command_queue q, cl_event *event)
{
	if (ocl_valid(q, OCL_QUEUE) && !event)
		return CL_INVALID_VALUE;
	return enqueue_nothing(q, CL_COMMAND_MARKER, OCL_WAIT(0, NULL, event));
}

cl_int CL_API_CALL ocl_EnqueueBarrier(cl_command_queue q)
{
	return enqueue_nothing(q, CL_COMMAND_BARRIER, OCL_WAIT(0, NULL, NULL));
}

cl_int CL_API_CALL ocl_EnqueueWaitForEvents(cl_command_queue q, cl_uint n, const cl_event *list)
{
	cl_int err;

	if (ocl_valid(q, OCL_QUEUE) && (!n || !list))
		return CL_INVALID_VALUE;
	err = enqueue_nothing(q, CL_COMMAND_BARRIER, OCL_WAIT(n, list, NULL));
	return err == CL_INVALID_EVENT_WAIT_LIST ? CL_INVALID_EVENT : err;
}

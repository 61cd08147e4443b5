// SPDX-License-Identifier: MIT
/* Kernel launches: one request that carries everything, one reply when it is over. */
#include "opencl/api.h"

#include <errno.h>
#include <string.h>

struct launch {
	struct ocl_command c;
	cl_kernel kernel;   /* held */
	unsigned int index; /* of the device in the context */
	cl_mem *mems;       /* held: the arguments'; n_args long */
	size_t bytes;
	struct cl_wire_launch *message;
	struct hmm_device_fault fault; /* filled with a lock held: not on a stack that migrates */
};

/* Arguments as they are now: later clSetKernelArg() calls are for later launches. */
static size_t message_bytes(cl_kernel k)
{
	size_t bytes = sizeof(struct cl_wire_launch);

	for (uint32_t i = 0; i < k->n_args; i++) {
		bytes += sizeof(struct cl_wire_arg);
		if (k->args[i].state == OCL_ARG_VALUE)
			bytes += (k->args[i].size + 7u) & ~7u;
	}
	return bytes;
}

static char *put_arg(char *to, const struct ocl_arg *a)
{
	struct cl_wire_arg w = { CL_WIRE_ARG_POINTER, a->size, a->pointer };

	if (a->state == OCL_ARG_LOCAL)
		w.kind = CL_WIRE_ARG_LOCAL;
	else if (a->state == OCL_ARG_VALUE)
		w.kind = CL_WIRE_ARG_VALUE;
	memcpy(to, &w, sizeof(w));
	to += sizeof(w);
	if (a->state != OCL_ARG_VALUE)
		return to;
	memcpy(to, a->value, a->size);
	return to + ((a->size + 7u) & ~7u);
}

/* Locking: kernel->lock. */
static cl_int take_args(struct launch *l, cl_kernel k)
{
	char *to;

	for (uint32_t i = 0; i < k->n_args; i++)
		if (k->args[i].state == OCL_ARG_UNSET)
			return CL_INVALID_KERNEL_ARGS;
	l->bytes = message_bytes(k);
	l->message = ocl_alloc(l->bytes);
	l->mems = ocl_alloc(k->n_args * sizeof(*l->mems) + 1);
	if (!l->message || !l->mems)
		return CL_OUT_OF_HOST_MEMORY;
	l->message->n_args = k->n_args;
	to = (char *)(l->message + 1);
	for (uint32_t i = 0; i < k->n_args; i++) {
		l->mems[i] = k->args[i].mem;
		if (l->mems[i])
			ocl_hold(l->mems[i]);
		to = put_arg(to, &k->args[i]);
	}
	return CL_SUCCESS;
}

static void clean(struct ocl_command *c)
{
	struct launch *l = (struct launch *)c;

	for (uint32_t i = 0; l->mems && i < l->kernel->n_args; i++)
		if (l->mems[i])
			ocl_drop(l->mems[i]);
	ocl_free(l->mems);
	ocl_free(l->message);
	ocl_drop(l->kernel);
}

static void report(cl_command_queue q, const struct hmm_device_fault *f)
{
	static const char *const access[] = { "load", "store", "unknown access" };

	hmm_engine_log(0,
		       "device %d: device fault: address 0x%lx, %s: %s; %lu device faults "
		       "served, %lu pages; the launch ended",
		       q->device->index, (unsigned long)f->address,
		       access[f->write < 2 ? f->write : 2], f->reason,
		       (unsigned long)f->device_faults, (unsigned long)f->pages);
}

/* Nothing has told the device's connection that its engine ended, if only launches are made. */
static void forget_engine(cl_device_id d, unsigned int generation)
{
	pthread_mutex_lock(&d->lock);
	if (d->conn.generation == generation)
		ocl_conn_close(&d->conn);
	pthread_mutex_unlock(&d->lock);
}

/* A request for the engine that the kernel's id belongs to. */
static int prepare(struct launch *l, cl_int *status)
{
	cl_command_queue q = l->c.queue;
	unsigned int generation;
	void *payload;
	int err;

	for (int i = 0; i < 3; i++) {
		*status = ocl_kernel_id(l->kernel, l->index, &l->message->kernel, &generation);
		if (*status)
			return 0;
		err = ocl_conn_open(&q->conn, q->device->index);
		if (err)
			return err;
		if (q->conn.generation == generation) {
			payload = ocl_conn_payload(&q->conn, l->bytes);
			if (!payload)
				return -ENOMEM;
			memcpy(payload, l->message, l->bytes);
			return 0;
		}
		forget_engine(q->device, generation);
		ocl_conn_close(&q->conn);
	}
	return -EAGAIN;
}

/* Another queue's launch may have ended the engine before this one was sent. */
static cl_int call(struct launch *l, bool *lost)
{
	cl_command_queue q = l->c.queue;
	struct cl_wire_launched done;
	const void *reply;
	cl_int status;
	size_t got;
	int err = ocl_conn_call(&q->conn, CL_WIRE_LAUNCH, l->bytes, &status, &reply, &got);

	*lost = err;
	if (err)
		return CL_OUT_OF_RESOURCES;
	if (!status && got == sizeof(done)) {
		memcpy(&done, reply, sizeof(done));
		l->c.event->times[2] = done.start;
		l->c.event->times[3] = done.end;
	}
	return status;
}

static cl_int launch_once(struct launch *l)
{
	cl_command_queue q = l->c.queue;
	struct ocl_state *s = ocl_state();
	cl_int status = CL_SUCCESS;
	bool lost;
	int err = prepare(l, &status);

	if (err || status)
		return err ? ocl_error(err) : status;
	err = hmm_engine_launch_begin(s->hmm, q->device->index);
	if (err && err != -ENODEV)
		return ocl_error(err);
	status = call(l, &lost);
	err = hmm_engine_launch_end(s->hmm, q->device->index, q->conn.generation, &l->fault);
	if (err == 1)
		report(q, &l->fault);
	if (lost)
		ocl_conn_close(&q->conn);
	if (err == -ENODEV)
		return CL_DEVICE_NOT_AVAILABLE;
	return err == 1 ? CL_OUT_OF_RESOURCES : status;
}

static cl_int run(struct ocl_command *c)
{
	struct ocl_state *s = ocl_state();
	cl_int status = launch_once((struct launch *)c);

	if (status) {
		pthread_mutex_lock(&s->lock);
		c->queue->error = status == CL_DEVICE_NOT_AVAILABLE ? status : CL_OUT_OF_RESOURCES;
		pthread_mutex_unlock(&s->lock);
	}
	return status;
}

static cl_int check_sizes(cl_uint dims, const size_t *offset, const size_t *global)
{
	if (dims < 1 || dims > 3)
		return CL_INVALID_WORK_DIMENSION;
	for (cl_uint i = 0; global && i < dims; i++)
		if (offset && offset[i] > SIZE_MAX - global[i])
			return CL_INVALID_GLOBAL_OFFSET;
	return CL_SUCCESS;
}

/* Since OpenCL 2.1 no error: a command that does nothing, when its turn has come. */
static bool has_items(cl_uint dims, const size_t *global)
{
	bool any = global != NULL;

	for (cl_uint i = 0; any && i < dims; i++)
		any = global[i] != 0;
	return any;
}

static cl_int check_local(cl_command_queue q, const struct cl_wire_kernel_info *info, cl_uint dims,
			  const size_t *local)
{
	struct ocl_limits l;
	size_t total = 1;
	cl_int err;

	if (!local)
		return CL_SUCCESS;
	err = ocl_device_limits(q->device, &l);
	if (err)
		return err;
	for (cl_uint i = 0; i < dims; i++) {
		if (!local[i])
			return CL_INVALID_WORK_GROUP_SIZE;
		if (local[i] > l.item_sizes[i])
			return CL_INVALID_WORK_ITEM_SIZE;
		if (info->compile_size[0] && local[i] != info->compile_size[i])
			return CL_INVALID_WORK_GROUP_SIZE;
		if (__builtin_mul_overflow(total, local[i], &total))
			return CL_INVALID_WORK_GROUP_SIZE;
	}
	return total > l.group_size ? CL_INVALID_WORK_GROUP_SIZE : CL_SUCCESS;
}

/* Without a local size, a kernel that requires one gets it. */
static cl_int check(cl_command_queue q, cl_kernel k, cl_uint dims, const size_t *offset,
		    const size_t *global, const size_t **local, size_t required[3],
		    const struct ocl_wait *w)
{
	struct cl_wire_kernel_info info;
	int index;
	cl_int err = ocl_command_check(q, w);

	if (err)
		return err;
	if (!ocl_valid(k, OCL_KERNEL))
		return CL_INVALID_KERNEL;
	if (k->program->context != q->context)
		return CL_INVALID_CONTEXT;
	index = ocl_context_index(q->context, q->device);
	if (k->program->build[index].status != CL_BUILD_SUCCESS)
		return CL_INVALID_PROGRAM_EXECUTABLE;
	err = check_sizes(dims, offset, global);
	if (err)
		return err;
	err = ocl_kernel_target(k, (unsigned int)index, &info);
	if (err)
		return err;
	for (int i = 0; i < 3; i++)
		required[i] = info.compile_size[i];
	if (!*local && required[0])
		*local = required;
	return check_local(q, &info, dims, *local);
}

static void put_sizes(struct launch *l, cl_uint dims, const size_t *offset, const size_t *global,
		      const size_t *local)
{
	struct cl_wire_launch *m = l->message;

	m->dims = dims;
	m->flags = local ? CL_WIRE_HAS_LOCAL : 0;
	for (cl_uint i = 0; i < 3; i++) {
		m->offset[i] = i < dims && offset ? offset[i] : 0;
		m->global[i] = i < dims && global ? global[i] : 1;
		m->local[i] = i < dims && local ? local[i] : 1;
	}
}

static cl_int enqueue(cl_command_queue q, cl_kernel k, cl_uint dims, const size_t *offset,
		      const size_t *global, const size_t *local, cl_command_type type,
		      const struct ocl_wait *w)
{
	size_t required[3];
	struct launch *l;
	cl_int err = check(q, k, dims, offset, global, &local, required, w);

	if (err)
		return err;
	l = ocl_command_new(q, sizeof(*l), has_items(dims, global) ? run : ocl_nothing);
	if (!l)
		return CL_OUT_OF_HOST_MEMORY;
	l->c.clean = clean;
	l->c.anywhere = true;
	l->kernel = k;
	l->index = (unsigned int)ocl_context_index(q->context, q->device);
	ocl_hold(k);
	pthread_mutex_lock(&k->lock);
	err = take_args(l, k);
	pthread_mutex_unlock(&k->lock);
	if (err) {
		clean(&l->c);
		ocl_free(l);
		return err;
	}
	put_sizes(l, dims, offset, global, local);
	return ocl_command_submit(&l->c, type, w);
}

cl_int CL_API_CALL ocl_EnqueueNDRangeKernel(cl_command_queue q, cl_kernel k, cl_uint dims,
					    const size_t *offset, const size_t *global,
					    const size_t *local, cl_uint n, const cl_event *list,
					    cl_event *event)
{
	struct ocl_wait w = OCL_WAIT(n, list, event);

	return enqueue(q, k, dims, offset, global, local, CL_COMMAND_NDRANGE_KERNEL, &w);
}

cl_int CL_API_CALL ocl_EnqueueTask(cl_command_queue q, cl_kernel k, cl_uint n, const cl_event *list,
				   cl_event *event)
{
	struct ocl_wait w = OCL_WAIT(n, list, event);
	size_t one = 1;

	return enqueue(q, k, 1, NULL, &one, &one, CL_COMMAND_TASK, &w);
}

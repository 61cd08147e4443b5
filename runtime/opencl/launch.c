// SPDX-License-Identifier: MIT
/* Kernel launches: what is checked and taken when they are enqueued. */
#include "opencl/api.h"
#include "opencl/launch.h"

#include <string.h>

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
static cl_int take_args(struct ocl_launch *l, cl_kernel k)
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
	struct ocl_launch *l = (struct ocl_launch *)c;

	for (uint32_t i = 0; l->mems && i < l->kernel->n_args; i++)
		if (l->mems[i])
			ocl_drop(l->mems[i]);
	ocl_free(l->mems);
	ocl_free(l->message);
	ocl_drop(l->kernel);
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

static cl_int check_local_item(const struct ocl_limits *l, const struct cl_wire_kernel_info *info,
			       cl_uint i, const size_t *global, size_t local)
{
	if (!local)
		return CL_INVALID_WORK_GROUP_SIZE;
	if (local > l->item_sizes[i])
		return CL_INVALID_WORK_ITEM_SIZE;
	if (info->compile_size[0] && local != info->compile_size[i])
		return CL_INVALID_WORK_GROUP_SIZE;
	return l->uniform && global && global[i] % local ? CL_INVALID_WORK_GROUP_SIZE : CL_SUCCESS;
}

/* All that the engine would refuse: programs try a size, and fall back on what this says. */
static cl_int check_local(cl_command_queue q, const struct cl_wire_kernel_info *info, cl_uint dims,
			  const size_t *global, const size_t *local)
{
	struct ocl_limits l;
	size_t total = 1;
	cl_int err;

	if (!local)
		return CL_SUCCESS;
	err = ocl_device_limits(q->device, &l);
	for (cl_uint i = 0; !err && i < dims; i++) {
		err = check_local_item(&l, info, i, global, local[i]);
		if (!err && __builtin_mul_overflow(total, local[i], &total))
			err = CL_INVALID_WORK_GROUP_SIZE;
	}
	for (cl_uint i = dims; !err && i < 3; i++)
		if (info->compile_size[0] && info->compile_size[i] != 1)
			err = CL_INVALID_WORK_GROUP_SIZE;
	if (err)
		return err;
	if (total > l.group_size || (info->work_group_size && total > info->work_group_size))
		return CL_INVALID_WORK_GROUP_SIZE;
	return CL_SUCCESS;
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
	return check_local(q, &info, dims, global, *local);
}

static void put_sizes(struct ocl_launch *l, cl_uint dims, const size_t *offset,
		      const size_t *global, const size_t *local)
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
	struct ocl_launch *l;
	cl_int err = check(q, k, dims, offset, global, &local, required, w);

	if (err)
		return err;
	l = ocl_command_new(q, sizeof(*l), has_items(dims, global) ? ocl_launch_run : ocl_nothing);
	if (!l)
		return CL_OUT_OF_HOST_MEMORY;
	if (l->c.run == ocl_launch_run)
		l->c.run_all = ocl_launch_run_all;
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

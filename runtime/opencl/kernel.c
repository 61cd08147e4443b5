// SPDX-License-Identifier: MIT
/* Kernels: arguments are kept here and travel with every launch. */
#include "opencl/api.h"

#include <errno.h>
#include <string.h>

void ocl_arg_clear(struct ocl_arg *a)
{
	if (a->mem)
		ocl_drop(a->mem);
	ocl_free(a->value);
	*a = (struct ocl_arg){ 0 };
}

static void destroy(void *object)
{
	cl_kernel k = object;

	for (uint32_t i = 0; k->args && i < k->n_args; i++)
		ocl_arg_clear(&k->args[i]);
	ocl_free(k->args);
	ocl_free(k->info);
	ocl_free(k->name);
	atomic_fetch_sub(&k->program->kernels, 1);
	ocl_drop(k->program);
}

/* Locking: kernel->lock. */
static cl_int take_info(cl_kernel k, struct ocl_kernel_target *t, const char *reply, size_t bytes)
{
	struct cl_wire_kernel_info info;
	size_t args;

	if (bytes < sizeof(info))
		return CL_OUT_OF_RESOURCES;
	memcpy(&info, reply, sizeof(info));
	args = (size_t)info.n_args * sizeof(*k->info);
	if (info.n_args > CL_WIRE_MAX_ARGS || bytes != sizeof(info) + args)
		return CL_OUT_OF_RESOURCES;
	info.attributes[sizeof(info.attributes) - 1] = 0;
	t->info = info;
	t->id = info.kernel;
	if (k->args)
		return info.n_args == k->n_args ? CL_SUCCESS : CL_OUT_OF_RESOURCES;
	k->n_args = info.n_args;
	k->info = ocl_alloc(args + 1);
	k->args = ocl_alloc(info.n_args * sizeof(*k->args) + 1);
	if (!k->info || !k->args)
		return CL_OUT_OF_HOST_MEMORY;
	memcpy(k->info, reply + sizeof(info), args);
	return CL_SUCCESS;
}

/* Locking: kernel->lock, device->lock. */
static int ask(cl_kernel k, cl_device_id d, uint32_t program, struct ocl_kernel_target *t,
	       cl_int *status)
{
	struct cl_wire_kernel q = { program, (uint32_t)strlen(k->name) };
	const void *reply;
	size_t got;
	char *to;
	int err = ocl_conn_open(&d->conn, d->index);

	if (err)
		return err;
	if (d->conn.generation != t->generation)
		return -EPIPE;
	to = ocl_conn_payload(&d->conn, sizeof(q) + q.name_length);
	if (!to)
		return -ENOMEM;
	memcpy(to, &q, sizeof(q));
	memcpy(to + sizeof(q), k->name, q.name_length);
	err = ocl_conn_call(&d->conn, CL_WIRE_KERNEL, sizeof(q) + q.name_length, status, &reply,
			    &got);
	if (!err && !*status)
		*status = take_info(k, t, reply, got);
	return err;
}

/* Locking: kernel->lock. Again when the engine is reset between program and kernel. */
static cl_int target(cl_kernel k, unsigned int i)
{
	cl_device_id d = k->program->context->devices[i];
	struct ocl_kernel_target *t = &k->target[i];
	cl_int status = CL_SUCCESS;
	unsigned int generation;
	uint32_t program;
	int err = -EPIPE;

	for (int n = 0; n < 3 && ocl_conn_again(err); n++) {
		status = ocl_program_id(k->program, i, &program, &generation);
		if (status)
			return status;
		if (t->id && t->generation == generation)
			return CL_SUCCESS;
		t->id = 0;
		t->generation = generation;
		pthread_mutex_lock(&d->lock);
		err = ask(k, d, program, t, &status);
		pthread_mutex_unlock(&d->lock);
	}
	return err ? ocl_error(err) : status;
}

cl_int ocl_kernel_id(cl_kernel k, unsigned int i, uint32_t *id, unsigned int *generation)
{
	cl_int err;

	pthread_mutex_lock(&k->lock);
	err = target(k, i);
	*id = k->target[i].id;
	*generation = k->target[i].generation;
	pthread_mutex_unlock(&k->lock);
	return err;
}

/* What is known of it, from whatever engine. */
cl_int ocl_kernel_target(cl_kernel k, unsigned int i, struct cl_wire_kernel_info *info)
{
	cl_int err = CL_SUCCESS;

	pthread_mutex_lock(&k->lock);
	if (!k->target[i].info.kernel)
		err = target(k, i);
	*info = k->target[i].info;
	pthread_mutex_unlock(&k->lock);
	return err;
}

static cl_kernel make(cl_program p, const char *name, size_t length)
{
	cl_kernel k = ocl_object_new(OCL_KERNEL, sizeof(*k), destroy);

	if (!k)
		return NULL;
	pthread_mutex_init(&k->lock, NULL);
	k->program = p;
	ocl_hold(p);
	atomic_fetch_add(&p->kernels, 1);
	k->name = ocl_strndup(name, length);
	if (k->name)
		return k;
	ocl_drop(k);
	return NULL;
}

static bool has_name(const char *names, const char *name, size_t length)
{
	for (const char *at = names; at; at = strchr(at, ';'), at = at ? at + 1 : NULL)
		if (!strncmp(at, name, length) && (!at[length] || at[length] == ';'))
			return true;
	return false;
}

/* A launch after its engine was reset builds the program again. */
static bool has_kernel(cl_program p, const char *name, size_t length)
{
	bool found;

	pthread_mutex_lock(&p->lock);
	found = length && p->names && has_name(p->names, name, length);
	pthread_mutex_unlock(&p->lock);
	return found;
}

static cl_kernel create(cl_program p, const char *name, size_t length, cl_int *err)
{
	int i = ocl_program_first_built(p);
	uint32_t id;
	unsigned int generation;
	cl_kernel k;

	*err = i < 0                        ? CL_INVALID_PROGRAM_EXECUTABLE :
	       !has_kernel(p, name, length) ? CL_INVALID_KERNEL_NAME :
					      CL_SUCCESS;
	if (*err)
		return NULL;
	k = make(p, name, length);
	*err = k ? ocl_kernel_id(k, (unsigned int)i, &id, &generation) : CL_OUT_OF_HOST_MEMORY;
	if (!*err)
		return k;
	if (k)
		ocl_drop(k);
	return NULL;
}

cl_kernel CL_API_CALL ocl_CreateKernel(cl_program p, const char *name, cl_int *err_ret)
{
	cl_int err = CL_SUCCESS;
	cl_kernel k = NULL;

	if (!ocl_valid(p, OCL_PROGRAM))
		err = CL_INVALID_PROGRAM;
	else if (!name)
		err = CL_INVALID_VALUE;
	else
		k = create(p, name, strlen(name), &err);
	if (err_ret)
		*err_ret = err;
	return k;
}

/* One of each; none after an error. */
static cl_int create_all(cl_program p, const char *names, cl_kernel *kernels, size_t n)
{
	cl_int err = CL_SUCCESS;
	size_t i = 0;

	for (const char *at = names; i < n && !err; i++) {
		size_t length = strcspn(at, ";");

		kernels[i] = create(p, at, length, &err);
		at += length + 1;
	}
	while (err && i > 1)
		ocl_drop(kernels[--i - 1]);
	return err;
}

cl_int CL_API_CALL ocl_CreateKernelsInProgram(cl_program p, cl_uint n, cl_kernel *kernels,
					      cl_uint *n_ret)
{
	size_t have = 0;
	char *names;
	cl_int err;

	if (!ocl_valid(p, OCL_PROGRAM))
		return CL_INVALID_PROGRAM;
	err = ocl_GetProgramInfo(p, CL_PROGRAM_NUM_KERNELS, sizeof(have), &have, NULL);
	if (err)
		return err;
	if (kernels && n < have)
		return CL_INVALID_VALUE;
	if (kernels) {
		pthread_mutex_lock(&p->lock);
		names = ocl_strndup(p->names ? p->names : "", p->names ? strlen(p->names) : 0);
		pthread_mutex_unlock(&p->lock);
		err = names ? create_all(p, names, kernels, have) : CL_OUT_OF_HOST_MEMORY;
		ocl_free(names);
	}
	if (err)
		return err;
	if (n_ret)
		*n_ret = (cl_uint)have;
	return CL_SUCCESS;
}

static cl_int copy_args(cl_kernel to, cl_kernel from)
{
	for (uint32_t i = 0; i < from->n_args; i++) {
		struct ocl_arg *a = &from->args[i], *b = &to->args[i];

		*b = *a;
		if (b->mem)
			ocl_hold(b->mem);
		if (!a->value)
			continue;
		b->value = ocl_strndup(a->value, a->size);
		if (!b->value) {
			b->state = OCL_ARG_UNSET;
			return CL_OUT_OF_HOST_MEMORY;
		}
	}
	return CL_SUCCESS;
}

cl_kernel CL_API_CALL ocl_CloneKernel(cl_kernel source, cl_int *err_ret)
{
	cl_int err = ocl_valid(source, OCL_KERNEL) ? CL_SUCCESS : CL_INVALID_KERNEL;
	cl_kernel k = err ? NULL :
			    create(source->program, source->name, strlen(source->name), &err);

	if (k) {
		pthread_mutex_lock(&source->lock);
		err = copy_args(k, source);
		pthread_mutex_unlock(&source->lock);
	}
	if (k && err) {
		ocl_drop(k);
		k = NULL;
	}
	if (err_ret)
		*err_ret = err;
	return k;
}

cl_int CL_API_CALL ocl_RetainKernel(cl_kernel k)
{
	return ocl_valid(k, OCL_KERNEL) && ocl_retain(k) ? CL_SUCCESS : CL_INVALID_KERNEL;
}

cl_int CL_API_CALL ocl_ReleaseKernel(cl_kernel k)
{
	return ocl_valid(k, OCL_KERNEL) && ocl_release(k) ? CL_SUCCESS : CL_INVALID_KERNEL;
}

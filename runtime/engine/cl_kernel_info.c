// SPDX-License-Identifier: MIT
/* What the front end must know of a kernel and its arguments. */
#include "engine/cl_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST_VALUE 4096u

static bool fits(cl_kernel k, cl_uint i, size_t size)
{
	static const char zeros[LARGEST_VALUE];

	return clSetKernelArg(k, i, size, zeros) == CL_SUCCESS;
}

/*
 * No query tells the size of a by-value argument, but a wrong one is refused. A device
 * that takes anything leaves it unknown.
 */
static uint32_t value_size(cl_kernel k, cl_uint i)
{
	static const uint32_t usual[] = { 4, 8, 1, 2, 16, 32, 64, 128 };

	if (fits(k, i, 3) && fits(k, i, 5))
		return 0;
	for (size_t n = 0; n < sizeof(usual) / sizeof(usual[0]); n++)
		if (fits(k, i, usual[n]))
			return usual[n];
	for (uint32_t size = 1; size <= LARGEST_VALUE; size++)
		if (fits(k, i, size))
			return size;
	return 0;
}

/* As much of it as there is room for. */
static void copy_text(char *to, size_t room, const char *text)
{
	snprintf(to, room, "%.*s", (int)room - 1, text);
}

static void describe_name(cl_kernel k, cl_uint i, cl_kernel_arg_info param, char *to)
{
	size_t bytes = 0;
	char *text;

	if (clGetKernelArgInfo(k, i, param, 0, NULL, &bytes) || !bytes)
		return;
	text = malloc(bytes);
	if (text && !clGetKernelArgInfo(k, i, param, bytes, text, NULL))
		copy_text(to, CL_WIRE_ARG_NAME, text);
	free(text);
}

static void describe_attributes(cl_kernel k, char *to)
{
	size_t bytes = 0;
	char *text;

	if (clGetKernelInfo(k, CL_KERNEL_ATTRIBUTES, 0, NULL, &bytes) || !bytes)
		return;
	text = malloc(bytes);
	if (text && !clGetKernelInfo(k, CL_KERNEL_ATTRIBUTES, bytes, text, NULL))
		copy_text(to, CL_WIRE_ATTRIBUTES, text);
	free(text);
}

static void describe_arg(cl_kernel k, cl_uint i, struct cl_wire_arg_info *a)
{
	cl_kernel_arg_address_qualifier address = CL_KERNEL_ARG_ADDRESS_PRIVATE;
	cl_kernel_arg_access_qualifier access = CL_KERNEL_ARG_ACCESS_NONE;
	cl_kernel_arg_type_qualifier qualifier = CL_KERNEL_ARG_TYPE_NONE;

	clGetKernelArgInfo(k, i, CL_KERNEL_ARG_ADDRESS_QUALIFIER, sizeof(address), &address, NULL);
	clGetKernelArgInfo(k, i, CL_KERNEL_ARG_ACCESS_QUALIFIER, sizeof(access), &access, NULL);
	clGetKernelArgInfo(k, i, CL_KERNEL_ARG_TYPE_QUALIFIER, sizeof(qualifier), &qualifier, NULL);
	a->address = address;
	a->access = access;
	a->qualifier = qualifier;
	describe_name(k, i, CL_KERNEL_ARG_TYPE_NAME, a->type);
	describe_name(k, i, CL_KERNEL_ARG_NAME, a->name);
	if (address == CL_KERNEL_ARG_ADDRESS_PRIVATE && strcmp(a->type, "sampler_t"))
		a->size = value_size(k, i);
}

static void describe_group(struct cl_engine_kernel *k, struct cl_wire_kernel_info *info)
{
	const struct cl_engine *e;
	cl_ulong local = 0, private = 0;
	size_t size = 0, multiple = 0, compile[3] = { 0 };
	cl_int status;

	e = cl_engine_get(&status);
	if (!e)
		return;
	clGetKernelWorkGroupInfo(k->kernel, e->device, CL_KERNEL_WORK_GROUP_SIZE, sizeof(size),
				 &size, NULL);
	clGetKernelWorkGroupInfo(k->kernel, e->device, CL_KERNEL_COMPILE_WORK_GROUP_SIZE,
				 sizeof(compile), compile, NULL);
	clGetKernelWorkGroupInfo(k->kernel, e->device, CL_KERNEL_LOCAL_MEM_SIZE, sizeof(local),
				 &local, NULL);
	clGetKernelWorkGroupInfo(k->kernel, e->device, CL_KERNEL_PRIVATE_MEM_SIZE, sizeof(private),
				 &private, NULL);
	clGetKernelWorkGroupInfo(k->kernel, e->device, CL_KERNEL_PREFERRED_WORK_GROUP_SIZE_MULTIPLE,
				 sizeof(multiple), &multiple, NULL);
	info->work_group_size = size;
	info->local_bytes = local;
	info->private_bytes = private;
	info->multiple = multiple;
	for (int i = 0; i < 3; i++)
		info->compile_size[i] = compile[i];
}

void cl_describe_kernel(struct cl_engine_kernel *k, struct cl_reply *r)
{
	struct cl_wire_kernel_info *info = cl_reply_add(r, sizeof(*info));

	if (!info)
		return;
	if (k->n_args > CL_WIRE_MAX_ARGS) {
		r->status = CL_OUT_OF_RESOURCES;
		return;
	}
	info->kernel = k->id;
	info->n_args = k->n_args;
	describe_attributes(k->kernel, info->attributes);
	pthread_mutex_lock(&k->lock);
	describe_group(k, info);
	for (cl_uint i = 0; i < k->n_args; i++) {
		struct cl_wire_arg_info *a = cl_reply_add(r, sizeof(*a));

		if (!a)
			break;
		describe_arg(k->kernel, i, a);
	}
	pthread_mutex_unlock(&k->lock);
}

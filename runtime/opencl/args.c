// SPDX-License-Identifier: MIT
/* clSetKernelArg() and its relatives. */
#include "opencl/api.h"

#include <string.h>

static bool is_pointer(const struct cl_wire_arg_info *i)
{
	return i->address == CL_KERNEL_ARG_ADDRESS_GLOBAL ||
	       i->address == CL_KERNEL_ARG_ADDRESS_CONSTANT;
}

/* Images and pipes are pointers to the compiler, and nothing that this platform has. */
static bool is_image(const struct cl_wire_arg_info *i)
{
	return i->access != CL_KERNEL_ARG_ACCESS_NONE;
}

static void replace(cl_kernel k, cl_uint i, const struct ocl_arg *a)
{
	struct ocl_arg old;

	pthread_mutex_lock(&k->lock);
	old = k->args[i];
	k->args[i] = *a;
	pthread_mutex_unlock(&k->lock);
	ocl_arg_clear(&old);
}

static cl_int set_mem(cl_kernel k, cl_uint i, size_t size, const void *value)
{
	struct ocl_arg a = { .state = OCL_ARG_MEM };
	cl_mem m = NULL;

	if (size != sizeof(cl_mem))
		return CL_INVALID_ARG_SIZE;
	if (value)
		memcpy(&m, value, sizeof(m));
	if (m && (!ocl_valid(m, OCL_MEM) || m->context != k->program->context))
		return CL_INVALID_MEM_OBJECT;
	if (m) {
		ocl_hold(m);
		a.mem = m;
		a.pointer = (uintptr_t)m->data;
	}
	replace(k, i, &a);
	return CL_SUCCESS;
}

/* Is there a device for it? One that cannot tell now will at the launch. */
static bool fits_local(cl_kernel k, size_t size)
{
	cl_context c = k->program->context;
	struct ocl_limits l;

	for (unsigned int i = 0; i < c->n_devices; i++)
		if (ocl_device_limits(c->devices[i], &l) || size <= l.local_bytes)
			return true;
	return false;
}

static cl_int set_local(cl_kernel k, cl_uint i, size_t size, const void *value)
{
	struct ocl_arg a = { .state = OCL_ARG_LOCAL, .size = (uint32_t)size };

	if (value)
		return CL_INVALID_ARG_VALUE;
	if (!size || size > UINT32_MAX || !fits_local(k, size))
		return CL_INVALID_ARG_SIZE;
	replace(k, i, &a);
	return CL_SUCCESS;
}

static cl_int set_value(cl_kernel k, cl_uint i, size_t size, const void *value)
{
	struct ocl_arg a = { .state = OCL_ARG_VALUE, .size = (uint32_t)size };
	uint32_t need = k->info[i].size;

	if (!size || size > CL_WIRE_MAX_VALUE || (need && size != need))
		return CL_INVALID_ARG_SIZE;
	if (!value)
		return CL_INVALID_ARG_VALUE;
	a.value = ocl_strndup(value, size);
	if (!a.value)
		return CL_OUT_OF_HOST_MEMORY;
	replace(k, i, &a);
	return CL_SUCCESS;
}

cl_int CL_API_CALL ocl_SetKernelArg(cl_kernel k, cl_uint i, size_t size, const void *value)
{
	const struct cl_wire_arg_info *info;

	if (!ocl_valid(k, OCL_KERNEL))
		return CL_INVALID_KERNEL;
	if (i >= k->n_args)
		return CL_INVALID_ARG_INDEX;
	info = &k->info[i];
	if (is_image(info))
		return CL_INVALID_MEM_OBJECT;
	if (!strcmp(info->type, "sampler_t"))
		return CL_INVALID_SAMPLER;
	if (is_pointer(info))
		return set_mem(k, i, size, value);
	if (info->address == CL_KERNEL_ARG_ADDRESS_LOCAL)
		return set_local(k, i, size, value);
	return set_value(k, i, size, value);
}

cl_int CL_API_CALL ocl_SetKernelArgSVMPointer(cl_kernel k, cl_uint i, const void *p)
{
	struct ocl_arg a = { .state = OCL_ARG_SVM, .pointer = (uintptr_t)p };

	if (!ocl_valid(k, OCL_KERNEL))
		return CL_INVALID_KERNEL;
	if (i >= k->n_args)
		return CL_INVALID_ARG_INDEX;
	if (!is_pointer(&k->info[i]) || is_image(&k->info[i]))
		return CL_INVALID_ARG_VALUE;
	replace(k, i, &a);
	return CL_SUCCESS;
}

/* Every pointer works on this device, so there is nothing to prepare. */
cl_int CL_API_CALL ocl_SetKernelExecInfo(cl_kernel k, cl_kernel_exec_info param, size_t size,
					 const void *value)
{
	if (!ocl_valid(k, OCL_KERNEL))
		return CL_INVALID_KERNEL;
	if (!value)
		return CL_INVALID_VALUE;
	switch (param) {
	case CL_KERNEL_EXEC_INFO_SVM_PTRS:
		return size && !(size % sizeof(void *)) ? CL_SUCCESS : CL_INVALID_VALUE;
	case CL_KERNEL_EXEC_INFO_SVM_FINE_GRAIN_SYSTEM:
		return size == sizeof(cl_bool) ? CL_SUCCESS : CL_INVALID_VALUE;
	default:
		return CL_INVALID_VALUE;
	}
}

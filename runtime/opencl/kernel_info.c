// SPDX-License-Identifier: MIT
#include "opencl/api.h"

#include <string.h>

cl_int CL_API_CALL ocl_GetKernelInfo(cl_kernel k, cl_kernel_info param, size_t size, void *value,
				     size_t *size_ret)
{
	struct cl_wire_kernel_info info;
	cl_uint refs;
	cl_int err;
	int device;

	if (!ocl_valid(k, OCL_KERNEL))
		return CL_INVALID_KERNEL;
	switch (param) {
	case CL_KERNEL_FUNCTION_NAME:
		return OCL_STRING(k->name);
	case CL_KERNEL_NUM_ARGS:
		return OCL_INFO(k->n_args);
	case CL_KERNEL_REFERENCE_COUNT:
		refs = ocl_refs(k);
		return OCL_INFO(refs);
	case CL_KERNEL_CONTEXT:
		return OCL_INFO(k->program->context);
	case CL_KERNEL_PROGRAM:
		return OCL_INFO(k->program);
	case CL_KERNEL_ATTRIBUTES:
		device = ocl_program_first_built(k->program);
		err = device < 0 ? CL_INVALID_PROGRAM_EXECUTABLE :
				   ocl_kernel_target(k, (unsigned int)device, &info);
		return err ? err : OCL_STRING(info.attributes);
	default:
		return CL_INVALID_VALUE;
	}
}

cl_int CL_API_CALL ocl_GetKernelArgInfo(cl_kernel k, cl_uint i, cl_kernel_arg_info param,
					size_t size, void *value, size_t *size_ret)
{
	const struct cl_wire_arg_info *a;

	if (!ocl_valid(k, OCL_KERNEL))
		return CL_INVALID_KERNEL;
	if (i >= k->n_args)
		return CL_INVALID_ARG_INDEX;
	a = &k->info[i];
	switch (param) {
	case CL_KERNEL_ARG_ADDRESS_QUALIFIER:
		return OCL_INFO(a->address);
	case CL_KERNEL_ARG_ACCESS_QUALIFIER:
		return OCL_INFO(a->access);
	case CL_KERNEL_ARG_TYPE_QUALIFIER:
		return OCL_INFO(a->qualifier);
	case CL_KERNEL_ARG_TYPE_NAME:
		return OCL_STRING(a->type);
	case CL_KERNEL_ARG_NAME:
		return OCL_STRING(a->name);
	default:
		return CL_INVALID_VALUE;
	}
}

static cl_int group_info(const struct cl_wire_kernel_info *i, cl_kernel_work_group_info param,
			 size_t size, void *value, size_t *size_ret)
{
	size_t work_group = i->work_group_size, multiple = i->multiple ? i->multiple : 1;
	size_t compile[3] = { i->compile_size[0], i->compile_size[1], i->compile_size[2] };
	cl_ulong local = i->local_bytes, private_bytes = i->private_bytes;

	switch (param) {
	case CL_KERNEL_WORK_GROUP_SIZE:
		return OCL_INFO(work_group);
	case CL_KERNEL_COMPILE_WORK_GROUP_SIZE:
		return OCL_INFO(compile);
	case CL_KERNEL_LOCAL_MEM_SIZE:
		return OCL_INFO(local);
	case CL_KERNEL_PREFERRED_WORK_GROUP_SIZE_MULTIPLE:
		return OCL_INFO(multiple);
	case CL_KERNEL_PRIVATE_MEM_SIZE:
		return OCL_INFO(private_bytes);
	default: /* CL_KERNEL_GLOBAL_WORK_SIZE is for custom devices and built-in kernels */
		return CL_INVALID_VALUE;
	}
}

cl_int CL_API_CALL ocl_GetKernelWorkGroupInfo(cl_kernel k, cl_device_id d,
					      cl_kernel_work_group_info param, size_t size,
					      void *value, size_t *size_ret)
{
	struct cl_wire_kernel_info info;
	cl_context c;
	cl_int err;

	if (!ocl_valid(k, OCL_KERNEL))
		return CL_INVALID_KERNEL;
	c = k->program->context;
	if (!d && c->n_devices == 1)
		d = c->devices[0];
	if (!ocl_valid(d, OCL_DEVICE) || !ocl_context_has(c, d))
		return CL_INVALID_DEVICE;
	err = ocl_kernel_target(k, (unsigned int)ocl_context_index(c, d), &info);
	return err ? err : group_info(&info, param, size, value, size_ret);
}

// SPDX-License-Identifier: MIT
/* Devices: found when first asked for, their engines' OpenCL when more is asked. */
#include "opencl/api.h"

#include <errno.h>
#include <string.h>

cl_int ocl_error(int err)
{
	switch (err) {
	case 0:
		return CL_SUCCESS;
	case -ENOMEM:
		return CL_OUT_OF_HOST_MEMORY;
	case -ENODEV:
		return CL_DEVICE_NOT_AVAILABLE;
	default:
		return CL_OUT_OF_RESOURCES;
	}
}

cl_int CL_API_CALL ocl_GetDeviceIDs(cl_platform_id p, cl_device_type type, cl_uint n,
				    cl_device_id *devices, cl_uint *n_ret)
{
	const cl_device_type all = CL_DEVICE_TYPE_DEFAULT | CL_DEVICE_TYPE_CPU |
				   CL_DEVICE_TYPE_GPU | CL_DEVICE_TYPE_ACCELERATOR |
				   CL_DEVICE_TYPE_CUSTOM;
	struct ocl_state *s;
	cl_int err;

	if (p && p != &ocl_platform)
		return CL_INVALID_PLATFORM;
	if (type != CL_DEVICE_TYPE_ALL && (!type || type & ~all))
		return CL_INVALID_DEVICE_TYPE;
	if ((!n && devices) || (!devices && !n_ret))
		return CL_INVALID_VALUE;
	if (!(type & (CL_DEVICE_TYPE_DEFAULT | CL_DEVICE_TYPE_ACCELERATOR)))
		return CL_DEVICE_NOT_FOUND;
	err = ocl_open(&s);
	if (err)
		return err;
	for (cl_uint i = 0; devices && i < n && i < s->n_devices; i++)
		devices[i] = s->devices[i];
	if (n_ret)
		*n_ret = s->n_devices;
	return s->n_devices ? CL_SUCCESS : CL_DEVICE_NOT_FOUND;
}

/* Locking: device->lock. */
static int ask(cl_device_id d, cl_device_info param, cl_int *status, const void **reply,
	       size_t *bytes)
{
	int err = -EPIPE;

	/* The second time on a new engine, if the first one had been reset. */
	for (int i = 0; i < 2 && ocl_conn_again(err); i++) {
		struct cl_wire_info *q;

		err = ocl_conn_open(&d->conn, d->index);
		if (err)
			break;
		q = ocl_conn_payload(&d->conn, sizeof(*q));
		if (!q)
			return -ENOMEM;
		*q = (struct cl_wire_info){ .param = param };
		err = ocl_conn_call(&d->conn, CL_WIRE_DEVICE_INFO, sizeof(*q), status, reply,
				    bytes);
	}
	return err;
}

cl_int ocl_device_info(cl_device_id d, cl_device_info param, void *to, size_t size, size_t *got)
{
	const void *reply;
	cl_int status;
	size_t bytes;
	int err;

	pthread_mutex_lock(&d->lock);
	err = ask(d, param, &status, &reply, &bytes);
	if (!err && !status)
		status = ocl_copy_info(reply, bytes, size, to, got);
	pthread_mutex_unlock(&d->lock);
	return err ? ocl_error(err) : status;
}

cl_int ocl_device_limits(cl_device_id d, struct ocl_limits *limits)
{
	struct ocl_limits l = { .known = true };
	cl_bool non_uniform;
	cl_int err;

	pthread_mutex_lock(&d->lock);
	*limits = d->limits;
	pthread_mutex_unlock(&d->lock);
	if (limits->known)
		return CL_SUCCESS;
	err = ocl_device_info(d, CL_DEVICE_MAX_WORK_GROUP_SIZE, &l.group_size, sizeof(l.group_size),
			      NULL);
	if (!err)
		err = ocl_device_info(d, CL_DEVICE_MAX_WORK_ITEM_SIZES, l.item_sizes,
				      sizeof(l.item_sizes), NULL);
	if (!err)
		err = ocl_device_info(d, CL_DEVICE_LOCAL_MEM_SIZE, &l.local_bytes,
				      sizeof(l.local_bytes), NULL);
	if (err)
		return err;
	/* An engine that cannot tell refuses by itself, when the launch's turn has come. */
	err = ocl_device_info(d, CL_DEVICE_NON_UNIFORM_WORK_GROUP_SUPPORT, &non_uniform,
			      sizeof(non_uniform), NULL);
	l.uniform = !err && !non_uniform;
	pthread_mutex_lock(&d->lock);
	d->limits = l;
	pthread_mutex_unlock(&d->lock);
	*limits = l;
	return CL_SUCCESS;
}

cl_int CL_API_CALL ocl_RetainDevice(cl_device_id d)
{
	return ocl_valid(d, OCL_DEVICE) ? CL_SUCCESS : CL_INVALID_DEVICE;
}

cl_int CL_API_CALL ocl_ReleaseDevice(cl_device_id d)
{
	return ocl_valid(d, OCL_DEVICE) ? CL_SUCCESS : CL_INVALID_DEVICE;
}

cl_int CL_API_CALL ocl_CreateSubDevices(cl_device_id d, const cl_device_partition_property *props,
					cl_uint n, cl_device_id *out, cl_uint *n_ret)
{
	(void)props, (void)n, (void)out, (void)n_ret;
	return ocl_valid(d, OCL_DEVICE) ? CL_INVALID_VALUE : CL_INVALID_DEVICE;
}

cl_int CL_API_CALL ocl_GetDeviceAndHostTimer(cl_device_id d, cl_ulong *device, cl_ulong *host)
{
	if (!ocl_valid(d, OCL_DEVICE))
		return CL_INVALID_DEVICE;
	if (!device || !host)
		return CL_INVALID_VALUE;
	*device = *host = ocl_now();
	return CL_SUCCESS;
}

cl_int CL_API_CALL ocl_GetHostTimer(cl_device_id d, cl_ulong *host)
{
	if (!ocl_valid(d, OCL_DEVICE))
		return CL_INVALID_DEVICE;
	if (!host)
		return CL_INVALID_VALUE;
	*host = ocl_now();
	return CL_SUCCESS;
}

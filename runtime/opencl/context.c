// SPDX-License-Identifier: MIT
#include "opencl/api.h"

#include <string.h>

int ocl_context_index(cl_context c, cl_device_id d)
{
	for (unsigned int i = 0; i < c->n_devices; i++)
		if (c->devices[i] == d)
			return (int)i;
	return -1;
}

bool ocl_context_has(cl_context c, cl_device_id d)
{
	return ocl_context_index(c, d) >= 0;
}

static void destroy(void *object)
{
	cl_context c = object;

	ocl_callback_run(c->destructors, c);
	while (c->svm) {
		struct ocl_svm *s = c->svm;

		c->svm = s->next;
		ocl_pages_put(s->start, s->bytes);
		ocl_free(s);
	}
	ocl_free(c->properties);
}

static cl_int check_properties(const cl_context_properties *p, unsigned int *n)
{
	*n = 0;
	if (!p)
		return CL_SUCCESS;
	for (; p[*n]; *n += 2) {
		if (p[*n] == CL_CONTEXT_PLATFORM) {
			if ((cl_platform_id)p[*n + 1] != &ocl_platform)
				return CL_INVALID_PLATFORM;
		} else if (p[*n] != CL_CONTEXT_INTEROP_USER_SYNC) {
			return CL_INVALID_PROPERTY;
		}
		for (unsigned int i = 0; i < *n; i += 2)
			if (p[i] == p[*n])
				return CL_INVALID_PROPERTY;
	}
	(*n)++;
	return CL_SUCCESS;
}

static cl_context make(const cl_context_properties *props, unsigned int n_props, cl_uint n,
		       const cl_device_id *devices)
{
	cl_context c = ocl_object_new(OCL_CONTEXT, sizeof(*c), destroy);

	if (!c)
		return NULL;
	pthread_mutex_init(&c->lock, NULL);
	for (cl_uint i = 0; i < n; i++)
		if (!ocl_context_has(c, devices[i]))
			c->devices[c->n_devices++] = devices[i];
	if (!n_props)
		return c;
	c->properties = ocl_alloc(n_props * sizeof(*props));
	if (!c->properties) {
		ocl_drop(c);
		return NULL;
	}
	memcpy(c->properties, props, n_props * sizeof(*props));
	c->n_properties = n_props;
	return c;
}

cl_context CL_API_CALL ocl_CreateContext(const cl_context_properties *props, cl_uint n,
					 const cl_device_id *devices,
					 void(CL_CALLBACK *notify)(const char *, const void *,
								   size_t, void *),
					 void *data, cl_int *err_ret)
{
	unsigned int n_props;
	cl_context c = NULL;
	cl_int err = check_properties(props, &n_props);

	if (!err && (!n || !devices || (!notify && data)))
		err = CL_INVALID_VALUE;
	for (cl_uint i = 0; !err && i < n; i++)
		if (!ocl_valid(devices[i], OCL_DEVICE))
			err = CL_INVALID_DEVICE;
	if (!err) {
		c = make(props, n_props, n, devices);
		err = c ? CL_SUCCESS : CL_OUT_OF_HOST_MEMORY;
	}
	if (err_ret)
		*err_ret = err;
	return c;
}

cl_context CL_API_CALL
ocl_CreateContextFromType(const cl_context_properties *props, cl_device_type type,
			  void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *),
			  void *data, cl_int *err_ret)
{
	cl_device_id devices[OCL_MAX_DEVICES];
	unsigned int n_props;
	cl_uint n = 0;
	cl_int err = check_properties(props, &n_props);

	if (!err)
		err = ocl_GetDeviceIDs(&ocl_platform, type, OCL_MAX_DEVICES, devices, &n);
	if (!err)
		return ocl_CreateContext(props, n, devices, notify, data, err_ret);
	if (err_ret)
		*err_ret = err;
	return NULL;
}

cl_int CL_API_CALL ocl_RetainContext(cl_context c)
{
	return ocl_valid(c, OCL_CONTEXT) && ocl_retain(c) ? CL_SUCCESS : CL_INVALID_CONTEXT;
}

cl_int CL_API_CALL ocl_ReleaseContext(cl_context c)
{
	return ocl_valid(c, OCL_CONTEXT) && ocl_release(c) ? CL_SUCCESS : CL_INVALID_CONTEXT;
}

cl_int CL_API_CALL ocl_GetContextInfo(cl_context c, cl_context_info param, size_t size, void *value,
				      size_t *size_ret)
{
	cl_uint refs;

	if (!ocl_valid(c, OCL_CONTEXT))
		return CL_INVALID_CONTEXT;
	refs = ocl_refs(c);
	switch (param) {
	case CL_CONTEXT_REFERENCE_COUNT:
		return OCL_INFO(refs);
	case CL_CONTEXT_NUM_DEVICES:
		return OCL_INFO(c->n_devices);
	case CL_CONTEXT_DEVICES:
		return ocl_copy_info(c->devices, c->n_devices * sizeof(*c->devices), size, value,
				     size_ret);
	case CL_CONTEXT_PROPERTIES:
		return ocl_copy_info(c->properties, c->n_properties * sizeof(*c->properties), size,
				     value, size_ret);
	default:
		return CL_INVALID_VALUE;
	}
}

cl_int CL_API_CALL ocl_SetContextDestructorCallback(cl_context c,
						    void(CL_CALLBACK *fn)(cl_context, void *),
						    void *data)
{
	cl_int err;

	if (!ocl_valid(c, OCL_CONTEXT))
		return CL_INVALID_CONTEXT;
	if (!fn)
		return CL_INVALID_VALUE;
	pthread_mutex_lock(&c->lock);
	err = ocl_callback_add(&c->destructors, (void (*)(void *, void *))(void *)fn, data);
	pthread_mutex_unlock(&c->lock);
	return err;
}

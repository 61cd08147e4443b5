// SPDX-License-Identifier: MIT
#include "opencl/api.h"

#include <string.h>

static void destroy(void *object)
{
	cl_program p = object;

	for (unsigned int i = 0; i < p->context->n_devices; i++) {
		ocl_program_forget(p, i);
		ocl_free(p->build[i].options);
		ocl_free(p->build[i].folder);
		ocl_free(p->build[i].log);
		ocl_free(p->build[i].binary_options);
		ocl_free(p->build[i].binary_source);
	}
	ocl_free(p->source);
	ocl_free(p->names);
	ocl_drop(p->context);
}

cl_program ocl_program_new(cl_context c, size_t source_length)
{
	cl_program p = ocl_object_new(OCL_PROGRAM, sizeof(*p), destroy);

	if (!p)
		return NULL;
	pthread_mutex_init(&p->lock, NULL);
	p->context = c;
	ocl_hold(c);
	for (unsigned int i = 0; i < c->n_devices; i++) {
		p->build[i].wanted = true;
		p->build[i].status = CL_BUILD_NONE;
	}
	p->source = ocl_alloc(source_length + 1);
	p->source_length = source_length;
	if (p->source)
		return p;
	ocl_drop(p);
	return NULL;
}

static size_t length_of(const char *s, const size_t *lengths, cl_uint i)
{
	return lengths && lengths[i] ? lengths[i] : strlen(s);
}

static cl_program from_strings(cl_context c, cl_uint n, const char **strings, const size_t *lengths,
			       cl_int *err)
{
	size_t total = 0, at = 0;
	cl_program p;

	for (cl_uint i = 0; i < n; i++) {
		if (!strings[i]) {
			*err = CL_INVALID_VALUE;
			return NULL;
		}
		total += length_of(strings[i], lengths, i);
	}
	p = ocl_program_new(c, total);
	*err = p ? CL_SUCCESS : CL_OUT_OF_HOST_MEMORY;
	for (cl_uint i = 0; p && i < n; i++) {
		size_t length = length_of(strings[i], lengths, i);

		memcpy(p->source + at, strings[i], length);
		at += length;
	}
	return p;
}

cl_program CL_API_CALL ocl_CreateProgramWithSource(cl_context c, cl_uint n, const char **strings,
						   const size_t *lengths, cl_int *err_ret)
{
	cl_program p = NULL;
	cl_int err = CL_SUCCESS;

	if (!ocl_valid(c, OCL_CONTEXT))
		err = CL_INVALID_CONTEXT;
	else if (!n || !strings)
		err = CL_INVALID_VALUE;
	else
		p = from_strings(c, n, strings, lengths, &err);
	if (err_ret)
		*err_ret = err;
	return p;
}

cl_int CL_API_CALL ocl_RetainProgram(cl_program p)
{
	return ocl_valid(p, OCL_PROGRAM) && ocl_retain(p) ? CL_SUCCESS : CL_INVALID_PROGRAM;
}

cl_int CL_API_CALL ocl_ReleaseProgram(cl_program p)
{
	return ocl_valid(p, OCL_PROGRAM) && ocl_release(p) ? CL_SUCCESS : CL_INVALID_PROGRAM;
}

unsigned int ocl_program_devices(cl_program p, cl_device_id *devices)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < p->context->n_devices; i++) {
		if (!p->build[i].wanted)
			continue;
		if (devices)
			devices[n] = p->context->devices[i];
		n++;
	}
	return n;
}

int ocl_program_first_built(cl_program p)
{
	for (unsigned int i = 0; i < p->context->n_devices; i++)
		if (p->build[i].status == CL_BUILD_SUCCESS)
			return (int)i;
	return -1;
}

/* A text that a launch sets anew when it builds the program for another engine. */
static cl_int get_text(cl_program p, char *const *text, size_t size, void *value, size_t *size_ret)
{
	cl_int err;

	pthread_mutex_lock(&p->lock);
	err = OCL_STRING(*text ? *text : "");
	pthread_mutex_unlock(&p->lock);
	return err;
}

static size_t count_names(cl_program p)
{
	size_t n;

	pthread_mutex_lock(&p->lock);
	n = p->names && p->names[0] ? 1 : 0;
	for (const char *at = p->names; n && (at = strchr(at, ';')); at++)
		n++;
	pthread_mutex_unlock(&p->lock);
	return n;
}

static cl_int kernel_info(cl_program p, cl_program_info param, size_t size, void *value,
			  size_t *size_ret)
{
	size_t n;

	if (ocl_program_first_built(p) < 0)
		return CL_INVALID_PROGRAM_EXECUTABLE;
	if (param == CL_PROGRAM_KERNEL_NAMES)
		return get_text(p, &p->names, size, value, size_ret);
	n = count_names(p);
	return OCL_INFO(n);
}

cl_int CL_API_CALL ocl_GetProgramInfo(cl_program p, cl_program_info param, size_t size, void *value,
				      size_t *size_ret)
{
	cl_device_id devices[OCL_MAX_DEVICES];
	cl_bool no = CL_FALSE;
	cl_uint refs, n;

	if (!ocl_valid(p, OCL_PROGRAM))
		return CL_INVALID_PROGRAM;
	switch (param) {
	case CL_PROGRAM_REFERENCE_COUNT:
		refs = ocl_refs(p);
		return OCL_INFO(refs);
	case CL_PROGRAM_CONTEXT:
		return OCL_INFO(p->context);
	case CL_PROGRAM_NUM_DEVICES:
		n = ocl_program_devices(p, devices);
		return OCL_INFO(n);
	case CL_PROGRAM_DEVICES:
		n = ocl_program_devices(p, devices);
		return ocl_copy_info(devices, n * sizeof(*devices), size, value, size_ret);
	case CL_PROGRAM_SOURCE:
		return OCL_STRING(p->source);
	case CL_PROGRAM_BINARY_SIZES:
		return ocl_program_binary_sizes(p, size, value, size_ret);
	case CL_PROGRAM_BINARIES:
		return ocl_program_binaries(p, size, value, size_ret);
	case CL_PROGRAM_NUM_KERNELS:
	case CL_PROGRAM_KERNEL_NAMES:
		return kernel_info(p, param, size, value, size_ret);
	case CL_PROGRAM_IL:
		return ocl_copy_info("", 0, size, value, size_ret);
	case CL_PROGRAM_SCOPE_GLOBAL_CTORS_PRESENT:
	case CL_PROGRAM_SCOPE_GLOBAL_DTORS_PRESENT:
		return OCL_INFO(no);
	default:
		return CL_INVALID_VALUE;
	}
}

cl_int CL_API_CALL ocl_GetProgramBuildInfo(cl_program p, cl_device_id d,
					   cl_program_build_info param, size_t size, void *value,
					   size_t *size_ret)
{
	cl_program_binary_type type;
	cl_build_status status;
	struct ocl_build *b;
	size_t variables;

	if (!ocl_valid(p, OCL_PROGRAM))
		return CL_INVALID_PROGRAM;
	if (!ocl_valid(d, OCL_DEVICE) || !ocl_context_has(p->context, d))
		return CL_INVALID_DEVICE;
	b = &p->build[ocl_context_index(p->context, d)];
	if (!b->wanted)
		return CL_INVALID_DEVICE;
	switch (param) {
	case CL_PROGRAM_BUILD_STATUS:
		status = b->status;
		return OCL_INFO(status);
	case CL_PROGRAM_BUILD_OPTIONS:
		return get_text(p, &b->options, size, value, size_ret);
	case CL_PROGRAM_BUILD_LOG:
		return get_text(p, &b->log, size, value, size_ret);
	case CL_PROGRAM_BINARY_TYPE:
		type = b->status == CL_BUILD_SUCCESS ? CL_PROGRAM_BINARY_TYPE_EXECUTABLE :
						       CL_PROGRAM_BINARY_TYPE_NONE;
		return OCL_INFO(type);
	case CL_PROGRAM_BUILD_GLOBAL_VARIABLE_TOTAL_SIZE:
		pthread_mutex_lock(&p->lock);
		variables = b->variables;
		pthread_mutex_unlock(&p->lock);
		return OCL_INFO(variables);
	default:
		return CL_INVALID_VALUE;
	}
}

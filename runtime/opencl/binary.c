// SPDX-License-Identifier: MIT
/*
 * Program binaries: the source and the options that it was built with, to be built again. Each
 * device has its own; those of a call that builds a binary do not change what it is.
 */
#include "opencl/api.h"

#include <string.h>

#define MAGIC "HMM OpenCL program 2\n"
#define MAGIC_BYTES (sizeof(MAGIC) - 1)

enum kind { KIND_NONE = 0, KIND_EXECUTABLE };

struct head {
	char magic[MAGIC_BYTES];
	char pad[24 - MAGIC_BYTES];
	uint32_t kind;
	uint32_t options_length; /* then the source, up to the end */
};

static cl_int check_binary(const unsigned char *binary, size_t length)
{
	struct head h;

	if (!length || !binary)
		return CL_INVALID_VALUE;
	if (length < sizeof(h))
		return CL_INVALID_BINARY;
	memcpy(&h, binary, sizeof(h));
	if (memcmp(h.magic, MAGIC, MAGIC_BYTES) || h.kind != KIND_EXECUTABLE ||
	    h.options_length > length - sizeof(h))
		return CL_INVALID_BINARY;
	return CL_SUCCESS;
}

static cl_int check_binaries(cl_context c, cl_uint n, const cl_device_id *devices,
			     const size_t *lengths, const unsigned char **binaries, cl_int *status)
{
	cl_int err = CL_SUCCESS;

	if (!ocl_valid(c, OCL_CONTEXT))
		return CL_INVALID_CONTEXT;
	if (!n || !devices || !lengths || !binaries)
		return CL_INVALID_VALUE;
	for (cl_uint i = 0; i < n; i++)
		if (!ocl_valid(devices[i], OCL_DEVICE) || !ocl_context_has(c, devices[i]))
			return CL_INVALID_DEVICE;
	for (cl_uint i = 0; i < n; i++) {
		cl_int one = check_binary(binaries[i], lengths[i]);

		if (status)
			status[i] = one;
		if (one && !err)
			err = one;
	}
	return err;
}

/* The first of a device that is named twice counts. */
static bool take(struct ocl_build *b, const unsigned char *binary, size_t length)
{
	const char *options = (const char *)binary + sizeof(struct head);
	struct head h;

	if (b->wanted)
		return true;
	memcpy(&h, binary, sizeof(h));
	b->wanted = true;
	b->binary_length = length - sizeof(h) - h.options_length;
	b->binary_options = ocl_strndup(options, h.options_length);
	b->binary_source = ocl_strndup(options + h.options_length, b->binary_length);
	return b->binary_options && b->binary_source;
}

cl_program CL_API_CALL ocl_CreateProgramWithBinary(cl_context c, cl_uint n,
						   const cl_device_id *devices,
						   const size_t *lengths,
						   const unsigned char **binaries, cl_int *status,
						   cl_int *err_ret)
{
	cl_int err = check_binaries(c, n, devices, lengths, binaries, status);
	cl_program p = err ? NULL : ocl_program_new(c, 0);

	if (!err && !p)
		err = CL_OUT_OF_HOST_MEMORY;
	for (unsigned int i = 0; p && i < c->n_devices; i++)
		p->build[i].wanted = false;
	for (cl_uint i = 0; p && !err && i < n; i++)
		if (!take(&p->build[ocl_context_index(c, devices[i])], binaries[i], lengths[i]))
			err = CL_OUT_OF_HOST_MEMORY;
	if (p && err) {
		ocl_drop(p);
		p = NULL;
	}
	if (err_ret)
		*err_ret = err;
	return p;
}

struct ocl_recipe ocl_program_recipe(cl_program p, unsigned int i)
{
	const struct ocl_build *b = &p->build[i];
	struct ocl_recipe r = { .source = p->source,
				.source_length = p->source_length,
				.options = b->options ? b->options : "",
				.folder = b->folder ? b->folder : "" };

	if (b->binary_source) {
		r.source = b->binary_source;
		r.source_length = b->binary_length;
		r.options = b->binary_options;
	}
	r.options_length = strlen(r.options);
	r.folder_length = strlen(r.folder);
	return r;
}

/* Locking: program->lock. */
static size_t binary_bytes(cl_program p, unsigned int i)
{
	struct ocl_recipe r = ocl_program_recipe(p, i);

	if (p->build[i].status != CL_BUILD_SUCCESS)
		return 0;
	return sizeof(struct head) + r.options_length + r.source_length;
}

/* Locking: program->lock. */
static void put_binary(cl_program p, unsigned int i, unsigned char *to)
{
	struct ocl_recipe r = ocl_program_recipe(p, i);
	struct head h = { .magic = MAGIC,
			  .kind = KIND_EXECUTABLE,
			  .options_length = (uint32_t)r.options_length };

	memcpy(to, &h, sizeof(h));
	memcpy(to + sizeof(h), r.options, r.options_length);
	memcpy(to + sizeof(h) + r.options_length, r.source, r.source_length);
}

cl_int ocl_program_binaries(cl_program p, size_t size, unsigned char **value, size_t *size_ret)
{
	size_t need = ocl_program_devices(p, NULL) * sizeof(*value);
	unsigned int n = 0;

	if (value && size < need)
		return CL_INVALID_VALUE;
	pthread_mutex_lock(&p->lock);
	for (unsigned int i = 0; value && i < p->context->n_devices; i++) {
		if (!p->build[i].wanted)
			continue;
		if (value[n] && p->build[i].status == CL_BUILD_SUCCESS)
			put_binary(p, i, value[n]);
		n++;
	}
	pthread_mutex_unlock(&p->lock);
	if (size_ret)
		*size_ret = need;
	return CL_SUCCESS;
}

cl_int ocl_program_binary_sizes(cl_program p, size_t size, void *value, size_t *size_ret)
{
	size_t sizes[OCL_MAX_DEVICES];
	unsigned int n = 0;

	pthread_mutex_lock(&p->lock);
	for (unsigned int i = 0; i < p->context->n_devices; i++)
		if (p->build[i].wanted)
			sizes[n++] = binary_bytes(p, i);
	pthread_mutex_unlock(&p->lock);
	return ocl_copy_info(sizes, n * sizeof(*sizes), size, value, size_ret);
}

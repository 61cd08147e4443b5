// SPDX-License-Identifier: MIT
/* Buffers: memory of the client like any other. */
#include "opencl/api.h"

#include <string.h>

#define ACCESS (CL_MEM_READ_WRITE | CL_MEM_WRITE_ONLY | CL_MEM_READ_ONLY)
#define HOST_ACCESS (CL_MEM_HOST_WRITE_ONLY | CL_MEM_HOST_READ_ONLY | CL_MEM_HOST_NO_ACCESS)
#define HOST_PTR (CL_MEM_USE_HOST_PTR | CL_MEM_ALLOC_HOST_PTR | CL_MEM_COPY_HOST_PTR)

static void destroy(void *object)
{
	cl_mem m = object;

	ocl_callback_run(m->destructors, m);
	while (m->maps) {
		struct ocl_map *map = m->maps;

		m->maps = map->next;
		ocl_free(map);
	}
	if (m->mapped)
		ocl_pages_put(m->data, m->mapped);
	ocl_free(m->properties);
	if (m->parent)
		ocl_drop(m->parent);
	ocl_drop(m->context);
}

static bool one_of(cl_mem_flags flags)
{
	return !(flags & (flags - 1));
}

static cl_int check_flags(cl_mem_flags flags)
{
	if (flags & ~(ACCESS | HOST_ACCESS | HOST_PTR))
		return CL_INVALID_VALUE;
	if (!one_of(flags & ACCESS) || !one_of(flags & HOST_ACCESS))
		return CL_INVALID_VALUE;
	if (flags & CL_MEM_USE_HOST_PTR && flags & (CL_MEM_ALLOC_HOST_PTR | CL_MEM_COPY_HOST_PTR))
		return CL_INVALID_VALUE;
	return CL_SUCCESS;
}

static cl_int check_create(cl_context c, cl_mem_flags flags, size_t size, const void *host)
{
	uint64_t most = 0;
	cl_int err;

	if (!ocl_valid(c, OCL_CONTEXT))
		return CL_INVALID_CONTEXT;
	err = check_flags(flags);
	if (err)
		return err;
	for (unsigned int i = 0; i < c->n_devices; i++)
		if (c->devices[i]->bytes > most)
			most = c->devices[i]->bytes;
	if (!size || size > most)
		return CL_INVALID_BUFFER_SIZE;
	if (!host != !(flags & (CL_MEM_USE_HOST_PTR | CL_MEM_COPY_HOST_PTR)))
		return CL_INVALID_HOST_PTR;
	return CL_SUCCESS;
}

static cl_mem make(cl_context c, cl_mem_flags flags, size_t size)
{
	cl_mem m = ocl_object_new(OCL_MEM, sizeof(*m), destroy);

	if (!m)
		return NULL;
	pthread_mutex_init(&m->lock, NULL);
	m->context = c;
	ocl_hold(c);
	m->flags = flags & ACCESS ? flags : flags | CL_MEM_READ_WRITE;
	m->bytes = size;
	return m;
}

static cl_int attach(cl_mem m, void *host)
{
	struct ocl_svm svm;

	if (m->flags & CL_MEM_USE_HOST_PTR) {
		m->data = m->host_ptr = host;
		m->svm = ocl_svm_find(m->context, host, &svm);
		return CL_SUCCESS;
	}
	m->data = ocl_pages_get(m->bytes, 0, &m->mapped);
	if (!m->data)
		return CL_MEM_OBJECT_ALLOCATION_FAILURE;
	if (m->flags & CL_MEM_COPY_HOST_PTR)
		memcpy(m->data, host, m->bytes);
	return CL_SUCCESS;
}

cl_mem CL_API_CALL ocl_CreateBuffer(cl_context c, cl_mem_flags flags, size_t size, void *host,
				    cl_int *err_ret)
{
	cl_int err = check_create(c, flags, size, host);
	cl_mem m = NULL;

	if (!err) {
		m = make(c, flags, size);
		err = m ? attach(m, host) : CL_OUT_OF_HOST_MEMORY;
	}
	if (err && m) {
		ocl_drop(m);
		m = NULL;
	}
	if (err_ret)
		*err_ret = err;
	return m;
}

cl_mem CL_API_CALL ocl_CreateBufferWithProperties(cl_context c, const cl_mem_properties *props,
						  cl_mem_flags flags, size_t size, void *host,
						  cl_int *err_ret)
{
	cl_mem m;

	/* None is defined; an empty list is remembered as given. */
	if (props && props[0]) {
		if (err_ret)
			*err_ret = ocl_valid(c, OCL_CONTEXT) ? CL_INVALID_PROPERTY :
							       CL_INVALID_CONTEXT;
		return NULL;
	}
	m = ocl_CreateBuffer(c, flags, size, host, err_ret);
	if (m && props) {
		m->properties = ocl_alloc(sizeof(*props));
		m->n_properties = m->properties ? 1 : 0;
	}
	return m;
}

/* What a sub-buffer does not say, it has from its parent. */
static cl_int sub_flags(cl_mem parent, cl_mem_flags *flags)
{
	cl_mem_flags access = parent->flags & ACCESS, host = parent->flags & HOST_ACCESS;
	cl_mem_flags f = *flags;

	if (check_flags(f) || f & HOST_PTR)
		return CL_INVALID_VALUE;
	if (access != CL_MEM_READ_WRITE && f & ACCESS && (f & ACCESS) != access)
		return CL_INVALID_VALUE;
	if (host && f & HOST_ACCESS && (f & HOST_ACCESS) != host &&
	    (f & HOST_ACCESS) != CL_MEM_HOST_NO_ACCESS)
		return CL_INVALID_VALUE;
	*flags = (f & ACCESS ? f & ACCESS : access) | (f & HOST_ACCESS ? f & HOST_ACCESS : host) |
		 (parent->flags & HOST_PTR);
	return CL_SUCCESS;
}

static cl_int check_region(cl_mem parent, const cl_buffer_region *r)
{
	cl_uint align = 1024;

	if (r->origin > parent->bytes || r->size > parent->bytes - r->origin)
		return CL_INVALID_VALUE;
	if (!r->size)
		return CL_INVALID_BUFFER_SIZE;
	for (unsigned int i = 0; i < parent->context->n_devices; i++) {
		ocl_device_info(parent->context->devices[i], CL_DEVICE_MEM_BASE_ADDR_ALIGN, &align,
				sizeof(align), NULL);
		if (!(r->origin % (align / 8)))
			return CL_SUCCESS;
	}
	return CL_MISALIGNED_SUB_BUFFER_OFFSET;
}

static cl_mem make_sub(cl_mem parent, cl_mem_flags flags, const cl_buffer_region *r)
{
	cl_mem m = make(parent->context, flags, r->size);

	if (!m)
		return NULL;
	ocl_hold(parent);
	m->parent = parent;
	m->offset = r->origin;
	m->data = parent->data + r->origin;
	m->host_ptr = parent->host_ptr ? (char *)parent->host_ptr + r->origin : NULL;
	m->svm = parent->svm;
	return m;
}

cl_mem CL_API_CALL ocl_CreateSubBuffer(cl_mem parent, cl_mem_flags flags,
				       cl_buffer_create_type type, const void *info,
				       cl_int *err_ret)
{
	cl_int err = CL_SUCCESS;
	cl_mem m = NULL;

	if (!ocl_valid(parent, OCL_MEM) || parent->parent)
		err = CL_INVALID_MEM_OBJECT;
	else if (type != CL_BUFFER_CREATE_TYPE_REGION || !info)
		err = CL_INVALID_VALUE;
	if (!err)
		err = sub_flags(parent, &flags);
	if (!err)
		err = check_region(parent, info);
	if (!err) {
		m = make_sub(parent, flags, info);
		err = m ? CL_SUCCESS : CL_OUT_OF_HOST_MEMORY;
	}
	if (err_ret)
		*err_ret = err;
	return m;
}

cl_int CL_API_CALL ocl_RetainMemObject(cl_mem m)
{
	return ocl_valid(m, OCL_MEM) && ocl_retain(m) ? CL_SUCCESS : CL_INVALID_MEM_OBJECT;
}

cl_int CL_API_CALL ocl_ReleaseMemObject(cl_mem m)
{
	return ocl_valid(m, OCL_MEM) && ocl_release(m) ? CL_SUCCESS : CL_INVALID_MEM_OBJECT;
}

cl_int CL_API_CALL ocl_SetMemObjectDestructorCallback(cl_mem m,
						      void(CL_CALLBACK *fn)(cl_mem, void *),
						      void *data)
{
	cl_int err;

	if (!ocl_valid(m, OCL_MEM))
		return CL_INVALID_MEM_OBJECT;
	if (!fn)
		return CL_INVALID_VALUE;
	pthread_mutex_lock(&m->lock);
	err = ocl_callback_add(&m->destructors, (void (*)(void *, void *))(void *)fn, data);
	pthread_mutex_unlock(&m->lock);
	return err;
}

cl_int CL_API_CALL ocl_GetMemObjectInfo(cl_mem m, cl_mem_info param, size_t size, void *value,
					size_t *size_ret)
{
	cl_mem_object_type type = CL_MEM_OBJECT_BUFFER;
	cl_uint refs, maps;
	cl_bool svm;

	if (!ocl_valid(m, OCL_MEM))
		return CL_INVALID_MEM_OBJECT;
	switch (param) {
	case CL_MEM_TYPE:
		return OCL_INFO(type);
	case CL_MEM_FLAGS:
		return OCL_INFO(m->flags);
	case CL_MEM_SIZE:
		return OCL_INFO(m->bytes);
	case CL_MEM_HOST_PTR:
		return OCL_INFO(m->host_ptr);
	case CL_MEM_MAP_COUNT:
		pthread_mutex_lock(&m->lock);
		maps = m->n_maps;
		pthread_mutex_unlock(&m->lock);
		return OCL_INFO(maps);
	case CL_MEM_REFERENCE_COUNT:
		refs = ocl_refs(m);
		return OCL_INFO(refs);
	case CL_MEM_CONTEXT:
		return OCL_INFO(m->context);
	case CL_MEM_ASSOCIATED_MEMOBJECT:
		return OCL_INFO(m->parent);
	case CL_MEM_OFFSET:
		return OCL_INFO(m->offset);
	case CL_MEM_USES_SVM_POINTER:
		svm = m->svm;
		return OCL_INFO(svm);
	case CL_MEM_PROPERTIES:
		return ocl_copy_info(m->properties, m->n_properties * sizeof(*m->properties), size,
				     value, size_ret);
	default:
		return CL_INVALID_VALUE;
	}
}

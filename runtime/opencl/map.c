// SPDX-License-Identifier: MIT
/* Mapping a buffer is knowing its address: nothing is copied. */
#include "opencl/api.h"

static struct ocl_map *add_map(cl_mem m, size_t offset, size_t bytes, cl_map_flags flags)
{
	struct ocl_map *map = ocl_alloc(sizeof(*map));

	if (!map)
		return NULL;
	map->at = m->data + offset;
	map->offset = offset;
	map->bytes = bytes;
	map->flags = flags;
	pthread_mutex_lock(&m->lock);
	map->next = m->maps;
	m->maps = map;
	m->n_maps++;
	pthread_mutex_unlock(&m->lock);
	return map;
}

static bool remove_map(cl_mem m, const void *at)
{
	struct ocl_map *found = NULL;

	pthread_mutex_lock(&m->lock);
	for (struct ocl_map **p = &m->maps; *p && !found; p = &(*p)->next) {
		if ((*p)->at != at)
			continue;
		found = *p;
		*p = found->next;
		m->n_maps--;
		break;
	}
	pthread_mutex_unlock(&m->lock);
	ocl_free(found);
	return found;
}

static cl_int check_map(cl_command_queue q, cl_mem m, cl_map_flags flags, size_t offset,
			size_t bytes, const struct ocl_wait *w)
{
	const cl_map_flags all = CL_MAP_READ | CL_MAP_WRITE | CL_MAP_WRITE_INVALIDATE_REGION;
	cl_int err = ocl_command_check(q, w);

	if (err)
		return err;
	if (!ocl_valid(m, OCL_MEM))
		return CL_INVALID_MEM_OBJECT;
	if (m->context != q->context)
		return CL_INVALID_CONTEXT;
	if (!bytes || offset > m->bytes || bytes > m->bytes - offset || flags & ~all)
		return CL_INVALID_VALUE;
	if (flags & CL_MAP_WRITE_INVALIDATE_REGION && flags & (CL_MAP_READ | CL_MAP_WRITE))
		return CL_INVALID_VALUE;
	if (flags & CL_MAP_READ && m->flags & (CL_MEM_HOST_WRITE_ONLY | CL_MEM_HOST_NO_ACCESS))
		return CL_INVALID_OPERATION;
	if (flags & (CL_MAP_WRITE | CL_MAP_WRITE_INVALIDATE_REGION) &&
	    m->flags & (CL_MEM_HOST_READ_ONLY | CL_MEM_HOST_NO_ACCESS))
		return CL_INVALID_OPERATION;
	return CL_SUCCESS;
}

void *CL_API_CALL ocl_EnqueueMapBuffer(cl_command_queue q, cl_mem m, cl_bool blocking,
				       cl_map_flags flags, size_t offset, size_t bytes, cl_uint n,
				       const cl_event *list, cl_event *event, cl_int *err_ret)
{
	struct ocl_wait w = { n, list, event, blocking };
	struct ocl_command *c;
	void *at = NULL;
	cl_int err = check_map(q, m, flags, offset, bytes, &w);

	if (!err && !add_map(m, offset, bytes, flags))
		err = CL_OUT_OF_HOST_MEMORY;
	if (!err) {
		at = m->data + offset;
		c = ocl_command_new(q, sizeof(*c), ocl_nothing);
		ocl_command_hold(c, 0, m);
		err = ocl_command_submit(c, CL_COMMAND_MAP_BUFFER, &w);
		if (err) {
			remove_map(m, at);
			at = NULL;
		}
	}
	if (err_ret)
		*err_ret = err;
	return at;
}

cl_int CL_API_CALL ocl_EnqueueUnmapMemObject(cl_command_queue q, cl_mem m, void *at, cl_uint n,
					     const cl_event *list, cl_event *event)
{
	struct ocl_wait w = OCL_WAIT(n, list, event);
	struct ocl_command *c;
	cl_int err = ocl_command_check(q, &w);

	if (err)
		return err;
	if (!ocl_valid(m, OCL_MEM))
		return CL_INVALID_MEM_OBJECT;
	if (m->context != q->context)
		return CL_INVALID_CONTEXT;
	if (!remove_map(m, at))
		return CL_INVALID_VALUE;
	c = ocl_command_new(q, sizeof(*c), ocl_nothing);
	ocl_command_hold(c, 0, m);
	return ocl_command_submit(c, CL_COMMAND_UNMAP_MEM_OBJECT, &w);
}

// SPDX-License-Identifier: MIT
/* Shared virtual memory. All memory is; clSVMAlloc() is for programs that ask. */
#include "opencl/api.h"

#include <string.h>

bool ocl_svm_find(cl_context c, const void *p, struct ocl_svm *out)
{
	bool found = false;

	pthread_mutex_lock(&c->lock);
	for (struct ocl_svm *s = c->svm; s && !found; s = s->next) {
		if ((const char *)p < s->start || (const char *)p >= s->start + s->bytes)
			continue;
		*out = *s;
		found = true;
	}
	pthread_mutex_unlock(&c->lock);
	return found;
}

static bool flags_ok(cl_svm_mem_flags flags)
{
	const cl_svm_mem_flags access = CL_MEM_READ_WRITE | CL_MEM_WRITE_ONLY | CL_MEM_READ_ONLY;
	const cl_svm_mem_flags grain = CL_MEM_SVM_FINE_GRAIN_BUFFER | CL_MEM_SVM_ATOMICS;
	cl_svm_mem_flags a = flags & access;

	if (flags & ~(access | grain) || a & (a - 1))
		return false;
	return !(flags & CL_MEM_SVM_ATOMICS) || flags & CL_MEM_SVM_FINE_GRAIN_BUFFER;
}

static bool size_ok(cl_context c, size_t size)
{
	for (unsigned int i = 0; i < c->n_devices; i++)
		if (size && size <= c->devices[i]->bytes)
			return true;
	return false;
}

void *CL_API_CALL ocl_SVMAlloc(cl_context c, cl_svm_mem_flags flags, size_t size, cl_uint alignment)
{
	struct ocl_svm *s;

	if (!ocl_valid(c, OCL_CONTEXT) || !flags_ok(flags) || !size_ok(c, size) ||
	    alignment & (alignment - 1) || alignment > 4096)
		return NULL;
	s = ocl_alloc(sizeof(*s));
	if (!s)
		return NULL;
	s->start = ocl_pages_get(size, 0, &s->bytes);
	if (!s->start) {
		ocl_free(s);
		return NULL;
	}
	s->flags = flags;
	pthread_mutex_lock(&c->lock);
	s->next = c->svm;
	c->svm = s;
	pthread_mutex_unlock(&c->lock);
	return s->start;
}

void CL_API_CALL ocl_SVMFree(cl_context c, void *p)
{
	struct ocl_svm *found = NULL;

	if (!ocl_valid(c, OCL_CONTEXT) || !p)
		return;
	pthread_mutex_lock(&c->lock);
	for (struct ocl_svm **s = &c->svm; *s; s = &(*s)->next) {
		if ((*s)->start != p)
			continue;
		found = *s;
		*s = found->next;
		break;
	}
	pthread_mutex_unlock(&c->lock);
	if (found)
		ocl_pages_put(found->start, found->bytes);
	ocl_free(found);
}

struct svm_free {
	struct ocl_command c;
	void(CL_CALLBACK *fn)(cl_command_queue, cl_uint, void **, void *);
	void *data;
	cl_uint n;
	void *pointers[];
};

static cl_int run_free(struct ocl_command *c)
{
	struct svm_free *f = (struct svm_free *)c;

	if (f->fn)
		f->fn(c->queue, f->n, f->pointers, f->data);
	for (cl_uint i = 0; !f->fn && i < f->n; i++)
		ocl_SVMFree(c->queue->context, f->pointers[i]);
	return CL_SUCCESS;
}

cl_int CL_API_CALL ocl_EnqueueSVMFree(cl_command_queue q, cl_uint n_pointers, void **pointers,
				      void(CL_CALLBACK *fn)(cl_command_queue, cl_uint, void **,
							    void *),
				      void *data, cl_uint n, const cl_event *list, cl_event *event)
{
	struct ocl_wait w = OCL_WAIT(n, list, event);
	struct svm_free *f;
	cl_int err = ocl_command_check(q, &w);

	if (err)
		return err;
	if (!n_pointers != !pointers)
		return CL_INVALID_VALUE;
	f = ocl_command_new(q, sizeof(*f) + n_pointers * sizeof(void *), run_free);
	if (!f)
		return CL_OUT_OF_HOST_MEMORY;
	f->fn = fn;
	f->data = data;
	f->n = n_pointers;
	if (n_pointers)
		memcpy(f->pointers, pointers, n_pointers * sizeof(void *));
	return ocl_command_submit(&f->c, CL_COMMAND_SVM_FREE, &w);
}

struct svm_copy {
	struct ocl_command c;
	void *to;
	const void *from;
	size_t bytes;
};

static cl_int run_copy(struct ocl_command *c)
{
	struct svm_copy *t = (struct svm_copy *)c;

	memmove(t->to, t->from, t->bytes);
	return CL_SUCCESS;
}

cl_int CL_API_CALL ocl_EnqueueSVMMemcpy(cl_command_queue q, cl_bool blocking, void *to,
					const void *from, size_t bytes, cl_uint n,
					const cl_event *list, cl_event *event)
{
	struct ocl_wait w = { n, list, event, blocking };
	const char *a = to, *b = from;
	struct svm_copy *t;
	cl_int err = ocl_command_check(q, &w);

	if (err)
		return err;
	if (!to || !from || bytes > SIZE_MAX - (uintptr_t)to || bytes > SIZE_MAX - (uintptr_t)from)
		return CL_INVALID_VALUE;
	if (a < b + bytes && b < a + bytes)
		return CL_MEM_COPY_OVERLAP;
	t = ocl_command_new(q, sizeof(*t), run_copy);
	if (!t)
		return CL_OUT_OF_HOST_MEMORY;
	t->to = to;
	t->from = from;
	t->bytes = bytes;
	return ocl_command_submit(&t->c, CL_COMMAND_SVM_MEMCPY, &w);
}

cl_int CL_API_CALL ocl_EnqueueSVMMemFill(cl_command_queue q, void *to, const void *pattern,
					 size_t pattern_bytes, size_t bytes, cl_uint n,
					 const cl_event *list, cl_event *event)
{
	struct ocl_wait w = OCL_WAIT(n, list, event);
	cl_int err = ocl_command_check(q, &w);

	if (err)
		return err;
	if (!to || ocl_fill_check(pattern, pattern_bytes, (uintptr_t)to, bytes))
		return CL_INVALID_VALUE;
	if (!bytes)
		return ocl_command_submit(
			ocl_command_new(q, sizeof(struct ocl_command), ocl_nothing),
			CL_COMMAND_SVM_MEMFILL, &w);
	return ocl_command_submit(ocl_fill_new(q, to, pattern, pattern_bytes, bytes),
				  CL_COMMAND_SVM_MEMFILL, &w);
}

static cl_int enqueue_nothing(cl_command_queue q, cl_command_type type, const struct ocl_wait *w)
{
	return ocl_command_submit(ocl_command_new(q, sizeof(struct ocl_command), ocl_nothing), type,
				  w);
}

cl_int CL_API_CALL ocl_EnqueueSVMMap(cl_command_queue q, cl_bool blocking, cl_map_flags flags,
				     void *p, size_t bytes, cl_uint n, const cl_event *list,
				     cl_event *event)
{
	const cl_map_flags all = CL_MAP_READ | CL_MAP_WRITE | CL_MAP_WRITE_INVALIDATE_REGION;
	struct ocl_wait w = { n, list, event, blocking };
	cl_int err = ocl_command_check(q, &w);

	if (err)
		return err;
	if (!p || !bytes || flags & ~all ||
	    (flags & CL_MAP_WRITE_INVALIDATE_REGION && flags & (CL_MAP_READ | CL_MAP_WRITE)))
		return CL_INVALID_VALUE;
	return enqueue_nothing(q, CL_COMMAND_SVM_MAP, &w);
}

cl_int CL_API_CALL ocl_EnqueueSVMUnmap(cl_command_queue q, void *p, cl_uint n, const cl_event *list,
				       cl_event *event)
{
	struct ocl_wait w = OCL_WAIT(n, list, event);
	cl_int err = ocl_command_check(q, &w);

	if (err)
		return err;
	return p ? enqueue_nothing(q, CL_COMMAND_SVM_UNMAP, &w) : CL_INVALID_VALUE;
}

// SPDX-License-Identifier: MIT
/*
 * Reads, writes, copies and fills. The CPU does them: it touches, and what is on the
 * device comes home in windows.
 */
#include "opencl/api.h"

#include <string.h>

#define NO_READ (CL_MEM_HOST_WRITE_ONLY | CL_MEM_HOST_NO_ACCESS)
#define NO_WRITE (CL_MEM_HOST_READ_ONLY | CL_MEM_HOST_NO_ACCESS)

struct copy {
	struct ocl_command c;
	char *to;
	const char *from;
	size_t bytes;
};

static cl_int run_copy(struct ocl_command *c)
{
	struct copy *t = (struct copy *)c;

	memmove(t->to, t->from, t->bytes);
	return CL_SUCCESS;
}

static cl_int check_mem(cl_command_queue q, const struct ocl_wait *w, cl_mem m)
{
	cl_int err = ocl_command_check(q, w);

	if (err)
		return err;
	if (!ocl_valid(m, OCL_MEM))
		return CL_INVALID_MEM_OBJECT;
	return m->context == q->context ? CL_SUCCESS : CL_INVALID_CONTEXT;
}

static cl_int check_part(cl_mem m, size_t offset, size_t bytes)
{
	return !bytes || offset > m->bytes || bytes > m->bytes - offset ? CL_INVALID_VALUE :
									  CL_SUCCESS;
}

static cl_int submit_copy(cl_command_queue q, cl_command_type type, struct ocl_wait *w, void *to,
			  const void *from, size_t bytes, cl_mem a, cl_mem b)
{
	struct copy *t = ocl_command_new(q, sizeof(*t), run_copy);

	if (!t)
		return CL_OUT_OF_HOST_MEMORY;
	t->to = to;
	t->from = from;
	t->bytes = bytes;
	ocl_command_hold(&t->c, 0, a);
	if (b)
		ocl_command_hold(&t->c, 1, b);
	return ocl_command_submit(&t->c, type, w);
}

cl_int CL_API_CALL ocl_EnqueueReadBuffer(cl_command_queue q, cl_mem m, cl_bool blocking,
					 size_t offset, size_t bytes, void *to, cl_uint n,
					 const cl_event *list, cl_event *event)
{
	struct ocl_wait w = { n, list, event, blocking };
	cl_int err = check_mem(q, &w, m);

	if (err)
		return err;
	if (!to || check_part(m, offset, bytes))
		return CL_INVALID_VALUE;
	if (m->flags & NO_READ)
		return CL_INVALID_OPERATION;
	return submit_copy(q, CL_COMMAND_READ_BUFFER, &w, to, m->data + offset, bytes, m, NULL);
}

cl_int CL_API_CALL ocl_EnqueueWriteBuffer(cl_command_queue q, cl_mem m, cl_bool blocking,
					  size_t offset, size_t bytes, const void *from, cl_uint n,
					  const cl_event *list, cl_event *event)
{
	struct ocl_wait w = { n, list, event, blocking };
	cl_int err = check_mem(q, &w, m);

	if (err)
		return err;
	if (!from || check_part(m, offset, bytes))
		return CL_INVALID_VALUE;
	if (m->flags & NO_WRITE)
		return CL_INVALID_OPERATION;
	return submit_copy(q, CL_COMMAND_WRITE_BUFFER, &w, m->data + offset, from, bytes, m, NULL);
}

static bool overlap(const char *a, const char *b, size_t bytes)
{
	return a < b + bytes && b < a + bytes;
}

cl_int CL_API_CALL ocl_EnqueueCopyBuffer(cl_command_queue q, cl_mem from, cl_mem to,
					 size_t from_offset, size_t to_offset, size_t bytes,
					 cl_uint n, const cl_event *list, cl_event *event)
{
	struct ocl_wait w = OCL_WAIT(n, list, event);
	cl_int err = check_mem(q, &w, from);

	if (!err)
		err = check_mem(q, &w, to);
	if (!err)
		err = check_part(from, from_offset, bytes);
	if (!err)
		err = check_part(to, to_offset, bytes);
	if (err)
		return err;
	if (overlap(from->data + from_offset, to->data + to_offset, bytes))
		return CL_MEM_COPY_OVERLAP;
	return submit_copy(q, CL_COMMAND_COPY_BUFFER, &w, to->data + to_offset,
			   from->data + from_offset, bytes, from, to);
}

struct fill {
	struct ocl_command c;
	char *to;
	size_t bytes, pattern_bytes;
	char pattern[128];
};

static cl_int run_fill(struct ocl_command *c)
{
	struct fill *f = (struct fill *)c;
	size_t done = f->pattern_bytes;

	if (f->pattern_bytes == 1) {
		memset(f->to, f->pattern[0], f->bytes);
		return CL_SUCCESS;
	}
	memcpy(f->to, f->pattern, done);
	while (done < f->bytes) {
		size_t n = done < f->bytes - done ? done : f->bytes - done;

		if (n > 1u << 16)
			n = (1u << 16) - (1u << 16) % f->pattern_bytes;
		memcpy(f->to + done, f->to, n);
		done += n;
	}
	return CL_SUCCESS;
}

cl_int ocl_fill_check(const void *pattern, size_t pattern_bytes, size_t offset, size_t bytes)
{
	if (!pattern || !pattern_bytes || pattern_bytes > 128 ||
	    pattern_bytes & (pattern_bytes - 1))
		return CL_INVALID_VALUE;
	return offset % pattern_bytes || bytes % pattern_bytes ? CL_INVALID_VALUE : CL_SUCCESS;
}

struct ocl_command *ocl_fill_new(cl_command_queue q, void *to, const void *pattern,
				 size_t pattern_bytes, size_t bytes)
{
	struct fill *f = ocl_command_new(q, sizeof(*f), run_fill);

	if (!f)
		return NULL;
	f->to = to;
	f->bytes = bytes;
	f->pattern_bytes = pattern_bytes;
	memcpy(f->pattern, pattern, pattern_bytes);
	return &f->c;
}

cl_int CL_API_CALL ocl_EnqueueFillBuffer(cl_command_queue q, cl_mem m, const void *pattern,
					 size_t pattern_bytes, size_t offset, size_t bytes,
					 cl_uint n, const cl_event *list, cl_event *event)
{
	struct ocl_wait w = OCL_WAIT(n, list, event);
	struct ocl_command *c;
	cl_int err = check_mem(q, &w, m);

	if (!err)
		err = check_part(m, offset, bytes);
	if (!err)
		err = ocl_fill_check(pattern, pattern_bytes, offset, bytes);
	if (err)
		return err;
	c = ocl_fill_new(q, m->data + offset, pattern, pattern_bytes, bytes);
	if (c)
		ocl_command_hold(c, 0, m);
	return ocl_command_submit(c, CL_COMMAND_FILL_BUFFER, &w);
}

struct migrate {
	struct ocl_command c;
	int target;
	cl_uint n;
	struct {
		void *at;
		size_t bytes;
		cl_mem mem;
	} part[];
};

/* Migration is a hint: what refuses to move stays where it is. */
static cl_int run_migrate(struct ocl_command *c)
{
	struct migrate *m = (struct migrate *)c;
	struct ocl_state *s = ocl_state();

	for (cl_uint i = 0; i < m->n; i++) {
		long n = hmm_migrate(s->hmm, m->part[i].at, m->part[i].bytes, m->target, 0);

		if (n < 0)
			hmm_engine_log(2, "migration of %zu bytes at %p refused (%ld)",
				       m->part[i].bytes, m->part[i].at, n);
	}
	return CL_SUCCESS;
}

static void clean_migrate(struct ocl_command *c)
{
	struct migrate *m = (struct migrate *)c;

	for (cl_uint i = 0; i < m->n; i++)
		if (m->part[i].mem)
			ocl_drop(m->part[i].mem);
}

static struct migrate *new_migrate(cl_command_queue q, cl_uint n, cl_mem_migration_flags flags)
{
	struct migrate *m = ocl_command_new(q, sizeof(*m) + n * sizeof(m->part[0]), run_migrate);

	if (!m)
		return NULL;
	m->c.clean = clean_migrate;
	m->target = flags & CL_MIGRATE_MEM_OBJECT_HOST ? HMM_SYSTEM : q->device->index;
	m->n = n;
	return m;
}

#define MIGRATE_FLAGS (CL_MIGRATE_MEM_OBJECT_HOST | CL_MIGRATE_MEM_OBJECT_CONTENT_UNDEFINED)

cl_int CL_API_CALL ocl_EnqueueMigrateMemObjects(cl_command_queue q, cl_uint n_mems,
						const cl_mem *mems, cl_mem_migration_flags flags,
						cl_uint n, const cl_event *list, cl_event *event)
{
	struct ocl_wait w = OCL_WAIT(n, list, event);
	struct migrate *m;
	cl_int err = ocl_command_check(q, &w);

	if (err)
		return err;
	if (!n_mems || !mems || flags & ~(cl_mem_migration_flags)MIGRATE_FLAGS)
		return CL_INVALID_VALUE;
	for (cl_uint i = 0; i < n_mems; i++) {
		err = check_mem(q, &w, mems[i]);
		if (err)
			return err;
	}
	m = new_migrate(q, n_mems, flags);
	if (!m)
		return CL_OUT_OF_HOST_MEMORY;
	for (cl_uint i = 0; i < n_mems; i++) {
		ocl_hold(mems[i]);
		m->part[i].mem = mems[i];
		m->part[i].at = mems[i]->data;
		m->part[i].bytes = mems[i]->bytes;
	}
	return ocl_command_submit(&m->c, CL_COMMAND_MIGRATE_MEM_OBJECTS, &w);
}

cl_int CL_API_CALL ocl_EnqueueSVMMigrateMem(cl_command_queue q, cl_uint n_pointers,
					    const void **pointers, const size_t *sizes,
					    cl_mem_migration_flags flags, cl_uint n,
					    const cl_event *list, cl_event *event)
{
	struct ocl_wait w = OCL_WAIT(n, list, event);
	struct migrate *m;
	cl_int err = ocl_command_check(q, &w);

	if (err)
		return err;
	if (!n_pointers || !pointers || flags & ~(cl_mem_migration_flags)MIGRATE_FLAGS)
		return CL_INVALID_VALUE;
	for (cl_uint i = 0; i < n_pointers; i++)
		if (!pointers[i])
			return CL_INVALID_VALUE;
	m = new_migrate(q, n_pointers, flags);
	if (!m)
		return CL_OUT_OF_HOST_MEMORY;
	for (cl_uint i = 0; i < n_pointers; i++) {
		struct ocl_svm svm = { 0 };

		/* Size 0: all of the allocation that it lies in. */
		m->part[i].at = (void *)(uintptr_t)pointers[i];
		m->part[i].bytes = sizes ? sizes[i] : 0;
		if (!m->part[i].bytes && ocl_svm_find(q->context, pointers[i], &svm)) {
			m->part[i].at = svm.start;
			m->part[i].bytes = svm.bytes;
		}
		if (!m->part[i].bytes)
			m->part[i].bytes = 1;
	}
	return ocl_command_submit(&m->c, CL_COMMAND_SVM_MIGRATE_MEM, &w);
}

// SPDX-License-Identifier: MIT
/* Rectangles: three-dimensional parts of buffers and host memory. */
#include "opencl/api.h"

#include <string.h>

struct pitches {
	size_t row, slice;
};

struct rect {
	struct ocl_command c;
	char *to;
	const char *from;
	struct pitches to_pitch, from_pitch;
	size_t region[3];
};

static cl_int run_rect(struct ocl_command *c)
{
	struct rect *r = (struct rect *)c;

	for (size_t z = 0; z < r->region[2]; z++)
		for (size_t y = 0; y < r->region[1]; y++)
			memmove(r->to + z * r->to_pitch.slice + y * r->to_pitch.row,
				r->from + z * r->from_pitch.slice + y * r->from_pitch.row,
				r->region[0]);
	return CL_SUCCESS;
}

static cl_int check_pitches(const size_t *region, size_t row, size_t slice, struct pitches *out)
{
	if (!region || !region[0] || !region[1] || !region[2])
		return CL_INVALID_VALUE;
	if (row && row < region[0])
		return CL_INVALID_VALUE;
	out->row = row ? row : region[0];
	if (slice && (slice < region[1] * out->row || slice % out->row))
		return CL_INVALID_VALUE;
	if (__builtin_mul_overflow(region[1], out->row, &out->slice))
		return CL_INVALID_VALUE;
	if (slice)
		out->slice = slice;
	return CL_SUCCESS;
}

/* Where the rectangle starts, and that it ends within @most bytes. */
static cl_int check_extent(const size_t *origin, const size_t *region, const struct pitches *p,
			   size_t most, size_t *start)
{
	size_t a, b, end;

	if (!origin)
		return CL_INVALID_VALUE;
	if (__builtin_mul_overflow(origin[2], p->slice, &a) ||
	    __builtin_mul_overflow(origin[1], p->row, &b) || __builtin_add_overflow(a, b, start) ||
	    __builtin_add_overflow(*start, origin[0], start) ||
	    __builtin_mul_overflow(region[2] - 1, p->slice, &a) ||
	    __builtin_mul_overflow(region[1] - 1, p->row, &b) ||
	    __builtin_add_overflow(a, b, &end) || __builtin_add_overflow(end, region[0], &end) ||
	    __builtin_add_overflow(end, *start, &end))
		return CL_INVALID_VALUE;
	return end > most ? CL_INVALID_VALUE : CL_SUCCESS;
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

struct side {
	const size_t *origin;
	size_t row, slice;
};

static cl_int submit(cl_command_queue q, cl_command_type type, const struct ocl_wait *w,
		     struct rect *values, cl_mem a, cl_mem b)
{
	struct rect *r = ocl_command_new(q, sizeof(*r), run_rect);

	if (!r)
		return CL_OUT_OF_HOST_MEMORY;
	values->c = r->c;
	*r = *values;
	ocl_command_hold(&r->c, 0, a);
	if (b)
		ocl_command_hold(&r->c, 1, b);
	return ocl_command_submit(&r->c, type, w);
}

static cl_int host_rect(cl_command_queue q, cl_mem m, const struct side *buffer,
			const struct side *host, const size_t *region, char *memory, bool write,
			const struct ocl_wait *w)
{
	struct rect r = { 0 };
	struct pitches bp, hp;
	size_t buffer_start, host_start;
	cl_int err = check_mem(q, w, m);

	if (!err && !memory)
		err = CL_INVALID_VALUE;
	if (!err)
		err = check_pitches(region, buffer->row, buffer->slice, &bp);
	if (!err)
		err = check_pitches(region, host->row, host->slice, &hp);
	if (!err)
		err = check_extent(buffer->origin, region, &bp, m->bytes, &buffer_start);
	if (!err)
		err = check_extent(host->origin, region, &hp, SIZE_MAX / 2, &host_start);
	if (err)
		return err;
	if (m->flags &
	    (CL_MEM_HOST_NO_ACCESS | (write ? CL_MEM_HOST_READ_ONLY : CL_MEM_HOST_WRITE_ONLY)))
		return CL_INVALID_OPERATION;
	memcpy(r.region, region, sizeof(r.region));
	r.to = write ? m->data + buffer_start : memory + host_start;
	r.from = write ? memory + host_start : m->data + buffer_start;
	r.to_pitch = write ? bp : hp;
	r.from_pitch = write ? hp : bp;
	return submit(q, write ? CL_COMMAND_WRITE_BUFFER_RECT : CL_COMMAND_READ_BUFFER_RECT, w, &r,
		      m, NULL);
}

cl_int CL_API_CALL ocl_EnqueueReadBufferRect(cl_command_queue q, cl_mem m, cl_bool blocking,
					     const size_t *buffer_origin, const size_t *host_origin,
					     const size_t *region, size_t buffer_row,
					     size_t buffer_slice, size_t host_row,
					     size_t host_slice, void *to, cl_uint n,
					     const cl_event *list, cl_event *event)
{
	struct side b = { buffer_origin, buffer_row, buffer_slice };
	struct side h = { host_origin, host_row, host_slice };
	struct ocl_wait w = { n, list, event, blocking };

	return host_rect(q, m, &b, &h, region, to, false, &w);
}

cl_int CL_API_CALL ocl_EnqueueWriteBufferRect(cl_command_queue q, cl_mem m, cl_bool blocking,
					      const size_t *buffer_origin,
					      const size_t *host_origin, const size_t *region,
					      size_t buffer_row, size_t buffer_slice,
					      size_t host_row, size_t host_slice, const void *from,
					      cl_uint n, const cl_event *list, cl_event *event)
{
	struct side b = { buffer_origin, buffer_row, buffer_slice };
	struct side h = { host_origin, host_row, host_slice };
	struct ocl_wait w = { n, list, event, blocking };

	return host_rect(q, m, &b, &h, region, (char *)(uintptr_t)from, true, &w);
}

static const char *row_of(const struct rect *r, const char *start, const struct pitches *p,
			  size_t i)
{
	return start + i / r->region[1] * p->slice + i % r->region[1] * p->row;
}

/* Do any of their rows meet? The addresses of both ascend; sub-buffers share memory, too. */
static bool overlap(const struct rect *r)
{
	size_t rows = r->region[1] * r->region[2], i = 0, j = 0;

	while (i < rows && j < rows) {
		const char *to = row_of(r, r->to, &r->to_pitch, i);
		const char *from = row_of(r, r->from, &r->from_pitch, j);

		if (to < from + r->region[0] && from < to + r->region[0])
			return true;
		if (to < from)
			i++;
		else
			j++;
	}
	return false;
}

cl_int CL_API_CALL ocl_EnqueueCopyBufferRect(cl_command_queue q, cl_mem from, cl_mem to,
					     const size_t *from_origin, const size_t *to_origin,
					     const size_t *region, size_t from_row,
					     size_t from_slice, size_t to_row, size_t to_slice,
					     cl_uint n, const cl_event *list, cl_event *event)
{
	struct ocl_wait w = OCL_WAIT(n, list, event);
	size_t from_start, to_start;
	struct rect r = { 0 };
	cl_int err = check_mem(q, &w, from);

	if (!err)
		err = check_mem(q, &w, to);
	if (!err)
		err = check_pitches(region, from_row, from_slice, &r.from_pitch);
	if (!err)
		err = check_pitches(region, to_row, to_slice, &r.to_pitch);
	if (!err)
		err = check_extent(from_origin, region, &r.from_pitch, from->bytes, &from_start);
	if (!err)
		err = check_extent(to_origin, region, &r.to_pitch, to->bytes, &to_start);
	if (!err && from == to &&
	    (r.from_pitch.row != r.to_pitch.row || r.from_pitch.slice != r.to_pitch.slice))
		err = CL_INVALID_VALUE;
	if (err)
		return err;
	memcpy(r.region, region, sizeof(r.region));
	r.to = to->data + to_start;
	r.from = from->data + from_start;
	if (overlap(&r))
		return CL_MEM_COPY_OVERLAP;
	return submit(q, CL_COMMAND_COPY_BUFFER_RECT, &w, &r, from, to);
}

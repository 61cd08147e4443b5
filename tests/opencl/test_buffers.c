// SPDX-License-Identifier: MIT
/* Buffers: creation in every form, transfers, sub-buffers, maps, and bad arguments. */
#include "opencl/common.h"

#define N 1024

static cl_mem make(cl_mem_flags flags, size_t bytes, void *host)
{
	cl_int err;
	cl_mem m = clCreateBuffer(context, flags, bytes, host, &err);

	CU_ASSERT_EQUAL(err, CL_SUCCESS);
	return m;
}

static cl_int create_error(cl_mem_flags flags, size_t bytes, void *host)
{
	cl_int err = CL_SUCCESS;

	CU_ASSERT_PTR_NULL(clCreateBuffer(context, flags, bytes, host, &err));
	return err;
}

static void test_create(void)
{
	static int host[N];
	cl_ulong most;

	CL_OK(clGetDeviceInfo(device, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof(most), &most, NULL));
	CU_ASSERT_EQUAL(create_error(0, 0, NULL), CL_INVALID_BUFFER_SIZE);
	CU_ASSERT_EQUAL(create_error(0, most + 1, NULL), CL_INVALID_BUFFER_SIZE);
	CU_ASSERT_EQUAL(create_error(0, N, host), CL_INVALID_HOST_PTR);
	CU_ASSERT_EQUAL(create_error(CL_MEM_USE_HOST_PTR, N, NULL), CL_INVALID_HOST_PTR);
	CU_ASSERT_EQUAL(create_error(CL_MEM_READ_ONLY | CL_MEM_WRITE_ONLY, N, NULL),
			CL_INVALID_VALUE);
	CU_ASSERT_EQUAL(create_error(CL_MEM_USE_HOST_PTR | CL_MEM_COPY_HOST_PTR, N, host),
			CL_INVALID_VALUE);
	CU_ASSERT_EQUAL(create_error(1ul << 40, N, NULL), CL_INVALID_VALUE);
	CU_ASSERT_EQUAL(clReleaseMemObject(NULL), CL_INVALID_MEM_OBJECT);
}

static void test_read_write_fill(void)
{
	int a[N], b[N];
	short pattern = 0x1234;
	cl_mem m, o;

	for (int i = 0; i < N; i++)
		a[i] = i;
	m = make(CL_MEM_COPY_HOST_PTR, sizeof(a), a);
	o = make(0, sizeof(a), NULL);
	memset(b, 0, sizeof(b));
	CL_OK(clEnqueueReadBuffer(queue, m, CL_TRUE, 4, 8, b, 0, NULL, NULL));
	CU_ASSERT(b[0] == 1 && b[1] == 2 && b[2] == 0);
	CL_OK(clEnqueueCopyBuffer(queue, m, o, 0, 400, 400, 0, NULL, NULL));
	CL_OK(clEnqueueFillBuffer(queue, o, &pattern, 2, 0, 400, 0, NULL, NULL));
	CL_OK(clEnqueueWriteBuffer(queue, o, CL_FALSE, 800, 40, a, 0, NULL, NULL));
	CL_OK(clEnqueueReadBuffer(queue, o, CL_TRUE, 0, sizeof(b), b, 0, NULL, NULL));
	CU_ASSERT(b[0] == 0x12341234 && b[99] == 0x12341234);
	CU_ASSERT(b[100] == 0 && b[199] == 99 && b[200] == 0 && b[209] == 9);
	CU_ASSERT_EQUAL(clEnqueueReadBuffer(queue, m, CL_TRUE, 4, sizeof(a), b, 0, NULL, NULL),
			CL_INVALID_VALUE);
	CU_ASSERT_EQUAL(clEnqueueReadBuffer(queue, m, CL_TRUE, SIZE_MAX, 2, b, 0, NULL, NULL),
			CL_INVALID_VALUE);
	CU_ASSERT_EQUAL(clEnqueueWriteBuffer(queue, m, CL_TRUE, 0, 4, NULL, 0, NULL, NULL),
			CL_INVALID_VALUE);
	CU_ASSERT_EQUAL(clEnqueueCopyBuffer(queue, m, m, 0, 4, 8, 0, NULL, NULL),
			CL_MEM_COPY_OVERLAP);
	CU_ASSERT_EQUAL(clEnqueueFillBuffer(queue, m, &pattern, 3, 0, 6, 0, NULL, NULL),
			CL_INVALID_VALUE);
	CL_OK(clEnqueueMigrateMemObjects(queue, 1, &m, 0, 0, NULL, NULL));
	CL_OK(clEnqueueReadBuffer(queue, m, CL_TRUE, 0, sizeof(b), b, 0, NULL, NULL));
	CU_ASSERT_EQUAL(memcmp(a, b, sizeof(a)), 0);
	CL_OK(clReleaseMemObject(m));
	CL_OK(clReleaseMemObject(o));
}

static void test_rect(void)
{
	const size_t zero[3] = { 0 }, at[3] = { 3, 1, 1 }, region[3] = { 3, 2, 2 };
	const size_t far[3] = { 8, 7, 7 };
	unsigned char a[8 * 8 * 8], b[12], c[8 * 8 * 8];
	cl_mem m, o;

	for (int i = 0; i < 512; i++)
		a[i] = (unsigned char)i;
	m = make(CL_MEM_COPY_HOST_PTR, sizeof(a), a);
	o = make(0, sizeof(a), NULL);
	CL_OK(clEnqueueReadBufferRect(queue, m, CL_TRUE, at, zero, region, 8, 64, 0, 0, b, 0, NULL,
				      NULL));
	CU_ASSERT(b[0] == 75 && b[3] == 83 && b[6] == 139);
	CL_OK(clEnqueueWriteBufferRect(queue, o, CL_TRUE, at, zero, region, 8, 64, 0, 0, b, 0, NULL,
				       NULL));
	CL_OK(clEnqueueCopyBufferRect(queue, o, o, at, zero, region, 8, 64, 8, 64, 0, NULL, NULL));
	CL_OK(clEnqueueReadBuffer(queue, o, CL_TRUE, 0, sizeof(c), c, 0, NULL, NULL));
	CU_ASSERT(c[75] == 75 && c[0] == 75 && c[8] == 83 && c[3] == 0);
	CU_ASSERT_EQUAL(clEnqueueReadBufferRect(queue, m, CL_TRUE, far, zero, region, 8, 64, 0, 0,
						b, 0, NULL, NULL),
			CL_INVALID_VALUE);
	CU_ASSERT_EQUAL(clEnqueueReadBufferRect(queue, m, CL_TRUE, at, zero, region, 2, 64, 0, 0, b,
						0, NULL, NULL),
			CL_INVALID_VALUE);
	CL_OK(clReleaseMemObject(m));
	CL_OK(clReleaseMemObject(o));
}

static void mark(char *bytes, char bit, const size_t *at, const size_t *region, size_t row,
		 size_t slice)
{
	for (size_t z = 0; z < region[2]; z++)
		for (size_t y = 0; y < region[1]; y++)
			for (size_t x = 0; x < region[0]; x++)
				bytes[(at[2] + z) * slice + (at[1] + y) * row + at[0] + x] |= bit;
}

static void copy_within(cl_mem m, const size_t *from, const size_t *to, const size_t *region)
{
	char bytes[256] = "";
	cl_int want = CL_SUCCESS;

	mark(bytes, 1, from, region, 4, 12);
	mark(bytes, 2, to, region, 4, 12);
	for (size_t i = 0; i < sizeof(bytes); i++)
		if (bytes[i] == 3)
			want = CL_MEM_COPY_OVERLAP;
	CU_ASSERT_EQUAL(
		clEnqueueCopyBufferRect(queue, m, m, from, to, region, 4, 12, 4, 12, 0, NULL, NULL),
		want);
}

/* Rectangles that lie between each other's rows do not overlap; those of sub-buffers may. */
static void test_rect_overlap(void)
{
	const size_t regions[][3] = { { 4, 1, 2 }, { 3, 1, 2 }, { 2, 2, 2 }, { 1, 3, 1 } };
	cl_mem m = clCreateBuffer(context, 0, 256, NULL, NULL), s;
	const cl_buffer_region part = { 0, 128 };
	size_t zero[3] = { 0 }, one[3] = { 1, 0, 0 };

	for (size_t r = 0; r < sizeof(regions) / sizeof(regions[0]); r++)
		for (size_t i = 0; i < 64; i++)
			for (size_t j = 0; j < 64; j++) {
				size_t from[3] = { i % 4, i / 4 % 4, i / 16 };
				size_t to[3] = { j % 4, j / 4 % 4, j / 16 };

				copy_within(m, from, to, regions[r]);
			}
	s = clCreateSubBuffer(m, 0, CL_BUFFER_CREATE_TYPE_REGION, &part, NULL);
	CU_ASSERT_EQUAL(clEnqueueCopyBufferRect(queue, m, s, zero, one, regions[0], 4, 12, 4, 12, 0,
						NULL, NULL),
			CL_MEM_COPY_OVERLAP);
	CL_OK(clFinish(queue));
	CL_OK(clReleaseMemObject(s));
	CL_OK(clReleaseMemObject(m));
}

static void test_sub_buffer(void)
{
	cl_buffer_region r = { 4096, 100 };
	char host[8192] = { 0 };
	cl_mem m = make(CL_MEM_USE_HOST_PTR, sizeof(host), host);
	cl_mem parent, s;
	size_t offset;
	char one = 1;
	cl_int err;

	s = clCreateSubBuffer(m, 0, CL_BUFFER_CREATE_TYPE_REGION, &r, &err);
	CU_ASSERT_EQUAL(err, CL_SUCCESS);
	CL_OK(clGetMemObjectInfo(s, CL_MEM_OFFSET, sizeof(offset), &offset, NULL));
	CU_ASSERT_EQUAL(offset, 4096);
	CL_OK(clGetMemObjectInfo(s, CL_MEM_ASSOCIATED_MEMOBJECT, sizeof(parent), &parent, NULL));
	CU_ASSERT_PTR_EQUAL(parent, m);
	CL_OK(clEnqueueFillBuffer(queue, s, &one, 1, 0, 100, 0, NULL, NULL));
	CL_OK(clReleaseMemObject(m));
	CL_OK(clFinish(queue));
	CU_ASSERT(host[4095] == 0 && host[4096] == 1 && host[4195] == 1 && host[4196] == 0);
	CU_ASSERT_PTR_NULL(clCreateSubBuffer(s, 0, CL_BUFFER_CREATE_TYPE_REGION, &r, &err));
	CU_ASSERT_EQUAL(err, CL_INVALID_MEM_OBJECT);
	CL_OK(clReleaseMemObject(s));
	m = make(CL_MEM_READ_ONLY, 8192, NULL);
	r.origin = 3;
	CU_ASSERT_PTR_NULL(clCreateSubBuffer(m, 0, CL_BUFFER_CREATE_TYPE_REGION, &r, &err));
	CU_ASSERT_EQUAL(err, CL_MISALIGNED_SUB_BUFFER_OFFSET);
	r.origin = 8192;
	CU_ASSERT_PTR_NULL(clCreateSubBuffer(m, 0, CL_BUFFER_CREATE_TYPE_REGION, &r, &err));
	CU_ASSERT_EQUAL(err, CL_INVALID_VALUE);
	r.origin = 0;
	CU_ASSERT_PTR_NULL(
		clCreateSubBuffer(m, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &r, &err));
	CU_ASSERT_EQUAL(err, CL_INVALID_VALUE);
	CL_OK(clReleaseMemObject(m));
}

static void test_map(void)
{
	cl_mem m = make(0, 8192, NULL), no = make(CL_MEM_HOST_NO_ACCESS, 64, NULL);
	cl_uint count;
	char *p, back;
	cl_int err;

	p = clEnqueueMapBuffer(queue, m, CL_TRUE, CL_MAP_WRITE, 100, 200, 0, NULL, NULL, &err);
	CU_ASSERT_EQUAL(err, CL_SUCCESS);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	p[5] = 42;
	CL_OK(clGetMemObjectInfo(m, CL_MEM_MAP_COUNT, sizeof(count), &count, NULL));
	CU_ASSERT_EQUAL(count, 1);
	CL_OK(clEnqueueUnmapMemObject(queue, m, p, 0, NULL, NULL));
	CL_OK(clEnqueueReadBuffer(queue, m, CL_TRUE, 105, 1, &back, 0, NULL, NULL));
	CU_ASSERT_EQUAL(back, 42);
	CU_ASSERT_EQUAL(clEnqueueUnmapMemObject(queue, m, p, 0, NULL, NULL), CL_INVALID_VALUE);
	CU_ASSERT_PTR_NULL(
		clEnqueueMapBuffer(queue, m, CL_TRUE, CL_MAP_READ, 8000, 200, 0, NULL, NULL, &err));
	CU_ASSERT_EQUAL(err, CL_INVALID_VALUE);
	CU_ASSERT_PTR_NULL(
		clEnqueueMapBuffer(queue, no, CL_TRUE, CL_MAP_READ, 0, 8, 0, NULL, NULL, &err));
	CU_ASSERT_EQUAL(err, CL_INVALID_OPERATION);
	CU_ASSERT_EQUAL(clEnqueueReadBuffer(queue, no, CL_TRUE, 0, 1, &back, 0, NULL, NULL),
			CL_INVALID_OPERATION);
	CL_OK(clReleaseMemObject(m));
	CL_OK(clReleaseMemObject(no));
}

static int order[4], n_order;

static void CL_CALLBACK on_destroy(cl_mem m, void *data)
{
	(void)m;
	order[n_order++ & 3] = *(int *)data;
}

static void test_references(void)
{
	int one = 1, two = 2;
	cl_mem m = make(0, 64, NULL);
	cl_uint refs;

	CL_OK(clSetMemObjectDestructorCallback(m, on_destroy, &one));
	CL_OK(clSetMemObjectDestructorCallback(m, on_destroy, &two));
	CL_OK(clRetainMemObject(m));
	CL_OK(clGetMemObjectInfo(m, CL_MEM_REFERENCE_COUNT, sizeof(refs), &refs, NULL));
	CU_ASSERT_EQUAL(refs, 2);
	CL_OK(clReleaseMemObject(m));
	CU_ASSERT_EQUAL(n_order, 0);
	CL_OK(clReleaseMemObject(m));
	CU_ASSERT(n_order == 2 && order[0] == 2 && order[1] == 1);
}

static int last_words;

static void CL_CALLBACK takes_and_lets_go(cl_mem m, void *unused)
{
	(void)unused;
	if (last_words++)
		return;
	CL_OK(clRetainMemObject(m));
	CL_OK(clReleaseMemObject(m));
}

/* A callback may still use what is being destroyed; that happens once. */
static void test_destructor(void)
{
	cl_mem m = clCreateBuffer(context, 0, 64, NULL, NULL);

	CL_OK(clSetMemObjectDestructorCallback(m, takes_and_lets_go, NULL));
	CL_OK(clReleaseMemObject(m));
	CU_ASSERT_EQUAL(last_words, 1);
}

static void test_unsupported(void)
{
	cl_image_format format = { CL_RGBA, CL_UNORM_INT8 };
	cl_image_desc desc = { .image_type = CL_MEM_OBJECT_IMAGE2D,
			       .image_width = 4,
			       .image_height = 4 };
	cl_bool images = CL_TRUE;
	cl_uint n = 9;
	cl_int err;

	CL_OK(clGetDeviceInfo(device, CL_DEVICE_IMAGE_SUPPORT, sizeof(images), &images, NULL));
	CU_ASSERT_EQUAL(images, CL_FALSE);
	CL_OK(clGetSupportedImageFormats(context, 0, CL_MEM_OBJECT_IMAGE2D, 0, NULL, &n));
	CU_ASSERT_EQUAL(n, 0);
	CU_ASSERT_PTR_NULL(clCreateImage(context, 0, &format, &desc, NULL, &err));
	CU_ASSERT_EQUAL(err, CL_INVALID_OPERATION);
	CU_ASSERT_PTR_NULL(clCreatePipe(context, 0, 4, 4, NULL, &err));
	CU_ASSERT_EQUAL(err, CL_INVALID_OPERATION);
	CU_ASSERT_EQUAL(clEnqueueNativeKernel(queue, NULL, NULL, 0, 0, NULL, NULL, 0, NULL, NULL),
			CL_INVALID_OPERATION);
}

int main(void)
{
	static const struct opencl_test tests[] = {
		{ "create", test_create },
		{ "read, write, copy, fill, migrate", test_read_write_fill },
		{ "rectangles", test_rect },
		{ "rectangles between each other", test_rect_overlap },
		{ "sub-buffers", test_sub_buffer },
		{ "map and unmap", test_map },
		{ "reference counts and destructors", test_references },
		{ "a destructor that uses the buffer", test_destructor },
		{ "images, pipes, native kernels", test_unsupported },
	};

	return opencl_run("buffers", tests, sizeof(tests) / sizeof(tests[0]));
}

// SPDX-License-Identifier: MIT
/* Vector add on malloc() memory: no buffers, no copies, the same pointers on both sides. */
#include "common/example.h"

static const char source[] =
	"kernel void add(global const float *a, global const float *b, global float *sum)\n"
	"{ size_t i = get_global_id(0); sum[i] = a[i] + b[i]; }\n";

int main(int argc, char **argv)
{
	size_t n = (argc > 1 ? strtoul(argv[1], NULL, 0) : 4) << 20, bytes = n * sizeof(float);
	float *a = malloc(bytes), *b = malloc(bytes), *sum = malloc(bytes);
	struct example e;
	cl_kernel add;
	double start;

	example_need(a);
	example_need(b);
	example_need(sum);
	example_open(&e, source);
	for (size_t i = 0; i < n; i++) {
		a[i] = (float)(i % 1000);
		b[i] = (float)(i % 77);
	}
	printf("Adding two vectors of %zu floats, straight from malloc().\n", n);
	example_map(&e, "a, filled by the CPU", a, bytes);

	add = example_kernel(&e, "add");
	CHECK(clSetKernelArgSVMPointer(add, 0, a));
	CHECK(clSetKernelArgSVMPointer(add, 1, b));
	CHECK(clSetKernelArgSVMPointer(add, 2, sum));
	start = example_seconds();
	CHECK(clEnqueueNDRangeKernel(e.queue, add, 1, NULL, &n, NULL, 0, NULL, NULL));
	CHECK(clFinish(e.queue));
	printf("  kernel with its page faults: %.1f ms\n", (example_seconds() - start) * 1e3);
	example_map(&e, "a, after the kernel", a, bytes);
	example_map(&e, "sum, after the kernel", sum, bytes);

	start = example_seconds();
	for (size_t i = 0; i < n; i++) {
		if (sum[i] != (float)(i % 1000) + (float)(i % 77)) {
			fprintf(stderr, "sum[%zu] is wrong\n", i);
			return 1;
		}
	}
	printf("  checked by the CPU, pages coming home: %.1f ms\n",
	       (example_seconds() - start) * 1e3);
	example_map(&e, "sum, read by the CPU", sum, bytes);
	clReleaseKernel(add);
	example_close(&e);
	free(a);
	free(b);
	free(sum);
	return 0;
}

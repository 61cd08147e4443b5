// SPDX-License-Identifier: MIT
/* A working set of four times the device's memory: the least recently used pages go home. */
#include "common/example.h"

#include <stdint.h>

static const char source[] = "kernel void advance_all(global ulong *p, ulong add)\n"
			     "{ size_t i = get_global_id(0); p[i] = p[i] * 3 + add; }\n";

int main(int argc, char **argv)
{
	const char *png = argc > 1 ? argv[1] : NULL;
	struct hmm_device_info info;
	struct residency *r;
	struct example e;
	cl_kernel step;
	size_t bytes, n, chunk;
	uint64_t *p;

	example_open(&e, source);
	CHECK(hmm_device_info(e.hmm, 0, &info));
	bytes = 4 * info.bytes;
	n = bytes / sizeof(*p);
	chunk = n / 16;
	p = example_need(malloc(bytes));
	printf("%zu MiB of data on a device of %zu MiB, three passes.\n", bytes >> 20,
	       (size_t)info.bytes >> 20);
	r = residency_start(e.hmm, p, bytes);
	for (size_t i = 0; i < n; i++)
		p[i] = i;
	step = example_kernel(&e, "advance_all");
	for (cl_ulong pass = 1; pass <= 3; pass++) {
		double start = example_seconds();

		for (size_t at = 0; at < n; at += chunk) {
			CHECK(clSetKernelArgSVMPointer(step, 0, p + at));
			CHECK(clSetKernelArg(step, 1, sizeof(pass), &pass));
			CHECK(clEnqueueNDRangeKernel(e.queue, step, 1, NULL, &chunk, NULL, 0, NULL,
						     NULL));
			CHECK(clFinish(e.queue));
		}
		printf("  pass %u: %.0f ms\n", (unsigned int)pass,
		       (example_seconds() - start) * 1e3);
		example_map(&e, "after the pass", p, bytes);
	}
	for (size_t i = 0; i < n; i++) {
		uint64_t want = ((i * 3 + 1) * 3 + 2) * 3 + 3;

		if (p[i] != want) {
			fprintf(stderr, "word %zu is wrong\n", i);
			return 1;
		}
	}
	example_map(&e, "checked by the CPU", p, bytes);
	printf("  every word is right\n");
	CHECK(residency_stop(r, png));
	clReleaseKernel(step);
	example_close(&e);
	free(p);
	return 0;
}

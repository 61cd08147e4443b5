// SPDX-License-Identifier: MIT
/*
 * numbers: a file of numbers, half as large again as the device's memory, normalised in place by
 * kernels: the first looks for the least and the greatest, the second stretches all to 0 ...
 * 1000000. Nothing is read into a buffer, and nobody divides the file into parts that fit. Another
 * process reads the result while pages are on the device, and the CPU by the kernels' pointer.
 */
#include "common/example.h"

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ITEMS 1024
#define MOST 1000000ul
#define CHUNK (1u << 18) /* numbers */

static const char source[] =
	"kernel void extremes(global const uint *p, ulong n, global uint *least, global uint *most)\n"
	"{ size_t id = get_global_id(0), items = get_global_size(0);\n"
	"  uint lo = UINT_MAX, hi = 0;\n"
	"  for (ulong i = n * id / items, end = n * (id + 1) / items; i < end; i++) {\n"
	"    lo = min(lo, p[i]); hi = max(hi, p[i]); }\n"
	"  atomic_min(least, lo); atomic_max(most, hi); }\n"
	"kernel void normalise(global uint *p, uint least, uint most)\n"
	"{ size_t i = get_global_id(0);\n"
	"  p[i] = (uint)((ulong)(p[i] - least) * 1000000 / (most - least)); }\n";

/* Number @i of the file. */
static uint32_t number(size_t i)
{
	uint32_t x = (uint32_t)i * 2654435761u;

	x = (x ^ x >> 15) * 2246822519u;
	return 1000 + (x ^ x >> 13) % 900000007u;
}

static uint32_t normal(size_t i, uint32_t least, uint32_t most)
{
	return (uint32_t)((number(i) - least) * MOST / (most - least));
}

static int make(char *path, size_t size, size_t n, uint32_t *least, uint32_t *most)
{
	uint32_t *chunk = example_need(malloc(CHUNK * sizeof(*chunk)));
	int fd = example_file("numbers", path, size);

	*least = UINT32_MAX;
	*most = 0;
	for (size_t i = 0; i < n; i += CHUNK) {
		for (size_t k = 0; k < CHUNK; k++) {
			chunk[k] = number(i + k);
			*least = chunk[k] < *least ? chunk[k] : *least;
			*most = chunk[k] > *most ? chunk[k] : *most;
		}
		if (write(fd, chunk, CHUNK * 4ul) != CHUNK * 4l) {
			perror(path);
			unlink(path);
			exit(1);
		}
	}
	free(chunk);
	return fd;
}

/* In another process, by read(2). args: file, least, greatest. */
static int check(char **args)
{
	uint32_t least = (uint32_t)strtoul(args[1], NULL, 10);
	uint32_t most = (uint32_t)strtoul(args[2], NULL, 10);
	uint32_t *chunk = example_need(malloc(CHUNK * sizeof(*chunk)));
	int fd = open(args[0], O_RDONLY | O_CLOEXEC);
	size_t at = 0, wrong = 0;

	while (read(fd, chunk, CHUNK * 4ul) == CHUNK * 4l)
		for (size_t k = 0; k < CHUNK; k++, at++)
			wrong += chunk[k] != normal(at, least, most);
	printf("  process %d reads the file: %zu numbers, %zu wrong\n", (int)getpid(), at, wrong);
	free(chunk);
	close(fd);
	return wrong || !at ? 1 : 0;
}

static int check_elsewhere(char *path, uint32_t least, uint32_t most)
{
	char lo[16], hi[16], *args[] = { "numbers", "--check", path, lo, hi, NULL };

	snprintf(lo, sizeof(lo), "%u", least);
	snprintf(hi, sizeof(hi), "%u", most);
	return example_again(args);
}

/* found[0]: the least, [1]: the greatest. */
static void run(struct example *e, uint32_t *p, size_t n, uint32_t *found)
{
	cl_kernel k = example_kernel(e, "extremes");
	const size_t items = ITEMS;
	double start = example_seconds();
	cl_ulong count = n;

	CHECK(clSetKernelArgSVMPointer(k, 0, p));
	CHECK(clSetKernelArg(k, 1, sizeof(count), &count));
	CHECK(clSetKernelArgSVMPointer(k, 2, &found[0]));
	CHECK(clSetKernelArgSVMPointer(k, 3, &found[1]));
	CHECK(clEnqueueNDRangeKernel(e->queue, k, 1, NULL, &items, NULL, 0, NULL, NULL));
	CHECK(clFinish(e->queue));
	clReleaseKernel(k);
	printf("  from %u to %u: %.0f ms\n", found[0], found[1], (example_seconds() - start) * 1e3);
	example_map(e, "the file, looked at", p, n * 4);

	k = example_kernel(e, "normalise");
	start = example_seconds();
	CHECK(clSetKernelArgSVMPointer(k, 0, p));
	CHECK(clSetKernelArg(k, 1, sizeof(cl_uint), &found[0]));
	CHECK(clSetKernelArg(k, 2, sizeof(cl_uint), &found[1]));
	CHECK(clEnqueueNDRangeKernel(e->queue, k, 1, NULL, &n, NULL, 0, NULL, NULL));
	CHECK(clFinish(e->queue));
	clReleaseKernel(k);
	printf("  normalised: %.0f ms\n", (example_seconds() - start) * 1e3);
	example_map(e, "the file, normalised", p, n * 4);
	start = example_seconds();
	CHECK(hmm_sync(e->hmm, p, n * 4, 0));
	printf("  hmm_sync(): %.0f ms\n", (example_seconds() - start) * 1e3);
}

int main(int argc, char **argv)
{
	uint32_t *found = example_need(malloc(2 * sizeof(*found))), least, most;
	struct hmm_device_info info;
	size_t n, wrong = 0;
	struct example e;
	char path[300];
	int fd, status;
	void *map;

	if (argc == 5 && !strcmp(argv[1], "--check"))
		return check(argv + 2);
	example_open(&e, source);
	CHECK(hmm_device_info(e.hmm, 0, &info));
	n = (size_t)info.bytes * 3 / 2 / (CHUNK * 4) * CHUNK;
	fd = make(path, sizeof(path), n, &least, &most);
	if (hmm_map_file(e.hmm, fd, 0, n * 4, PROT_READ | PROT_WRITE, 0, &map)) {
		fprintf(stderr, "%s: this backend does not map it\n", path);
		unlink(path);
		return 77;
	}
	printf("%zu numbers in a file of %zu MiB, on a device of %zu MiB.\n", n, n * 4 >> 20,
	       (size_t)info.bytes >> 20);
	found[0] = UINT32_MAX;
	found[1] = 0;
	run(&e, map, n, found);
	status = check_elsewhere(path, least, most) || !example_resident(&e, map, n * 4);
	for (size_t i = 0; i < n; i++)
		wrong += ((uint32_t *)map)[i] != normal(i, least, most);
	printf("  checked by the CPU: %zu wrong\n", wrong);
	CHECK(hmm_unmap(e.hmm, map, n * 4));
	close(fd);
	unlink(path);
	example_close(&e);
	if (found[0] != least || found[1] != most || wrong)
		status = 1;
	free(found);
	return status;
}

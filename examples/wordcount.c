// SPDX-License-Identifier: MIT
/*
 * wordcount [FILE]: words of a text and how long they are, counted by a kernel in the mapped file
 * itself. Nothing is read into a buffer, nothing is copied to one: the file's pages go to the
 * device when the kernel touches them, and the kernel's pointer is the CPU's.
 */
#include "common/example.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ITEMS 256
#define LENGTHS 32 /* the last one: and longer */

struct result {
	unsigned int words, length[LENGTHS];
};

/* A word is counted by the work item that has its first character. */
static const char source[] =
	"bool space(char c) { return c == ' ' || (c >= 9 && c <= 13) || !c; }\n"
	"kernel void count(global const char *text, ulong n, global uint *result)\n"
	"{ size_t id = get_global_id(0), items = get_global_size(0);\n"
	"  ulong i = n * id / items, end = n * (id + 1) / items;\n"
	"  uint words = 0, length[32];\n"
	"  for (int k = 0; k < 32; k++) length[k] = 0;\n"
	"  for (; i < end; i++) {\n"
	"    if (space(text[i]) || (i && !space(text[i - 1]))) continue;\n"
	"    ulong stop = i;\n"
	"    while (stop < n && !space(text[stop])) stop++;\n"
	"    words++; length[min(stop - i, 31UL)]++; }\n"
	"  atomic_add(result, words);\n"
	"  for (int k = 0; k < 32; k++) if (length[k]) atomic_add(result + 1 + k, length[k]); }\n";

static bool space(char c)
{
	return c == ' ' || (c >= 9 && c <= 13) || !c;
}

/* The same, plainly, from what read(2) gives. */
static void count_by_reading(int fd, size_t n, struct result *r)
{
	char *text = example_need(malloc(n));
	size_t have = 0, word = 0;

	for (ssize_t got; have < n && (got = pread(fd, text + have, n - have, (off_t)have)) > 0;)
		have += (size_t)got;
	for (size_t i = 0; i <= have; i++) {
		if (i < have && !space(text[i])) {
			word++;
			continue;
		}
		r->words += word > 0;
		if (word)
			r->length[word < LENGTHS ? word : LENGTHS - 1]++;
		word = 0;
	}
	free(text);
}

static void print(const struct result *r)
{
	unsigned int most = 1;

	for (int k = 1; k < LENGTHS; k++)
		most = r->length[k] > most ? r->length[k] : most;
	printf("  %u words\n", r->words);
	for (int k = 1; k < LENGTHS; k++)
		if (r->length[k])
			printf("  %2d%s %8u %.*s\n", k, k == LENGTHS - 1 ? "+" : " ", r->length[k],
			       (int)(r->length[k] * 50ull / most),
			       "##################################################");
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : "/var/lib/dpkg/status";
	struct result *by_kernel = example_need(calloc(1, sizeof(*by_kernel))), by_cpu = { 0 };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t items = ITEMS;
	struct example e;
	struct stat st;
	cl_kernel count;
	cl_ulong n;
	double start;
	void *text;

	if (fd < 0 || fstat(fd, &st) || !st.st_size) {
		fprintf(stderr, "%s: no text there\n", path);
		return 77;
	}
	example_open(&e, source);
	n = (cl_ulong)st.st_size;
	if (hmm_map_file(e.hmm, fd, 0, n, PROT_READ, 0, &text)) {
		fprintf(stderr, "%s: this backend does not map it\n", path);
		return 77;
	}
	printf("Counting the words of %s, %zu bytes, where it is mapped.\n", path, (size_t)n);
	example_map(&e, "the file, before", text, n);

	count = example_kernel(&e, "count");
	CHECK(clSetKernelArgSVMPointer(count, 0, text));
	CHECK(clSetKernelArg(count, 1, sizeof(n), &n));
	CHECK(clSetKernelArgSVMPointer(count, 2, by_kernel));
	start = example_seconds();
	CHECK(clEnqueueNDRangeKernel(e.queue, count, 1, NULL, &items, NULL, 0, NULL, NULL));
	CHECK(clFinish(e.queue));
	printf("  kernel, which reads the file by its page faults: %.1f ms\n",
	       (example_seconds() - start) * 1e3);
	example_map(&e, "the file, after the kernel", text, n);
	print(by_kernel);
	count_by_reading(fd, n, &by_cpu);
	CHECK(hmm_unmap(e.hmm, text, n));
	close(fd);
	clReleaseKernel(count);
	example_close(&e);
	if (memcmp(&by_cpu, by_kernel, sizeof(by_cpu))) {
		fprintf(stderr, "the CPU counts %u words\n", by_cpu.words);
		return 1;
	}
	free(by_kernel);
	return 0;
}

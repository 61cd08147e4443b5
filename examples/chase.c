// SPDX-License-Identifier: MIT
/* A kernel follows pointers: a linked list and a binary tree of malloc() nodes. */
#include "common/example.h"

#include <stdint.h>

struct node {
	struct node *next, *left, *right;
	int64_t value;
	int64_t seen; /* written by the kernel */
};

static const char source[] =
	"struct node { global struct node *next, *left, *right; long value, seen; };\n"
	"kernel void list(global struct node *n, global long *sum)\n"
	"{ long s = 0; for (; n; n = n->next) { s += n->value; n->seen = s; } *sum = s; }\n"
	"kernel void find(global struct node *root, global const long *keys, global int *found)\n"
	"{ size_t i = get_global_id(0); global struct node *n = root; int depth = 0;\n"
	"  while (n && n->value != keys[i]) { n = keys[i] < n->value ? n->left : n->right; depth++; }\n"
	"  found[i] = n ? depth : -1; }\n";

static void insert(struct node **at, struct node *n)
{
	while (*at)
		at = n->value < (*at)->value ? &(*at)->left : &(*at)->right;
	*at = n;
}

/* Where malloc() put the nodes. Asking them later would bring them home. */
static uintptr_t lowest = UINTPTR_MAX, highest;

static struct node *make_nodes(size_t count, struct node **root)
{
	struct node *first = NULL;
	uint64_t random = 1;

	for (size_t i = 0; i < count; i++) {
		struct node *n = example_need(calloc(1, sizeof(*n)));

		random = random * 6364136223846793005u + 1442695040888963407u;
		n->value = (int64_t)(random >> 40);
		n->next = first;
		first = n;
		lowest = (uintptr_t)n < lowest ? (uintptr_t)n : lowest;
		highest = (uintptr_t)n > highest ? (uintptr_t)n : highest;
		insert(root, n);
	}
	return first;
}

static void map_nodes(struct example *e, const char *title)
{
	example_map(e, title, (const void *)lowest, highest - lowest + sizeof(struct node));
}

static int check_list(struct node *first, int64_t sum)
{
	int64_t s = 0;

	for (struct node *n = first; n; n = n->next) {
		s += n->value;
		if (n->seen != s)
			return 0;
	}
	return s == sum;
}

/* The CPU looks for the same keys. */
static int check_tree(struct node *root, const int64_t *keys, const int *found, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct node *n = root;
		int depth = 0;

		for (; n && n->value != keys[i]; depth++)
			n = keys[i] < n->value ? n->left : n->right;
		if (found[i] != (n ? depth : -1))
			return 0;
	}
	return 1;
}

int main(int argc, char **argv)
{
	size_t count = argc > 1 ? strtoul(argv[1], NULL, 0) : 100000, keys = 4096, one = 1;
	int64_t *key = malloc(keys * sizeof(*key)), *sum = calloc(1, sizeof(*sum));
	int *found = malloc(keys * sizeof(*found)), ok;
	struct node *root = NULL, *first = make_nodes(count, &root), *n = first;
	struct example e;
	cl_kernel list, find;
	double start;

	example_open(&e, source);
	printf("A list and a tree through the same %zu malloc() nodes.\n", count);
	for (size_t i = 0; i < keys; i++) {
		key[i] = n->value + (int64_t)(i & 1);
		n = n->next ? n->next : first;
	}
	list = example_kernel(&e, "list");
	CHECK(clSetKernelArgSVMPointer(list, 0, first));
	CHECK(clSetKernelArgSVMPointer(list, 1, sum));
	start = example_seconds();
	CHECK(clEnqueueNDRangeKernel(e.queue, list, 1, NULL, &one, NULL, 0, NULL, NULL));
	CHECK(clFinish(e.queue));
	printf("  the device walked the list in %.1f ms\n", (example_seconds() - start) * 1e3);
	map_nodes(&e, "the nodes, after the walk");

	find = example_kernel(&e, "find");
	CHECK(clSetKernelArgSVMPointer(find, 0, root));
	CHECK(clSetKernelArgSVMPointer(find, 1, key));
	CHECK(clSetKernelArgSVMPointer(find, 2, found));
	start = example_seconds();
	CHECK(clEnqueueNDRangeKernel(e.queue, find, 1, NULL, &keys, NULL, 0, NULL, NULL));
	CHECK(clFinish(e.queue));
	printf("  and looked %zu keys up in the tree in %.1f ms\n", keys,
	       (example_seconds() - start) * 1e3);

	ok = check_list(first, *sum) && check_tree(root, key, found, keys);
	map_nodes(&e, "the nodes, read by the CPU");
	printf("  the CPU %s\n", ok ? "finds the same" : "DISAGREES");
	clReleaseKernel(list);
	clReleaseKernel(find);
	example_close(&e);
	while (first) {
		n = first->next;
		free(first);
		first = n;
	}
	free(key);
	free(sum);
	free(found);
	return !ok;
}

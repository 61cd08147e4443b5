// SPDX-License-Identifier: MIT
/*
 * Breadth-first search on a real graph: the packages of this machine's package database and
 * what they depend on. The graph is ordinary malloc() memory: arrays of edges, one a package.
 */
#include "common/example.h"

#include <search.h>
#include <string.h>

#define DATABASE "/var/lib/dpkg/status"

struct package {
	char *name;
	int *edge; /* packages that it depends on */
	int edges;
	char *depends; /* text, until all names are known */
};

static struct package *package;
static int count;

static int by_name(const char *name)
{
	ENTRY key = { .key = (char *)(uintptr_t)name }, *found = hsearch(key, FIND);

	return found ? (int)(intptr_t)found->data : -1;
}

static void add_package(const char *name)
{
	ENTRY entry;

	package = realloc(package, (size_t)(count + 1) * sizeof(*package));
	package[count] = (struct package){ .name = strdup(name) };
	entry = (ENTRY){ package[count].name, (void *)(intptr_t)count };
	hsearch(entry, ENTER);
	count++;
}

static void read_database(FILE *f)
{
	char *line = NULL;
	size_t room = 0;

	while (getline(&line, &room, f) > 0) {
		line[strcspn(line, "\n")] = 0;
		if (!strncmp(line, "Package: ", 9))
			add_package(line + 9);
		else if (!strncmp(line, "Depends: ", 9) && count)
			package[count - 1].depends = strdup(line + 9);
	}
	free(line);
}

/* "libc6 (>= 2.36), debconf | cdebconf": every name, of alternatives too. */
static void make_edges(struct package *p)
{
	char *rest = p->depends, *word;

	while (rest && (word = strsep(&rest, ",|"))) {
		int to;

		word += strspn(word, " ");
		word[strcspn(word, " (:")] = 0;
		to = by_name(word);
		if (to < 0)
			continue;
		p->edge = realloc(p->edge, (size_t)(p->edges + 1) * sizeof(int));
		p->edge[p->edges++] = to;
	}
	free(p->depends);
	p->depends = NULL;
}

static const char source[] =
	"struct package { ulong name; global int *edge; int edges; ulong depends; };\n"
	"kernel void level(global struct package *p, global int *distance, int at, global int *more)\n"
	"{ size_t i = get_global_id(0);\n"
	"  if (distance[i] != at) return;\n"
	"  for (int e = 0; e < p[i].edges; e++)\n"
	"    if (distance[p[i].edge[e]] < 0) { distance[p[i].edge[e]] = at + 1; *more = 1; } }\n";

static int search_on_device(struct example *e, int *distance)
{
	cl_kernel level = example_kernel(e, "level");
	size_t n = (size_t)count;
	int *more = malloc(sizeof(*more)), at = 0;

	do {
		*more = 0;
		CHECK(clSetKernelArgSVMPointer(level, 0, package));
		CHECK(clSetKernelArgSVMPointer(level, 1, distance));
		CHECK(clSetKernelArg(level, 2, sizeof(at), &at));
		CHECK(clSetKernelArgSVMPointer(level, 3, more));
		CHECK(clEnqueueNDRangeKernel(e->queue, level, 1, NULL, &n, NULL, 0, NULL, NULL));
		CHECK(clFinish(e->queue));
		at++;
	} while (*more);
	free(more);
	clReleaseKernel(level);
	return at;
}

static void search_on_cpu(int start, int *distance)
{
	int *queue = malloc((size_t)count * sizeof(int)), first = 0, last = 0;

	queue[last++] = start;
	distance[start] = 0;
	while (first < last) {
		int i = queue[first++];

		for (int e = 0; e < package[i].edges; e++) {
			int to = package[i].edge[e];

			if (distance[to] < 0) {
				distance[to] = distance[i] + 1;
				queue[last++] = to;
			}
		}
	}
	free(queue);
}

/* The package from which most others are reached would be nice; most edges will do. */
static int best_start(void)
{
	int best = 0;

	for (int i = 1; i < count; i++)
		if (package[i].edges > package[best].edges)
			best = i;
	return best;
}

int main(void)
{
	FILE *f = fopen(DATABASE, "re");
	int *distance, *expected, start, levels, reached = 0, far = 0;
	struct example e;
	double t;

	if (!f || !hcreate(200000)) {
		fprintf(stderr, "%s is not there: no package graph on this machine\n", DATABASE);
		return 77;
	}
	read_database(f);
	fclose(f);
	for (int i = 0; i < count; i++)
		make_edges(&package[i]);
	distance = malloc((size_t)count * sizeof(int));
	expected = malloc((size_t)count * sizeof(int));
	memset(distance, -1, (size_t)count * sizeof(int));
	memset(expected, -1, (size_t)count * sizeof(int));
	start = best_start();
	distance[start] = 0;

	example_open(&e, source);
	printf("What does %s need? Searching %d packages of this machine.\n", package[start].name,
	       count);
	t = example_seconds();
	levels = search_on_device(&e, distance);
	t = example_seconds() - t;
	search_on_cpu(start, expected);
	for (int i = 0; i < count; i++) {
		reached += distance[i] >= 0;
		if (distance[i] > distance[far])
			far = i;
	}
	printf("  %d packages in %d levels, the farthest is %s at %d; %.1f ms on the device\n",
	       reached, levels, package[far].name, distance[far], t * 1e3);
	if (memcmp(distance, expected, (size_t)count * sizeof(int))) {
		fprintf(stderr, "the CPU disagrees\n");
		return 1;
	}
	printf("  the CPU finds the same\n");
	example_close(&e);
	return 0;
}

// SPDX-License-Identifier: MIT
/*
 * Breadth-first search on a real graph: the packages that this machine knows, and what they
 * depend on. The graph is ordinary malloc() memory: arrays of edges, one a package.
 * bfs: the installed packages and apt's lists, where there are any; bfs FILE...: these only.
 */
#include "common/example.h"

#include <glob.h>
#include <search.h>
#include <string.h>
#include <unistd.h>

#define INSTALLED "/var/lib/dpkg/status"
#define LISTS "/var/lib/apt/lists/*_Packages*"
#define UNPACK "/usr/lib/apt/apt-helper cat-file" /* lists may be compressed */

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

/* Its index, or -1 for one that was there before: the first version of a package counts. */
static int add_package(const char *name)
{
	char *copy;

	if (by_name(name) >= 0)
		return -1;
	copy = example_need(strdup(name));
	package = example_need(realloc(package, (size_t)(count + 1) * sizeof(*package)));
	package[count] = (struct package){ .name = copy };
	example_need(hsearch((ENTRY){ copy, (void *)(intptr_t)count }, ENTER));
	return count++;
}

/* Pre-Depends and Depends of a package, joined. */
static void add_depends(struct package *p, const char *text)
{
	char *old = p->depends;

	if (asprintf(&p->depends, "%s,%s", old ? old : "", text) < 0)
		example_need(NULL);
	free(old);
}

static void read_packages(FILE *f)
{
	char *line = NULL;
	size_t room = 0;
	int at = -1;

	while (getline(&line, &room, f) > 0) {
		line[strcspn(line, "\n")] = 0;
		if (!strncmp(line, "Package: ", 9))
			at = add_package(line + 9);
		else if (at >= 0 && !strncmp(line, "Depends: ", 9))
			add_depends(&package[at], line + 9);
		else if (at >= 0 && !strncmp(line, "Pre-Depends: ", 13))
			add_depends(&package[at], line + 13);
	}
	free(line);
}

static void read_file(const char *path)
{
	FILE *f = fopen(path, "re");

	if (!f) {
		perror(path);
		exit(1);
	}
	read_packages(f);
	fclose(f);
}

static void read_lists(void)
{
	glob_t lists;

	if (glob(LISTS, 0, NULL, &lists))
		return;
	for (size_t i = 0; i < lists.gl_pathc; i++) {
		char command[4096];
		FILE *f;

		snprintf(command, sizeof(command), UNPACK " '%s' 2>/dev/null", lists.gl_pathv[i]);
		f = example_need(popen(command, "re"));
		read_packages(f);
		pclose(f);
	}
	globfree(&lists);
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
		p->edge = example_need(realloc(p->edge, (size_t)(p->edges + 1) * sizeof(int)));
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
	int *more = example_need(malloc(sizeof(*more))), at = 0;

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
	int *queue = example_need(malloc((size_t)count * sizeof(int))), first = 0, last = 0;

	queue[last++] = start;
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

/* The package that depends on most others directly. */
static int most_edges(void)
{
	int best = 0;

	for (int i = 1; i < count; i++)
		best = package[i].edges > package[best].edges ? i : best;
	return best;
}

static int *distances(int start)
{
	int *d = memset(example_need(malloc((size_t)count * sizeof(int))), -1,
			(size_t)count * sizeof(int));

	d[start] = 0;
	return d;
}

static void print_levels(const int *distance, int levels)
{
	int far = 0, reached = 0;

	printf("  packages a level:");
	for (int level = 0, n = 0; level < levels; level++, reached += n, n = 0) {
		for (int i = 0; i < count; i++)
			n += distance[i] == level;
		printf(" %d", n);
	}
	for (int i = 0; i < count; i++)
		far = distance[i] > distance[far] ? i : far;
	printf("\n  %d packages in all, the farthest is %s, %d steps away\n", reached,
	       package[far].name, distance[far]);
}

int main(int argc, char **argv)
{
	int *distance, *expected, start, levels, wrong;
	struct example e;
	double t;

	example_need(hcreate(400000) ? &count : NULL);
	for (int i = 1; i < argc; i++)
		read_file(argv[i]);
	if (argc < 2 && !access(INSTALLED, R_OK))
		read_file(INSTALLED);
	if (argc < 2)
		read_lists();
	if (!count) {
		fprintf(stderr, "No packages found: no graph.\n");
		return 77;
	}
	for (int i = 0; i < count; i++)
		make_edges(&package[i]);
	start = most_edges();
	distance = distances(start);
	expected = distances(start);
	example_open(&e, source);
	printf("What does %s need? Searching %d packages.\n", package[start].name, count);
	t = example_seconds();
	levels = search_on_device(&e, distance);
	printf("  %d levels in %.1f ms on the device\n", levels, (example_seconds() - t) * 1e3);
	example_map(&e, "distances", distance, (size_t)count * sizeof(int));
	t = example_seconds();
	search_on_cpu(start, expected);
	wrong = memcmp(distance, expected, (size_t)count * sizeof(int)) != 0;
	printf("  the CPU %s in %.1f ms, pages coming home\n",
	       wrong ? "DISAGREES" : "finds the same", (example_seconds() - t) * 1e3);
	print_levels(distance, levels);
	example_close(&e);
	free(distance);
	free(expected);
	return wrong;
}

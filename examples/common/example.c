// SPDX-License-Identifier: MIT
#include "common/example.h"
#include "tools/picture.h"

#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CELLS 64

/* HMM_EXAMPLE_PLATFORM names another one that shares pointers, to compare with. */
static cl_platform_id find_platform(void)
{
	const char *wanted = getenv("HMM_EXAMPLE_PLATFORM");
	cl_platform_id p[16];
	cl_uint n = 0;
	char name[64];

	if (!wanted)
		wanted = "HMM";
	if (clGetPlatformIDs(16, p, &n))
		n = 0;
	for (cl_uint i = 0; i < n && i < 16; i++)
		if (!clGetPlatformInfo(p[i], CL_PLATFORM_NAME, sizeof(name), name, NULL) &&
		    !strcmp(name, wanted))
			return p[i];
	return NULL;
}

void example_open(struct example *e, const char *source)
{
	cl_platform_id platform = find_platform();
	char log[4096] = "";
	cl_int err;

	if (!platform) {
		fprintf(stderr, "No OpenCL platform HMM: run me by `hmmctl run`, or set "
				"OCL_ICD_VENDORS to libhmm_opencl.so.\n");
		exit(77);
	}
	/* The same devices that OpenCL uses: device state is one per process. */
	CHECK(hmm_open(&e->hmm, NULL));
	CHECK(clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &e->device, NULL));
	e->context = clCreateContext(NULL, 1, &e->device, NULL, NULL, &err);
	CHECK(err);
	e->queue = clCreateCommandQueueWithProperties(e->context, e->device, NULL, &err);
	CHECK(err);
	e->program = clCreateProgramWithSource(e->context, 1, &source, NULL, &err);
	CHECK(err);
	if (clBuildProgram(e->program, 1, &e->device, "", NULL, NULL)) {
		clGetProgramBuildInfo(e->program, e->device, CL_PROGRAM_BUILD_LOG, sizeof(log), log,
				      NULL);
		fprintf(stderr, "%s\n", log);
		exit(1);
	}
}

cl_kernel example_kernel(struct example *e, const char *name)
{
	cl_int err;
	cl_kernel k = clCreateKernel(e->program, name, &err);

	CHECK(err);
	return k;
}

void example_close(struct example *e)
{
	struct hmm_stats s = { .sz = sizeof(s) };

	CHECK(hmm_stats(e->hmm, -1, &s));
	printf("  %lu pages to the device, %lu home, %lu evicted; %lu device faults, %lu CPU faults\n",
	       (unsigned long)s.pages_to_device, (unsigned long)s.pages_to_system,
	       (unsigned long)s.pages_evicted, (unsigned long)s.device_faults,
	       (unsigned long)s.cpu_faults);
	clReleaseProgram(e->program);
	clReleaseCommandQueue(e->queue);
	clReleaseContext(e->context);
	hmm_close(e->hmm);
}

void *example_need(void *p)
{
	if (!p) {
		fprintf(stderr, "not enough memory\n");
		exit(1);
	}
	return p;
}

double example_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

long example_resident(struct example *e, const void *p, size_t bytes)
{
	struct hmm_page_status *s = example_need(calloc(bytes / 4096 + 2, sizeof(*s)));
	long n = hmm_query(e->hmm, p, bytes, s), on = 0;

	for (long i = 0; i < n; i++)
		on += s[i].location >= 0;
	free(s);
	return on;
}

int example_file(const char *name, char *path, size_t n)
{
	const char *folder = getenv("TMPDIR");
	int fd;

	snprintf(path, n, "%s/%s-XXXXXX", folder ? folder : "/tmp", name);
	fd = mkstemp(path);
	if (fd < 0) {
		perror(path);
		exit(1);
	}
	return fd;
}

/* Not by fork(): that brings every page home. */
int example_again(char *const args[])
{
	char *none[] = { NULL };
	int status;
	pid_t pid;

	fflush(stdout);
	if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, args, none) ||
	    waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

void example_map(struct example *e, const char *title, const void *p, size_t bytes)
{
	size_t pages = bytes / 4096 + 2;
	struct hmm_page_status *s = calloc(pages, sizeof(*s));
	char line[CELLS + 1];
	unsigned char *place = calloc(pages, 1);
	int n = -1, on = 0;

	if (s && place)
		n = hmm_query(e->hmm, p, bytes, s);
	for (int i = 0; i < n; i++) {
		place[i] = (unsigned char)picture_place(s[i].location);
		on += s[i].location >= 0;
	}
	/* A heap may have holes between its parts: no map then. */
	if (n > 0) {
		picture_line(line, CELLS, place, (size_t)n);
		printf("  %-26s [%s] %d of %d pages on the device\n", title, line, on, n);
	}
	free(place);
	free(s);
}

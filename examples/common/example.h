/* SPDX-License-Identifier: MIT */
/* What the examples share: find the HMM platform, check errors, show where pages are. */
#ifndef HMM_EXAMPLES_EXAMPLE_H
#define HMM_EXAMPLES_EXAMPLE_H

#define CL_TARGET_OPENCL_VERSION 300
#include <CL/cl.h>
#include <hmm/hmm.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(call)                                                                             \
	do {                                                                                    \
		long check_ = (call);                                                           \
		if (check_ < 0) {                                                               \
			fprintf(stderr, "%s:%d: %s: %ld\n", __FILE__, __LINE__, #call, check_); \
			exit(1);                                                                \
		}                                                                               \
	} while (0)

struct example {
	struct hmm *hmm;
	cl_device_id device;
	cl_context context;
	cl_command_queue queue;
	cl_program program;
};

/* Opens everything and builds @source; ends the program with 77 where there is no HMM. */
void example_open(struct example *e, const char *source);
void example_close(struct example *e); /* prints what was migrated */
cl_kernel example_kernel(struct example *e, const char *name);

/* One line of cells: '#' on the device, '.' in system memory, ' ' untouched. */
void example_map(struct example *e, const char *title, const void *p, size_t bytes);

long example_resident(struct example *e, const void *p, size_t bytes); /* pages on a device */

/*
 * A file of @name in the folder of temporary files, to be unlinked; its path goes to @path. The
 * program ends where there can be none.
 */
int example_file(const char *name, char *path, size_t n);
/* This program once more, with @args (argv[0] comes by itself); its exit status. */
int example_again(char *const args[]);

double example_seconds(void);
void *example_need(void *p); /* @p, or the end of the program when it is NULL */

/* residency.c: samples a range in the background; writes a PNG of pages over time. */
struct residency;
struct residency *residency_start(struct hmm *h, const void *p, size_t bytes);
/* @png NULL: no picture. Returns 0, or -1 when it could not be written. */
int residency_stop(struct residency *r, const char *png);

#endif /* HMM_EXAMPLES_EXAMPLE_H */

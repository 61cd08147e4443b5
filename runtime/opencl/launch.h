/* SPDX-License-Identifier: MIT */
/* A kernel launch: launch.c makes it, submission.c sends it. */
#ifndef HMM_OPENCL_LAUNCH_H
#define HMM_OPENCL_LAUNCH_H

#include "opencl/ocl.h"

struct ocl_launch {
	struct ocl_command c;
	cl_kernel kernel;   /* held */
	unsigned int index; /* of the device in the context */
	cl_mem *mems;       /* held: the arguments'; n_args long */
	size_t bytes;
	struct cl_wire_launch *message;
	struct hmm_device_fault fault; /* filled with a lock held: not on a stack that migrates */
};

/* submission.c: as ocl_command.run and .run_all. */
cl_int ocl_launch_run(struct ocl_command *c);
void ocl_launch_run_all(struct ocl_command *first);

#endif /* HMM_OPENCL_LAUNCH_H */

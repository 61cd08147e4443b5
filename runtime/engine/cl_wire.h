/* SPDX-License-Identifier: MIT */
/*
 * Between libhmm_opencl and its engine: requests and replies on a stream socket. Only
 * descriptions travel; data stays where the pointers say. Both ends are one machine.
 */
#ifndef HMM_ENGINE_CL_WIRE_H
#define HMM_ENGINE_CL_WIRE_H

#include <stdint.h>

#define CL_WIRE_MAGIC 0x434d4d48u
#define CL_WIRE_MAX (64u << 20) /* payload of one message */
#define CL_WIRE_MAX_ARGS 1024u
#define CL_WIRE_MAX_VALUE 65536u /* bytes of one by-value argument */
#define CL_WIRE_MAX_NAME 4096u

enum cl_wire_op {
	CL_WIRE_NONE = 0,
	CL_WIRE_DEVICE_INFO, /* cl_wire_info; reply: the value */
	CL_WIRE_BUILD,       /* cl_wire_build, its strings; reply: cl_wire_built, log, names */
	CL_WIRE_RELEASE,     /* cl_wire_info, .param is the program; reply: nothing */
	CL_WIRE_KERNEL,      /* cl_wire_kernel, name; reply: cl_wire_kernel_info, arguments */
	CL_WIRE_LAUNCH,      /* cl_wire_launch, arguments, once or more; reply: cl_wire_launched */
};

struct cl_wire_head {
	uint32_t magic;
	uint32_t op;     /* request; in a reply, the request's */
	int32_t status;  /* reply: CL_SUCCESS or a CL error */
	uint32_t length; /* of the payload that follows */
};

struct cl_wire_info {
	uint32_t param;
	uint32_t pad;
};

struct cl_wire_build {
	uint32_t options_length; /* the strings follow in this order; none is terminated */
	uint32_t source_length;
	uint32_t folder_length; /* what relative paths in the options start from; 0: any */
	uint32_t pad;
};

struct cl_wire_built {
	uint32_t program; /* 0 when the build failed */
	uint32_t log_length;
	uint32_t names_length; /* kernel names, joined by ';' */
	uint32_t pad;
	uint64_t variables; /* CL_PROGRAM_BUILD_GLOBAL_VARIABLE_TOTAL_SIZE */
};

struct cl_wire_kernel {
	uint32_t program;
	uint32_t name_length;
};

#define CL_WIRE_ATTRIBUTES 1024u

struct cl_wire_kernel_info {
	uint32_t kernel;
	uint32_t n_args;
	uint64_t work_group_size;
	uint64_t compile_size[3];
	uint64_t local_bytes;
	uint64_t private_bytes;
	uint64_t multiple;
	char attributes[CL_WIRE_ATTRIBUTES];
};

#define CL_WIRE_ARG_NAME 256u

struct cl_wire_arg_info {
	uint32_t address;   /* CL_KERNEL_ARG_ADDRESS_* */
	uint32_t access;    /* CL_KERNEL_ARG_ACCESS_* */
	uint64_t qualifier; /* CL_KERNEL_ARG_TYPE_* */
	uint32_t size;      /* of a by-value argument; 0: not known */
	uint32_t pad;
	char type[CL_WIRE_ARG_NAME];
	char name[CL_WIRE_ARG_NAME];
};

enum cl_wire_arg_kind {
	CL_WIRE_ARG_NONE = 0,
	CL_WIRE_ARG_POINTER, /* value */
	CL_WIRE_ARG_LOCAL,   /* size */
	CL_WIRE_ARG_VALUE,   /* size bytes follow, padded to 8 */
};

struct cl_wire_arg {
	uint32_t kind;
	uint32_t size;
	uint64_t value;
};

#define CL_WIRE_HAS_LOCAL 1u

/* Those of one message run in order, one after the other; the reply's status is the last one's. */
struct cl_wire_launch {
	uint32_t kernel;
	uint32_t dims;
	uint32_t flags;
	uint32_t n_args;
	uint64_t offset[3];
	uint64_t global[3];
	uint64_t local[3];
};

struct cl_wire_launched {
	uint64_t start, end; /* of all of them; CLOCK_MONOTONIC, ns */
	int32_t before;      /* the first error of those before the last */
	uint32_t pad;
};

/* cl_check.c: is a payload well formed? 0 or -EINVAL. Pure; the tests feed it noise. */
int cl_wire_check(uint32_t op, const void *payload, uint32_t length);

#endif /* HMM_ENGINE_CL_WIRE_H */

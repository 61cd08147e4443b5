// SPDX-License-Identifier: MIT
/* Programs and kernels of the client, by id. The client releases programs only. */
#include "engine/cl_engine.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct program {
	struct program *next;
	cl_program program;
	uint32_t id;
	struct cl_engine_kernel *kernels;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct program *programs;
static uint32_t last_id;

/* The front end must tell a pointer from a value in clSetKernelArg(). */
static const char info_option[] = " -cl-kernel-arg-info";
static const char scope_option[] = " -Dmemory_scope_all_svm_devices=memory_scope_device";

/* OpenCL C 2.x has the scope in its header; elsewhere a feature brings it. */
static char *full_options(const struct cl_engine *e, const char *options, size_t length)
{
	char *s = malloc(length + sizeof(info_option) + sizeof(scope_option));

	if (!s)
		return NULL;
	memcpy(s, options, length);
	s[length] = 0;
	if (e->needs_scope && !strstr(s, "-cl-std=CL2"))
		strcat(s, scope_option);
	strcat(s, info_option);
	return s;
}

/*
 * Includes are named from where the client stands, or stood at the first build. A connection's
 * thread stands where it likes: no other builds there meanwhile.
 */
static void enter_folder(const char *name, size_t length)
{
	char folder[CL_WIRE_MAX_NAME + 1];

	memcpy(folder, name, length);
	folder[length] = 0;
	if (!length || unshare(CLONE_FS) || chdir(folder))
		return; /* then what is relative is not found */
}

static void add_log(cl_program p, cl_device_id d, struct cl_reply *r)
{
	size_t bytes = 0;
	char *to;

	if (clGetProgramBuildInfo(p, d, CL_PROGRAM_BUILD_LOG, 0, NULL, &bytes) || !bytes)
		return;
	to = cl_reply_add(r, bytes);
	if (to && clGetProgramBuildInfo(p, d, CL_PROGRAM_BUILD_LOG, bytes, to, NULL))
		to[0] = 0;
	if (to)
		((struct cl_wire_built *)(void *)r->data)->log_length = (uint32_t)strnlen(to,
											  bytes);
	r->length = sizeof(struct cl_wire_built) +
		    (to ? ((struct cl_wire_built *)(void *)r->data)->log_length : 0);
}

static void add_names(cl_program p, struct cl_reply *r)
{
	size_t bytes = 0;
	char *to;

	if (clGetProgramInfo(p, CL_PROGRAM_KERNEL_NAMES, 0, NULL, &bytes) || bytes < 2)
		return;
	to = cl_reply_add(r, bytes);
	if (!to || clGetProgramInfo(p, CL_PROGRAM_KERNEL_NAMES, bytes, to, NULL))
		return;
	r->length--; /* the terminator stays here */
	((struct cl_wire_built *)(void *)r->data)->names_length = (uint32_t)(bytes - 1);
}

static uint32_t remember(cl_program p)
{
	struct program *n = calloc(1, sizeof(*n));

	if (!n)
		return 0;
	n->program = p;
	pthread_mutex_lock(&lock);
	n->id = ++last_id;
	n->next = programs;
	programs = n;
	pthread_mutex_unlock(&lock);
	return n->id;
}

void cl_do_build(const struct cl_wire_build *q, struct cl_reply *r)
{
	const struct cl_engine *e = cl_engine_get(&r->status);
	const char *text = (const char *)(q + 1) + q->options_length;
	size_t length = q->source_length;
	char *options;
	cl_program p;
	uint32_t id = 0;

	if (!e || !cl_reply_add(r, sizeof(struct cl_wire_built)))
		return;
	p = clCreateProgramWithSource(e->context, 1, &text, &length, &r->status);
	if (!p)
		return;
	options = full_options(e, (const char *)(q + 1), q->options_length);
	enter_folder(text + length, q->folder_length);
	r->status = options ? clBuildProgram(p, 1, &e->device, options, NULL, NULL) :
			      CL_OUT_OF_HOST_MEMORY;
	free(options);
	add_log(p, e->device, r);
	if (!r->status) {
		add_names(p, r);
		id = remember(p);
		if (!id)
			r->status = CL_OUT_OF_HOST_MEMORY;
	}
	if (!id)
		clReleaseProgram(p);
	((struct cl_wire_built *)(void *)r->data)->program = id;
}

static void free_kernel(struct cl_engine_kernel *k)
{
	clReleaseKernel(k->kernel);
	pthread_mutex_destroy(&k->lock);
	free(k->kinds);
	free(k);
}

void cl_do_release(const struct cl_wire_info *q)
{
	struct program **link, *p = NULL;

	pthread_mutex_lock(&lock);
	for (link = &programs; *link && !p; link = *link ? &(*link)->next : link) {
		if ((*link)->id == q->param) {
			p = *link;
			*link = p->next;
			break;
		}
	}
	while (p && p->kernels) {
		struct cl_engine_kernel *k = p->kernels;

		p->kernels = k->next;
		k->dead = true;
		if (!k->users)
			free_kernel(k);
	}
	pthread_mutex_unlock(&lock);
	if (p) {
		clReleaseProgram(p->program);
		free(p);
	}
}

struct cl_engine_kernel *cl_kernel_get(uint32_t id)
{
	struct cl_engine_kernel *k = NULL;

	pthread_mutex_lock(&lock);
	for (struct program *p = programs; p && !k; p = p->next)
		for (k = p->kernels; k && k->id != id;)
			k = k->next;
	if (k)
		k->users++;
	pthread_mutex_unlock(&lock);
	return k;
}

void cl_kernel_put(struct cl_engine_kernel *k)
{
	pthread_mutex_lock(&lock);
	if (!--k->users && k->dead)
		free_kernel(k);
	pthread_mutex_unlock(&lock);
}

static uint8_t kind_of(cl_kernel k, cl_uint i)
{
	cl_kernel_arg_address_qualifier address;

	if (clGetKernelArgInfo(k, i, CL_KERNEL_ARG_ADDRESS_QUALIFIER, sizeof(address), &address,
			       NULL))
		return CL_WIRE_ARG_NONE;
	switch (address) {
	case CL_KERNEL_ARG_ADDRESS_GLOBAL:
	case CL_KERNEL_ARG_ADDRESS_CONSTANT:
		return CL_WIRE_ARG_POINTER;
	case CL_KERNEL_ARG_ADDRESS_LOCAL:
		return CL_WIRE_ARG_LOCAL;
	default:
		return CL_WIRE_ARG_VALUE;
	}
}

static bool find_kinds(struct cl_engine_kernel *k)
{
	k->kinds = calloc(k->n_args + 1, 1);
	for (cl_uint i = 0; k->kinds && i < k->n_args; i++)
		k->kinds[i] = kind_of(k->kernel, i);
	return k->kinds;
}

/* Locking: lock. */
static struct cl_engine_kernel *make_kernel(struct program *p, const char *name, cl_int *status)
{
	struct cl_engine_kernel *k = calloc(1, sizeof(*k) + strlen(name) + 1);

	if (!k) {
		*status = CL_OUT_OF_HOST_MEMORY;
		return NULL;
	}
	k->kernel = clCreateKernel(p->program, name, status);
	if (!k->kernel) {
		free(k);
		return NULL;
	}
	strcpy(k->name, name);
	pthread_mutex_init(&k->lock, NULL);
	clGetKernelInfo(k->kernel, CL_KERNEL_NUM_ARGS, sizeof(k->n_args), &k->n_args, NULL);
	if (!find_kinds(k)) {
		*status = CL_OUT_OF_HOST_MEMORY;
		free_kernel(k);
		return NULL;
	}
	k->id = ++last_id;
	k->next = p->kernels;
	p->kernels = k;
	return k;
}

/* Launches carry all arguments, so one kernel serves everybody who asks for it. */
void cl_do_kernel(const struct cl_wire_kernel *q, struct cl_reply *r)
{
	struct cl_engine_kernel *k = NULL;
	char name[CL_WIRE_MAX_NAME + 1];
	struct program *p;

	memcpy(name, q + 1, q->name_length);
	name[q->name_length] = 0;
	pthread_mutex_lock(&lock);
	for (p = programs; p && p->id != q->program;)
		p = p->next;
	if (!p)
		r->status = CL_INVALID_PROGRAM;
	for (k = p ? p->kernels : NULL; k && strcmp(k->name, name);)
		k = k->next;
	if (p && !k)
		k = make_kernel(p, name, &r->status);
	if (k)
		k->users++;
	pthread_mutex_unlock(&lock);
	if (k) {
		cl_describe_kernel(k, r);
		cl_kernel_put(k);
	}
}

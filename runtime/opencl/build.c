// SPDX-License-Identifier: MIT
/*
 * Builds: done by the engine, and done again by the next one when that was reset. The
 * source and the options are here.
 */
#include "opencl/api.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static bool set_text(char **at, const char *text, size_t length)
{
	ocl_free(*at);
	*at = ocl_strndup(text, length);
	return *at;
}

/* Locking: program->lock. */
static void take_result(cl_program p, struct ocl_build *b, const char *reply, size_t bytes)
{
	struct cl_wire_built built;

	if (bytes < sizeof(built))
		return;
	memcpy(&built, reply, sizeof(built));
	if ((uint64_t)built.log_length + built.names_length > bytes - sizeof(built))
		return;
	set_text(&b->log, reply + sizeof(built), built.log_length);
	b->id = built.program;
	b->variables = built.variables;
	if (b->id)
		set_text(&p->names, reply + sizeof(built) + built.log_length, built.names_length);
}

static char *put(char *to, const void *from, size_t bytes)
{
	memcpy(to, from, bytes);
	return to + bytes;
}

/* Locking: program->lock, device->build_lock. */
static int send_build(cl_program p, cl_device_id d, struct ocl_build *b, cl_int *status)
{
	struct ocl_recipe r = ocl_program_recipe(p, (unsigned int)(b - p->build));
	struct cl_wire_build q = { (uint32_t)r.options_length, (uint32_t)r.source_length,
				   (uint32_t)r.folder_length, 0 };
	size_t bytes = sizeof(q) + r.options_length + r.source_length + r.folder_length, got;
	const void *reply;
	char *to;
	int err = ocl_conn_open(&d->build_conn, d->index);

	if (err)
		return err;
	to = ocl_conn_payload(&d->build_conn, bytes);
	if (!to)
		return -ENOMEM;
	to = put(to, &q, sizeof(q));
	to = put(to, r.options, r.options_length);
	to = put(to, r.source, r.source_length);
	put(to, r.folder, r.folder_length);
	err = ocl_conn_call(&d->build_conn, CL_WIRE_BUILD, bytes, status, &reply, &got);
	if (!err) {
		take_result(p, b, reply, got);
		b->generation = d->build_conn.generation;
	}
	ocl_conn_trim(&d->build_conn);
	return err;
}

/*
 * It would end the next engine, too, and all that others run there. Only a kernel's fault has an
 * address: then this build is tried again. Locking: program->lock, device->build_lock.
 */
static bool ended_by_compiler(cl_device_id d, struct ocl_build *b)
{
	static const char log[] = "the compiler ended, and its engine with it";
	struct ocl_state *s = ocl_state();
	int err = hmm_engine_launch_end(s->hmm, d->index, d->build_conn.generation, &d->fault);

	if (err == 1 && d->fault.address)
		return false;
	set_text(&b->log, log, sizeof(log) - 1);
	return true;
}

/* Locking: program->lock. */
static cl_int build(cl_program p, unsigned int i)
{
	cl_device_id d = p->context->devices[i];
	struct ocl_build *b = &p->build[i];
	cl_int status = CL_SUCCESS;
	bool ended = false;
	int err = -EPIPE;

	b->id = 0;
	pthread_mutex_lock(&d->build_lock);
	for (int n = 0; n < 2 && ocl_conn_again(err) && !ended; n++) {
		err = send_build(p, d, b, &status);
		ended = err == -EPIPE && ended_by_compiler(d, b);
	}
	pthread_mutex_unlock(&d->build_lock);
	if (err)
		return ended ? CL_BUILD_PROGRAM_FAILURE : ocl_error(err);
	if (!status && !b->id)
		return CL_OUT_OF_RESOURCES;
	return status;
}

/* Not on the caller's stack: where only user-mode faults are served, no call can write there. */
static char *current_folder(void)
{
	char *folder = ocl_alloc(CL_WIRE_MAX_NAME);

	if (folder && !getcwd(folder, CL_WIRE_MAX_NAME))
		folder[0] = 0;
	return folder;
}

struct old_build {
	uint32_t id;
	unsigned int generation;
};

/* Locking: program->lock. */
static struct old_build take_id(struct ocl_build *b)
{
	struct old_build old = { b->id, b->generation };

	b->id = 0;
	return old;
}

/* Nobody waits for the engine to have forgotten it, too: errors do not matter. */
static void release_id(cl_device_id d, struct old_build old)
{
	struct cl_wire_info *q;
	const void *reply;
	cl_int status;
	size_t got;

	if (!old.id)
		return;
	pthread_mutex_lock(&d->lock);
	if (d->conn.fd >= 0 && d->conn.generation == old.generation) {
		q = ocl_conn_payload(&d->conn, sizeof(*q));
		if (q) {
			*q = (struct cl_wire_info){ .param = old.id };
			ocl_conn_call(&d->conn, CL_WIRE_RELEASE, sizeof(*q), &status, &reply, &got);
		}
	}
	pthread_mutex_unlock(&d->lock);
}

void ocl_program_forget(cl_program p, unsigned int i)
{
	struct old_build old;

	pthread_mutex_lock(&p->lock);
	old = take_id(&p->build[i]);
	pthread_mutex_unlock(&p->lock);
	release_id(p->context->devices[i], old);
}

cl_int ocl_program_build(cl_program p, unsigned int i, const char *options)
{
	struct ocl_build *b = &p->build[i];
	struct old_build old;
	cl_int err = CL_OUT_OF_HOST_MEMORY;

	pthread_mutex_lock(&p->lock);
	old = take_id(b);
	ocl_free(b->folder);
	b->folder = current_folder();
	b->status = CL_BUILD_IN_PROGRESS;
	set_text(&b->log, "", 0);
	if (set_text(&b->options, options ? options : "", options ? strlen(options) : 0))
		err = build(p, i);
	b->status = err ? CL_BUILD_ERROR : CL_BUILD_SUCCESS;
	pthread_mutex_unlock(&p->lock);
	release_id(p->context->devices[i], old);
	return err;
}

/* Locking: program->lock. */
static cl_int still_there(cl_program p, unsigned int i)
{
	cl_device_id d = p->context->devices[i];
	int err;

	pthread_mutex_lock(&d->lock);
	err = ocl_conn_open(&d->conn, d->index);
	if (!err && p->build[i].id && p->build[i].generation != d->conn.generation)
		p->build[i].id = 0;
	pthread_mutex_unlock(&d->lock);
	return ocl_error(err);
}

cl_int ocl_program_id(cl_program p, unsigned int i, uint32_t *id, unsigned int *generation)
{
	cl_int err;

	pthread_mutex_lock(&p->lock);
	if (p->build[i].status != CL_BUILD_SUCCESS) {
		pthread_mutex_unlock(&p->lock);
		return CL_INVALID_PROGRAM_EXECUTABLE;
	}
	err = still_there(p, i);
	if (!err && !p->build[i].id)
		err = build(p, i);
	*id = p->build[i].id;
	*generation = p->build[i].generation;
	pthread_mutex_unlock(&p->lock);
	return err;
}

static cl_int check_devices(cl_program p, cl_uint n, const cl_device_id *devices)
{
	if (!n != !devices)
		return CL_INVALID_VALUE;
	for (cl_uint i = 0; i < n; i++)
		if (!ocl_valid(devices[i], OCL_DEVICE) ||
		    !ocl_context_has(p->context, devices[i]) ||
		    !p->build[ocl_context_index(p->context, devices[i])].wanted)
			return CL_INVALID_DEVICE;
	return atomic_load(&p->kernels) ? CL_INVALID_OPERATION : CL_SUCCESS;
}

static bool wanted(cl_device_id d, cl_uint n, const cl_device_id *devices)
{
	bool found = !n;

	for (cl_uint i = 0; i < n; i++)
		found |= devices[i] == d;
	return found;
}

cl_int CL_API_CALL ocl_BuildProgram(cl_program p, cl_uint n, const cl_device_id *devices,
				    const char *options,
				    void(CL_CALLBACK *notify)(cl_program, void *), void *data)
{
	cl_int err, first = CL_SUCCESS;

	if (!ocl_valid(p, OCL_PROGRAM))
		return CL_INVALID_PROGRAM;
	if (!notify && data)
		return CL_INVALID_VALUE;
	err = check_devices(p, n, devices);
	if (err)
		return err;
	for (unsigned int i = 0; i < p->context->n_devices; i++) {
		if (!p->build[i].wanted || !wanted(p->context->devices[i], n, devices))
			continue;
		err = ocl_program_build(p, i, options);
		if (err && !first)
			first = err;
	}
	if (notify)
		notify(p, data);
	return first;
}

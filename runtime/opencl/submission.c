// SPDX-License-Identifier: MIT
/*
 * Launches to the engine: one request that carries everything, one reply when it is over. Those
 * that nobody has an event of go together: who waits for the last of them, or for what comes
 * after them, cannot tell when the others ended.
 */
#include "opencl/launch.h"

#include <errno.h>
#include <string.h>

#define SUBMISSION_BYTES (64u << 10) /* more go in several, so that the engine runs meanwhile */

/* A part of a list of launches, for one request. */
struct submission {
	struct ocl_launch *first;
	unsigned int n;
	size_t bytes;
	bool sent;
};

static struct ocl_launch *next_launch(const struct ocl_launch *l)
{
	return (struct ocl_launch *)l->c.next;
}

static void report(cl_command_queue q, const struct hmm_device_fault *f)
{
	static const char *const access[] = { "load", "store", "unknown access" };

	hmm_engine_log(0,
		       "device %d: device fault: address 0x%lx, %s: %s; %lu device faults "
		       "served, %lu pages; the launch ended",
		       q->device->index, (unsigned long)f->address,
		       access[f->write < 2 ? f->write : 2], f->reason,
		       (unsigned long)f->device_faults, (unsigned long)f->pages);
}

/* The kernels' ids, in the engine of *generation: -EAGAIN, they are of several. */
static int find_kernels(const struct submission *s, unsigned int *generation, cl_int *status)
{
	struct ocl_launch *l = s->first, *before = NULL;
	unsigned int other;

	for (unsigned int i = 0; i < s->n; i++, before = l, l = next_launch(l)) {
		if (before && before->kernel == l->kernel) {
			l->message->kernel = before->message->kernel;
			continue;
		}
		*status = ocl_kernel_id(l->kernel, l->index, &l->message->kernel,
					before ? &other : generation);
		if (*status)
			return 0;
		if (before && other != *generation)
			return -EAGAIN;
	}
	return 0;
}

static int fill_request(const struct submission *s, struct ocl_conn *c)
{
	char *to = ocl_conn_payload(c, s->bytes);
	const struct ocl_launch *l = s->first;

	for (unsigned int i = 0; to && i < s->n; i++, l = next_launch(l)) {
		memcpy(to, l->message, l->bytes);
		to += l->bytes;
	}
	return to ? 0 : -ENOMEM;
}

/* Nothing has told the device's connection that its engine ended, if only launches are made. */
static void forget_engine(cl_device_id d, unsigned int generation)
{
	pthread_mutex_lock(&d->lock);
	if (d->conn.generation == generation)
		ocl_conn_close(&d->conn);
	pthread_mutex_unlock(&d->lock);
}

/* A request for the engine that the kernels' ids belong to. */
static int prepare(const struct submission *s, cl_int *status)
{
	cl_command_queue q = s->first->c.queue;
	unsigned int generation;
	int err;

	for (int i = 0; i < 3; i++) {
		err = find_kernels(s, &generation, status);
		if (err == -EAGAIN)
			continue;
		if (err || *status)
			return err;
		err = ocl_conn_open(&q->conn, q->device->index);
		if (err)
			return err;
		if (q->conn.generation == generation)
			return fill_request(s, &q->conn);
		forget_engine(q->device, generation);
		ocl_conn_close(&q->conn);
	}
	return -EAGAIN;
}

/* Another queue's launch may have ended the engine before these were sent. */
static cl_int call(const struct submission *s, bool *lost)
{
	cl_command_queue q = s->first->c.queue;
	cl_event e = s->first->c.event;
	struct cl_wire_launched done;
	const void *reply;
	cl_int status;
	size_t got;
	int err = ocl_conn_call(&q->conn, CL_WIRE_LAUNCH, s->bytes, &status, &reply, &got);

	*lost = err;
	if (err)
		return CL_OUT_OF_RESOURCES;
	if (got != sizeof(done))
		return status;
	memcpy(&done, reply, sizeof(done));
	if (!status && s->n == 1) {
		e->times[2] = done.start;
		e->times[3] = done.end;
	}
	return status ? status : done.before;
}

/* The status of the launch; of several, an error of one of them. */
static cl_int submit(struct submission *s)
{
	struct hmm_device_fault *fault = &s->first->fault;
	cl_command_queue q = s->first->c.queue;
	struct ocl_state *state = ocl_state();
	cl_int status = CL_SUCCESS;
	bool lost;
	int err = prepare(s, &status);

	if (err || status)
		return err ? ocl_error(err) : status;
	err = hmm_engine_launch_begin(state->hmm, q->device->index, s->n);
	if (err && err != -ENODEV)
		return ocl_error(err);
	s->sent = true;
	status = call(s, &lost);
	err = hmm_engine_launch_end(state->hmm, q->device->index, q->conn.generation, fault);
	if (err == 1)
		report(q, fault);
	if (lost)
		ocl_conn_close(&q->conn);
	if (err == -ENODEV)
		return CL_DEVICE_NOT_AVAILABLE;
	return err == 1 ? CL_OUT_OF_RESOURCES : status;
}

/* Of several that went together the first stands for all: nobody has an event of them. */
static void note_error(struct ocl_launch *l, cl_int status)
{
	struct ocl_state *s = ocl_state();
	cl_command_queue q = l->c.queue;

	if (!status)
		return;
	pthread_mutex_lock(&s->lock);
	q->error = status == CL_DEVICE_NOT_AVAILABLE ? status : CL_OUT_OF_RESOURCES;
	q->failed++;
	l->c.event->failed_at = q->told + 1;
	pthread_mutex_unlock(&s->lock);
}

cl_int ocl_launch_run(struct ocl_command *c)
{
	struct ocl_launch *l = (struct ocl_launch *)c;
	cl_int status = submit(&(struct submission){ l, 1, l->bytes, false });

	note_error(l, status);
	return status;
}

/* What kept one from being sent is not the others' fault. */
static void run_together(struct submission *s)
{
	struct ocl_launch *l = s->first;
	cl_int status = submit(s);

	if (s->sent || s->n == 1)
		note_error(l, status);
	else
		for (unsigned int i = 0; i < s->n; i++, l = next_launch(l))
			ocl_launch_run(&l->c);
}

void ocl_launch_run_all(struct ocl_command *first)
{
	struct ocl_launch *l = (struct ocl_launch *)first;
	struct submission s;

	while (l) {
		s = (struct submission){ l, 0, 0, false };
		do {
			s.bytes += l->bytes;
			s.n++;
			l = next_launch(l);
		} while (l && s.bytes + l->bytes <= SUBMISSION_BYTES);
		run_together(&s);
	}
}

// SPDX-License-Identifier: MIT
/* What the process has once: the handle, its devices, and the end of it in a fork. */
#include "opencl/ocl.h"

#include <sched.h>
#include <string.h>
#include <time.h>

static _Atomic(struct ocl_state *) the_state;
static _Atomic(uint32_t) epoch = 1;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

/* The child has no worker and no engine: it starts over with objects of its own. */
static void in_child(void)
{
	ocl_conn_forget_all();
	atomic_fetch_add(&epoch, 1);
	atomic_store(&the_state, NULL);
	ocl_platform.o.epoch = atomic_load(&epoch);
}

static void watch_fork(void)
{
	pthread_atfork(NULL, NULL, in_child);
}

uint32_t ocl_epoch(void)
{
	return atomic_load_explicit(&epoch, memory_order_relaxed);
}

struct ocl_state *ocl_state(void)
{
	struct ocl_state *s = atomic_load(&the_state), *none = NULL;

	if (s)
		return s;
	pthread_once(&fork_once, watch_fork);
	s = ocl_alloc(sizeof(*s));
	if (!s)
		return NULL;
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->open_lock, NULL);
	pthread_cond_init(&s->due_wake, NULL);
	if (!atomic_compare_exchange_strong(&the_state, &none, s)) {
		ocl_free(s);
		s = none;
	}
	return s;
}

static void destroy_device(void *object)
{
	cl_device_id d = object;

	ocl_conn_exit(&d->conn);
	ocl_conn_exit(&d->build_conn);
}

static cl_device_id make_device(struct ocl_state *s, int index)
{
	cl_device_id d = ocl_object_new(OCL_DEVICE, sizeof(*d), destroy_device);
	struct hmm_device_info info;

	if (!d)
		return NULL;
	d->index = index;
	d->conn.fd = -1;
	d->build_conn.fd = -1;
	pthread_mutex_init(&d->lock, NULL);
	pthread_mutex_init(&d->build_lock, NULL);
	if (!hmm_device_info(s->hmm, index, &info))
		d->bytes = info.bytes;
	return d;
}

/* Locking: open_lock. */
static cl_int open_devices(struct ocl_state *s)
{
	int n;

	if (hmm_open(&s->hmm, NULL))
		return CL_DEVICE_NOT_FOUND;
	n = hmm_device_count(s->hmm);
	for (int i = 0; i < n && i < OCL_MAX_DEVICES; i++) {
		s->devices[i] = make_device(s, i);
		if (!s->devices[i])
			return CL_OUT_OF_HOST_MEMORY;
		s->n_devices = (unsigned int)i + 1;
	}
	return CL_SUCCESS;
}

cl_int ocl_open(struct ocl_state **out)
{
	struct ocl_state *s = ocl_state();
	cl_int err = CL_SUCCESS;

	if (!s)
		return CL_OUT_OF_HOST_MEMORY;
	pthread_mutex_lock(&s->open_lock);
	if (!s->hmm)
		err = open_devices(s);
	pthread_mutex_unlock(&s->open_lock);
	*out = s;
	return err;
}

uint64_t ocl_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

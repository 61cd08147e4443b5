/* SPDX-License-Identifier: MIT */
/*
 * libhmm_opencl: the OpenCL platform "HMM". Objects, locks and stacks live in the
 * runtime's memory, which never migrates; only buffers are memory like any other.
 */
#ifndef HMM_OPENCL_OCL_H
#define HMM_OPENCL_OCL_H

#define CL_TARGET_OPENCL_VERSION 300
#define CL_USE_DEPRECATED_OPENCL_1_0_APIS
#define CL_USE_DEPRECATED_OPENCL_1_1_APIS
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#define CL_USE_DEPRECATED_OPENCL_2_0_APIS
#define CL_USE_DEPRECATED_OPENCL_2_1_APIS
#define CL_USE_DEPRECATED_OPENCL_2_2_APIS

#include <CL/cl.h>
#include <CL/cl_ext.h>
#include <CL/cl_icd.h>
#include <errno.h>
#include <hmm/hmm_engine.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/cl_wire.h"

#define OCL_MAX_DEVICES 8

enum ocl_kind {
	OCL_NONE = 0,
	OCL_PLATFORM = 0x484d4d10,
	OCL_DEVICE,
	OCL_CONTEXT,
	OCL_QUEUE,
	OCL_MEM,
	OCL_PROGRAM,
	OCL_KERNEL,
	OCL_EVENT,
};

/* First in every object: the loader reads the table. */
struct ocl_object {
	const cl_icd_dispatch *dispatch;
	uint32_t kind;
	uint32_t epoch;          /* a forked child knows none of its parent's objects */
	_Atomic(uint32_t) refs;  /* the application's */
	_Atomic(uint32_t) holds; /* all: the application's are one together */
	size_t bytes;
	void (*destroy)(void *object);
};

extern const cl_icd_dispatch ocl_dispatch;

/* object.c */
void *ocl_alloc(size_t bytes); /* zeroed, never migrates */
void ocl_free(void *p);        /* NULL is allowed */
char *ocl_strndup(const char *s, size_t length);
void *ocl_object_new(enum ocl_kind kind, size_t bytes, void (*destroy)(void *));
bool ocl_valid(const void *object, enum ocl_kind kind);
bool ocl_retain(void *object);  /* for the application */
bool ocl_release(void *object); /* false: it held no reference */
void ocl_hold(void *object);
void ocl_drop(void *object);
uint32_t ocl_refs(const void *object);
cl_int ocl_copy_info(const void *value, size_t bytes, size_t size, void *to, size_t *size_ret);

#define OCL_INFO(v) ocl_copy_info(&(v), sizeof(v), size, value, size_ret)
#define OCL_STRING(s) ocl_copy_info(s, strlen(s) + 1, size, value, size_ret)

/* Destructor callbacks, called last registered first. */
struct ocl_callback {
	struct ocl_callback *next;
	void (*fn)(void *object, void *data);
	void *data;
};
cl_int ocl_callback_add(struct ocl_callback **list, void (*fn)(void *, void *), void *data);
void ocl_callback_run(struct ocl_callback *list, void *object); /* frees them, too */

/* state.c: what the process has once. */
struct ocl_worker;

struct ocl_state {
	pthread_mutex_t lock; /* events, queues, workers */
	pthread_mutex_t open_lock;
	struct hmm *hmm;
	unsigned int n_devices;
	cl_device_id devices[OCL_MAX_DEVICES];
	struct ocl_worker *idle;
	/* Locking, from here: lock */
	struct ocl_event_callback *due, **due_last; /* to be called */
	pthread_cond_t due_wake;
	bool calls; /* a thread does */
};

struct ocl_state *ocl_state(void); /* NULL: out of memory */
uint32_t ocl_epoch(void);
cl_int ocl_open(struct ocl_state **out); /* devices are there afterwards */
uint64_t ocl_now(void);

/* rpc.c: a connection to an engine. Not thread-safe. */
struct ocl_conn {
	int fd; /* -1: none */
	unsigned int generation;
	char *buffer;
	size_t capacity;
};

int ocl_conn_open(struct ocl_conn *c, int device); /* if it is not, or broke; 0 or -errno */
void ocl_conn_close(struct ocl_conn *c);
void ocl_conn_exit(struct ocl_conn *c);
void ocl_conn_forget_all(void);         /* in a forked child */
void ocl_conn_trim(struct ocl_conn *c); /* after a large request: lets its buffer go */
/* Room for a request's payload; NULL when out of memory. */
void *ocl_conn_payload(struct ocl_conn *c, size_t bytes);
/*
 * Send what is in the payload, wait for the reply: its payload replaces the request's.
 * Return: 0 with the engine's verdict in @status, or -errno: the connection is closed. -ENOTCONN:
 * the engine ended before it had the request; -EPIPE: after that, perhaps.
 */
int ocl_conn_call(struct ocl_conn *c, enum cl_wire_op op, size_t bytes, cl_int *status,
		  const void **reply, size_t *reply_bytes);
/* For a request that changes nothing: is it to be sent again, to the next engine? */
static inline bool ocl_conn_again(int err)
{
	return err == -ENOTCONN || err == -EPIPE;
}

struct _cl_platform_id {
	struct ocl_object o;
};

extern struct _cl_platform_id ocl_platform;

struct ocl_limits {
	bool known;
	size_t group_size;
	size_t item_sizes[3];
	cl_ulong local_bytes;
	bool uniform; /* work-groups are all of one size */
};

struct _cl_device_id {
	struct ocl_object o;
	int index;
	uint64_t bytes;
	pthread_mutex_t lock; /* conn, limits */
	struct ocl_conn conn;
	struct ocl_limits limits;
	/* A build may take minutes, and launches go on: nothing else waits for it. */
	pthread_mutex_t build_lock; /* all below */
	struct ocl_conn build_conn;
	struct hmm_device_fault fault; /* filled with a lock held: not on a stack that migrates */
};

/* device.c */
/* Locking: takes device->lock. One request; tried again when the engine had been reset. */
cl_int ocl_device_info(cl_device_id d, cl_device_info param, void *to, size_t size, size_t *got);
cl_int ocl_device_limits(cl_device_id d, struct ocl_limits *limits);
cl_int ocl_error(int err); /* -errno to a CL error */

struct ocl_svm {
	struct ocl_svm *next;
	char *start;
	size_t bytes;
	cl_svm_mem_flags flags;
};

struct _cl_context {
	struct ocl_object o;
	unsigned int n_devices;
	cl_device_id devices[OCL_MAX_DEVICES];
	cl_context_properties *properties;
	unsigned int n_properties;
	pthread_mutex_t lock; /* svm, destructors */
	struct ocl_svm *svm;
	struct ocl_callback *destructors;
};

bool ocl_context_has(cl_context c, cl_device_id d);
int ocl_context_index(cl_context c, cl_device_id d);
/* svm.c: the allocation that @p lies in, copied to @out. */
bool ocl_svm_find(cl_context c, const void *p, struct ocl_svm *out);

struct _cl_command_queue {
	struct ocl_object o;
	cl_context context;
	cl_device_id device;
	cl_command_queue_properties properties;
	cl_queue_properties *list; /* as given; NULL if not */
	unsigned int n_list;
	struct ocl_conn conn; /* of who is running */
	/* Locking, from here: state->lock */
	struct ocl_worker *worker;
	struct ocl_command *first, **last;
	bool running;
	bool lazy;           /* the worker looks by itself: no need to wake it */
	unsigned int helped; /* launches that who waited for them sent, or could have, lately */
	uint64_t pushed_at;  /* ns; the newest command */
	bool closing;
	cl_int error;        /* of launches, not told yet */
	unsigned int failed; /* how many */
	unsigned int told;   /* how often it was told */
	pthread_cond_t idle;
};

struct ocl_map {
	struct ocl_map *next;
	void *at;
	size_t offset, bytes;
	cl_map_flags flags;
};

struct _cl_mem {
	struct ocl_object o;
	cl_context context;
	cl_mem parent; /* of a sub-buffer */
	cl_mem_flags flags;
	size_t bytes, offset;
	char *data;
	void *host_ptr; /* of USE_HOST_PTR */
	size_t mapped;  /* bytes to unmap; 0: not ours */
	bool svm;
	cl_mem_properties *properties;
	unsigned int n_properties;
	pthread_mutex_t lock; /* maps, destructors */
	struct ocl_map *maps;
	unsigned int n_maps;
	struct ocl_callback *destructors;
};

/* pages.c: memory of buffers and clSVMAlloc; zeroed. */
void *ocl_pages_get(size_t bytes, size_t align, size_t *mapped);
void ocl_pages_put(void *p, size_t mapped);

struct ocl_build {
	/* Set when the program is made: is it for this device, and from what binary? */
	bool wanted;
	char *binary_options, *binary_source;
	size_t binary_length;            /* of the source */
	_Atomic(cl_build_status) status; /* set with program->lock held */
	/* Locking, from here: program->lock */
	char *options;
	char *folder; /* where the program stood, for paths in the options; NULL: nowhere */
	char *log;
	uint64_t variables;
	uint32_t id;             /* in the engine */
	unsigned int generation; /* where that id is good */
};

struct _cl_program {
	struct ocl_object o;
	cl_context context;
	char *source;
	size_t source_length;
	pthread_mutex_t lock; /* all below */
	struct ocl_build build[OCL_MAX_DEVICES];
	char *names; /* kernels, joined by ';' */
	_Atomic(uint32_t) kernels;
};

/* program.c: for all devices of @c, with room for a source. */
cl_program ocl_program_new(cl_context c, size_t source_length);
int ocl_program_first_built(cl_program p);                             /* -1: none is */
unsigned int ocl_program_devices(cl_program p, cl_device_id *devices); /* how many it is for */

/* binary.c: what device number @i is to build. Locking: program->lock, while it is used. */
struct ocl_recipe {
	const char *options, *source, *folder;
	size_t options_length, source_length, folder_length;
};
struct ocl_recipe ocl_program_recipe(cl_program p, unsigned int i);
cl_int ocl_program_binaries(cl_program p, size_t size, unsigned char **value, size_t *size_ret);
cl_int ocl_program_binary_sizes(cl_program p, size_t size, void *value, size_t *size_ret);

/*
 * build.c: the program's id in the engine of device number @i of its context, made again
 * where the engine is a new one. Locking: takes program->lock, device->build_lock or lock.
 */
cl_int ocl_program_id(cl_program p, unsigned int i, uint32_t *id, unsigned int *generation);
cl_int ocl_program_build(cl_program p, unsigned int i, const char *options);
void ocl_program_forget(cl_program p, unsigned int i);

enum ocl_arg_state { OCL_ARG_UNSET = 0, OCL_ARG_MEM, OCL_ARG_SVM, OCL_ARG_LOCAL, OCL_ARG_VALUE };

struct ocl_arg {
	enum ocl_arg_state state;
	uint32_t size;
	uint64_t pointer;
	cl_mem mem;  /* held */
	char *value; /* OCL_ARG_VALUE */
};

struct ocl_kernel_target {
	uint32_t id;
	unsigned int generation;
	struct cl_wire_kernel_info info;
};

struct _cl_kernel {
	struct ocl_object o;
	cl_program program;
	char *name;
	uint32_t n_args;
	struct cl_wire_arg_info *info;
	pthread_mutex_t lock; /* args, target */
	struct ocl_arg *args;
	struct ocl_kernel_target target[OCL_MAX_DEVICES];
};

/* kernel.c: as ocl_program_id(). Locking: takes kernel->lock. */
cl_int ocl_kernel_id(cl_kernel k, unsigned int i, uint32_t *id, unsigned int *generation);
cl_int ocl_kernel_target(cl_kernel k, unsigned int i, struct cl_wire_kernel_info *info);
void ocl_arg_clear(struct ocl_arg *a);

struct ocl_event_callback {
	struct ocl_event_callback *next;
	cl_event event; /* held, once it is due */
	cl_int type, status;
	void(CL_CALLBACK *fn)(cl_event, cl_int, void *);
	void *data;
};

struct _cl_event {
	struct ocl_object o;
	cl_context context;
	cl_command_queue queue; /* NULL: user event */
	cl_command_type type;
	cl_ulong times[5]; /* queued, submitted, started, ended, complete */
	/* Locking, from here: state->lock */
	cl_int status;
	unsigned int failed_at; /* queue->told when its launch failed, and one; 0: it did not */
	struct ocl_event_callback *callbacks;
	pthread_cond_t changed;
};

/* callback.c. Locking: state->lock, for both. */
cl_int ocl_callbacks_start(struct ocl_state *s);
void ocl_callbacks_due(struct ocl_state *s, cl_event e); /* its status has changed */

/* event.c */
cl_event ocl_event_new(cl_context c, cl_command_queue q, cl_command_type type);
void ocl_event_set(cl_event e, cl_int status);
cl_int ocl_event_wait(cl_event e);         /* its final status */
cl_int ocl_take_error(cl_command_queue q); /* of its launches. Locking: state->lock */
cl_int ocl_check_wait_list(cl_context c, cl_uint n, const cl_event *list);

/* A command: what a queue's worker does. @run returns its final status. */
struct ocl_command {
	struct ocl_command *next;
	cl_command_queue queue;
	cl_event event;
	cl_int (*run)(struct ocl_command *c);
	/* Or NULL: of a list of the same kind, each of which is silent and waits for no event. */
	void (*run_all)(struct ocl_command *first);
	void (*clean)(struct ocl_command *c); /* may be NULL */
	cl_mem mem[2];                        /* held, may be NULL */
	bool anywhere; /* @run may be called by a thread of the application */
	bool silent;   /* nobody has its event, or waits for it */
	cl_uint n_wait;
	cl_event *wait; /* held */
};

struct ocl_wait {
	cl_uint n;
	const cl_event *list;
	cl_event *event; /* out, may be NULL */
	cl_bool blocking;
};

#define OCL_WAIT(n, list, event)         \
	(struct ocl_wait)                \
	{                                \
		n, list, event, CL_FALSE \
	}

/* command.c */
cl_int ocl_command_check(cl_command_queue q, const struct ocl_wait *w);
/* A command of @bytes in all, zeroed; NULL: out of memory. */
void *ocl_command_new(cl_command_queue q, size_t bytes, cl_int (*run)(struct ocl_command *));
/* Hands over @c, which may be NULL (CL_OUT_OF_HOST_MEMORY). Waits if blocking. */
cl_int ocl_command_submit(struct ocl_command *c, cl_command_type type, const struct ocl_wait *w);
void ocl_command_hold(struct ocl_command *c, unsigned int i, cl_mem m);
cl_int ocl_nothing(struct ocl_command *c); /* a marker's run */

/* worker.c */
int ocl_thread_start(void *(*fn)(void *), void *arg); /* detached; its stack never migrates */
cl_int ocl_queue_push(cl_command_queue q, struct ocl_command *c);
cl_int ocl_queue_finish(cl_command_queue q);
void ocl_queue_close(cl_command_queue q);
/* What is in it is wanted now. Locking: state->lock. */
void ocl_queue_flush(cl_command_queue q);
/* Did the caller, who waits, run the only command of it? Locking: state->lock, dropped meanwhile. */
bool ocl_queue_help(struct ocl_state *s, cl_command_queue q);

#endif /* HMM_OPENCL_OCL_H */

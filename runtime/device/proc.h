/* SPDX-License-Identifier: MIT */
/*
 * The engine process of a device as its client sees it: start, requests, device I/O, launches
 * and death. The same for every backend; whose page table it is, is the backend's business.
 */
#ifndef HMM_DEVICE_PROC_H
#define HMM_DEVICE_PROC_H

#include <hmm/hmm_engine.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine_proto.h"
#include "os/lock.h"

enum hmm_proc_state {
	HMM_PROC_OFF = 0, /* no engine */
	HMM_PROC_RUNNING,
	HMM_PROC_RESET, /* ended by a device fault; starts again when it is needed */
	HMM_PROC_LOST,  /* its engine died; stays lost */
};

#define HMM_PROC_FDS 3 /* the most that an engine sends with its first message */

struct hmm_proc {
	unsigned int index; /* of the device */
	_Atomic unsigned int state;
	_Atomic unsigned int generation; /* engines so far */
	/*
	 * Set and forgotten under fault_lock, and forgotten under all three: each is enough to use
	 * them, io_lock and control_lock if the engine is up. Who only waits for the pidfd, or
	 * tells the pid, reads them without.
	 */
	_Atomic int pid, pidfd;
	int control_fd;
	struct hmm_engine_shared *shared;
	struct os_mutex io_lock;      /* taken by threads of the application, not by faults */
	struct os_mutex control_lock; /* one request at a time on control_fd */
	struct os_mutex fault_lock;
	struct hmm_device_fault fault; /* what ended generation fault.generation */
	bool fault_valid;
	_Atomic uint64_t served, served_pages; /* faults by this engine, for the report */
	_Atomic uint64_t launches, invalid;    /* counters of the device */
};

struct hmm_proc_options {
	uint64_t bytes; /* of device memory */
	bool user_only; /* user-mode faults only */
	int driver_fd;  /* through which it maps the client's memory; -1: it makes its own */
};

static inline bool hmm_proc_up(struct hmm_proc *p)
{
	return atomic_load(&p->state) == HMM_PROC_RUNNING;
}

/* As before the first start. */
void hmm_proc_init(struct hmm_proc *p, unsigned int index);

/*
 * start.c: a new engine. *kept receives @n_kept descriptors that it sent, beside the shared page.
 * It does nothing yet: the backend makes its own state right, then calls _run().
 */
int hmm_proc_start(struct hmm_proc *p, const struct hmm_proc_options *o, int *kept,
		   unsigned int n_kept);
void hmm_proc_run(struct hmm_proc *p);

/* Kills and closes; returns when the last store is over. */
void hmm_proc_kill(int pidfd);
void hmm_proc_release(struct hmm_proc *p);
/* In a forked child: these are copies of the parent's. */
void hmm_proc_forget(struct hmm_proc *p);

/* One request and its answer. Locking: none that the engine's faults could need. */
int hmm_proc_request(struct hmm_proc *p, const struct hmm_engine_msg *msg, int fd);
/*
 * Post to a mailbox and wait, as long as the engine lives. Locking: the mailbox's, and what keeps
 * the engine's remains from being released.
 */
int hmm_proc_post(struct hmm_proc *p, struct hmm_engine_mbox *m);
/* As hmm_device_read() and _write(). */
long hmm_proc_io(struct hmm_proc *p, uintptr_t addr, char *buffer, size_t length, bool write);
/* The access that this thread of that engine waits for will never be valid. */
void hmm_proc_invalid(struct hmm_proc *p, unsigned int generation, uint64_t addr, int write,
		      uint32_t tid, const char *reason);

/*
 * The pidfd is readable. True for one caller, who brings home what it left: every thread of the
 * engine has ended, so none of its stores is under way.
 */
bool hmm_proc_died(struct hmm_proc *p);

/*
 * After -ENODEV of the engine of @generation. 0: another one is up, so try again; one that was
 * reset is replaced by @restart. -ENODEV: it stays so, or as @restart. No lock held but outer ones.
 */
int hmm_proc_renew(struct hmm_proc *p, int (*restart)(unsigned int device),
		   unsigned int generation);
/* As the hmm_engine_* functions. */
int hmm_proc_connect(struct hmm_proc *p, int (*restart)(unsigned int device), int *fd,
		     unsigned int *generation);
int hmm_proc_launch_end(struct hmm_proc *p, unsigned int generation,
			struct hmm_device_fault *fault);

#endif /* HMM_DEVICE_PROC_H */

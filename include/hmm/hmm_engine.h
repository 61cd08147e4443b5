/* SPDX-License-Identifier: MIT */
/*
 * The runtime's side door for language front ends (libhmm_opencl). Not a stable
 * API: symbol version HMM_PRIVATE, same release only.
 */
#ifndef HMM_HMM_ENGINE_H
#define HMM_HMM_ENGINE_H

#include <hmm/hmm.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Memory that never migrates, for buffers of system calls and thread stacks
 * (page-aligned from a page up). NULL when out of memory.
 */
void *hmm_engine_alloc(size_t bytes);
void hmm_engine_free(void *p, size_t bytes);

/*
 * A new stream connection to the device's engine, served there by a thread of
 * its own. The caller closes it. An engine that was reset after a device fault
 * is started again here, or by what needed the device before. *generation counts
 * the engines of this device: objects made in an older generation are gone.
 *
 * Return: 0, -EINVAL, -ENODEV (device lost for good), -ENOMEM, -EMFILE, -EPERM.
 */
int hmm_engine_connect(struct hmm *h, int device, int *fd, unsigned int *generation);

/*
 * Bracket @launches of kernels that are sent together. _begin revalidates what the device maps
 * remotely and takes in what the process unmapped so far. _end fills *fault when a launch
 * ended by an invalid device access, or (address 0) by whatever else ended the
 * engine while it built or ran a kernel: returns 1 then, else 0, or -ENODEV when
 * the engine died otherwise. To be called after the connection broke, too.
 */
struct hmm_device_fault {
	uint64_t address;
	uint32_t write;         /* 1: store, 0: load, 2: unknown */
	uint32_t generation;    /* of the engine that ended */
	uint64_t device_faults; /* served for this engine before it ended */
	uint64_t pages;         /* migrated for them */
	char reason[64];
};
int hmm_engine_launch_begin(struct hmm *h, int device, unsigned int launches);
int hmm_engine_launch_end(struct hmm *h, int device, unsigned int generation,
			  struct hmm_device_fault *fault);

/* One line to the log (HMM_LOG); level 0 error, 1 warning, 2 info, 3 debug. */
void hmm_engine_log(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#ifdef __cplusplus
}
#endif

#endif /* HMM_HMM_ENGINE_H */

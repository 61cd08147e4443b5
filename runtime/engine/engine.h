/* SPDX-License-Identifier: MIT */
/* hmm-engine: the process that is one emulated device. What its files share. */
#ifndef HMM_ENGINE_ENGINE_H
#define HMM_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine_proto.h"

struct engine_options {
	int client; /* pid */
	int device;
	uint64_t bytes;
	bool user_only;
	bool driver; /* HMM_ENGINE_DRIVER_FD maps the client's memory */
};

struct engine_range {
	uint64_t start, end;
};

struct engine {
	struct engine_options opts;
	int memory_fd, uffd, shared_fd;
	struct hmm_engine_shared *shared;
	struct engine_range window[HMM_ENGINE_MAX_WINDOWS];
	unsigned int n_windows;
};

extern struct engine engine;

/*
 * layout.c: execute again, once, so that the engine's own mappings lie where no client
 * has any, and without the loader variables that are not meant for it. Returns when
 * that is done already, or cannot be.
 */
void engine_relayout(char **argv, int client);
/* No heap by brk() meanwhile: before the first allocation, and before the windows. */
void engine_hold_heap(void);
void engine_release_heap(void);
/* Address ranges that are free for the client's addresses; 0 or -errno. */
int engine_find_windows(struct engine_range *window, unsigned int max, unsigned int *n);
/* Does something of the client lie where the engine's own mappings are, or will be? */
bool engine_conflicts(int client);

/* memory.c: device memory at the client's addresses. 0 or -errno. */
int engine_memory_init(uint64_t *features);
int engine_map_file(uint64_t start, uint64_t length, uint64_t prot, int fd, uint64_t offset);
int engine_unmap_file(uint64_t start, uint64_t length);

/* service.c: threads. */
int engine_service_start(void);
/* Does not return to a hmm_device_read() or _write() that cannot go on. Any other: nothing. */
void engine_io_escape(void);

/*
 * crash.c: report an access that cannot be, and end. Installed again when the OpenCL
 * platform is up: its compiler takes these signals for itself.
 */
void engine_crash_install(void);

/* control.c: serves fd 3 until the client goes. */
void engine_control_loop(void);

/* proto_check.c: is a message from the control socket acceptable? 0 or -EINVAL. */
int engine_check_msg(const struct hmm_engine_msg *m, size_t size, bool has_fd,
		     const struct engine_range *window, unsigned int n_windows);

#endif /* HMM_ENGINE_ENGINE_H */

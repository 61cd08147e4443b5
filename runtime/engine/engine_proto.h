/* SPDX-License-Identifier: MIT */
/*
 * Between the runtime and its engine process: what they say over the control socket,
 * and the page that they share.
 */
#ifndef HMM_ENGINE_PROTO_H
#define HMM_ENGINE_PROTO_H

#include <signal.h>
#include <stdint.h>

#define HMM_ENGINE_MAGIC 0x484d4d45u
#define HMM_ENGINE_PROTO 3u
#define HMM_ENGINE_CTL_FD 3
#define HMM_ENGINE_DRIVER_FD 4 /* with --driver: the client's memory */
#define HMM_ENGINE_MAX_WINDOWS 8
#define HMM_ENGINE_AGENTS 8
#define HMM_ENGINE_IO_OFFSET (64u << 10)
#define HMM_ENGINE_IO_BYTES (1u << 20)
#define HMM_ENGINE_SHARED_BYTES (HMM_ENGINE_IO_OFFSET + HMM_ENGINE_IO_BYTES)
#define HMM_ENGINE_SIG_ABORT (SIGRTMIN + 4)

/* Engine to client, first message; with it, unless error, descriptors: the shared page, and
 * without a driver device memory and its userfaultfd. */
struct hmm_engine_hello {
	uint32_t magic;
	uint32_t proto;
	int32_t error;
	uint32_t pid;
	uint64_t uffd_features;
	uint32_t n_windows;
	uint32_t reserved;
	struct {
		uint64_t start, end;
	} window[HMM_ENGINE_MAX_WINDOWS];
};

enum hmm_engine_op {
	HMM_ENGINE_NONE = 0,
	HMM_ENGINE_ZAP,        /* mailbox: drop page table entries, keep the frames */
	HMM_ENGINE_MAP_FILE,   /* control, one descriptor */
	HMM_ENGINE_UNMAP_FILE, /* control */
	HMM_ENGINE_CONNECT,    /* control, one descriptor: a stream for a front end */
	HMM_ENGINE_QUIT,       /* control */
};

struct hmm_engine_msg {
	uint32_t magic;
	uint32_t op;
	uint64_t start, length, offset, prot;
};

struct hmm_engine_reply {
	uint32_t magic;
	int32_t result;
};

#define HMM_MBOX_IDLE 0u
#define HMM_MBOX_REQUEST 1u
#define HMM_MBOX_DONE 2u

#define HMM_ENGINE_IO_READ 1u
#define HMM_ENGINE_IO_WRITE 2u

struct hmm_engine_mbox {
	uint32_t state; /* futex, shared */
	uint32_t op;
	uint64_t start, length, arg0, arg1;
	int32_t result;
	uint32_t pad;
};

#define HMM_CRASH_NONE 0u
#define HMM_CRASH_WRITING 1u
#define HMM_CRASH_VALID 2u

/* The engine's last words. */
struct hmm_engine_crash {
	uint32_t state;
	uint32_t signal;
	uint64_t address;
	uint32_t write; /* 1: store, 0: load, 2: unknown */
	uint32_t pad;
};

struct hmm_engine_shared {
	uint32_t magic, proto;
	struct hmm_engine_mbox agent[HMM_ENGINE_AGENTS];
	struct hmm_engine_mbox io;
	uint32_t io_tid;
	uint32_t io_abort;
	struct hmm_engine_crash crash;
	uint32_t cl_busy; /* builds and launches under way: its end was one of theirs */
};

#endif /* HMM_ENGINE_PROTO_H */

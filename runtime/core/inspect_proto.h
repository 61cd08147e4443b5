/* SPDX-License-Identifier: MIT */
/*
 * How hmmctl asks a process that uses libhmm. The process listens on an abstract socket of a
 * name with its pid, which goes when the process goes: nothing stale is left. Each side looks
 * who the other is: the process answers its own user and root only, and hmmctl believes only the
 * process that it meant. One request, one answer, any number of times; both from one release.
 */
#ifndef HMM_CORE_INSPECT_PROTO_H
#define HMM_CORE_INSPECT_PROTO_H

#include <hmm/hmm.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#define HMM_INSPECT_MAGIC 0x484d4d49u
#define HMM_INSPECT_VERSION 1u
#define HMM_INSPECT_DEVICES 8
#define HMM_INSPECT_PAGES 4096 /* of one answer, at most */

enum hmm_inspect_op { HMM_INSPECT_STATS = 1, HMM_INSPECT_MAP };

struct hmm_inspect_request {
	uint32_t magic, version, op, pages;
	uint64_t start; /* of HMM_INSPECT_MAP */
};

struct hmm_inspect_device {
	struct hmm_device_info info;
	struct hmm_stats stats;
};

struct hmm_inspect_stats {
	uint32_t magic, version;
	uint32_t devices, reserved;
	struct hmm_inspect_device device[HMM_INSPECT_DEVICES];
};

struct hmm_inspect_map {
	uint32_t magic, version;
	int32_t err; /* -errno: no page is filled in */
	uint32_t pages;
	int32_t location[HMM_INSPECT_PAGES]; /* as hmm_page_status says it */
};

static inline socklen_t hmm_inspect_address(struct sockaddr_un *a, int pid)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			   (size_t)snprintf(a->sun_path + 1, sizeof(a->sun_path) - 1, "libhmm-%d",
					    pid));
}

#endif /* HMM_CORE_INSPECT_PROTO_H */

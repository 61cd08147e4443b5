// SPDX-License-Identifier: MIT
/* Questions to a process that uses libhmm. */
#include "hmmctl.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

static bool refused(int pid, const char *why)
{
	fprintf(stderr, "hmmctl: process %d %s\n", pid, why);
	return false;
}

static bool may_ask(int pid)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d", pid);
	if (stat(path, &st)) {
		fprintf(stderr, "hmmctl: no process %d\n", pid);
		return false;
	}
	if (geteuid() != 0 && st.st_uid != geteuid())
		return refused(pid, "belongs to another user");
	return true;
}

/* Another process may have taken its name. */
static bool is_it(int fd, int pid)
{
	struct ucred who;
	socklen_t size = sizeof(who);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) && who.pid == pid;
}

int hmmctl_ask_open(int pid)
{
	struct timeval patience = { 5, 0 };
	struct sockaddr_un a;
	socklen_t size = hmm_inspect_address(&a, pid);
	int fd;

	if (!may_ask(pid))
		return -1;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		perror("hmmctl: socket");
		return -1;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&a, size) || !is_it(fd, pid)) {
		refused(pid, "does not use libhmm, or has no devices open");
		close(fd);
		return -1;
	}
	return fd;
}

static int ask(int fd, const struct hmm_inspect_request *r, void *reply, size_t bytes)
{
	if (send(fd, r, sizeof(*r), MSG_NOSIGNAL) != sizeof(*r))
		return -1;
	errno = ECONNRESET; /* unless it is told otherwise */
	return recv(fd, reply, bytes, 0) == (ssize_t)bytes ? 0 : -1;
}

int hmmctl_ask_stats(int fd, struct hmm_inspect_stats *s)
{
	struct hmm_inspect_request r = { HMM_INSPECT_MAGIC, HMM_INSPECT_VERSION, HMM_INSPECT_STATS,
					 0, 0 };

	if (ask(fd, &r, s, sizeof(*s)) || s->magic != HMM_INSPECT_MAGIC ||
	    s->version != HMM_INSPECT_VERSION || s->devices > HMM_INSPECT_DEVICES)
		return -1;
	return 0;
}

int hmmctl_ask_map(int fd, uint64_t start, uint32_t pages, struct hmm_inspect_map *m)
{
	struct hmm_inspect_request r = { HMM_INSPECT_MAGIC, HMM_INSPECT_VERSION, HMM_INSPECT_MAP,
					 pages, start };

	if (ask(fd, &r, m, sizeof(*m)) || m->magic != HMM_INSPECT_MAGIC ||
	    m->version != HMM_INSPECT_VERSION || m->pages != pages)
		return -1;
	return 0;
}

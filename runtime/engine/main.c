// SPDX-License-Identifier: MIT
/* hmm-engine: started by libhmm, never by hand. */
#include "engine/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STACK_BYTES (64u << 20)

struct engine engine = { .memory_fd = -1, .uffd = -1, .shared_fd = -1 };

static int parse(int argc, char **argv, struct engine_options *o)
{
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (!strcmp(argv[i], "--user-mode-only")) {
			o->user_only = true;
			continue;
		}
		if (!strcmp(argv[i], "--driver")) {
			o->driver = true;
			continue;
		}
		if (!value)
			return -EINVAL;
		if (!strcmp(argv[i], "--client"))
			o->client = atoi(value);
		else if (!strcmp(argv[i], "--device"))
			o->device = atoi(value);
		else if (!strcmp(argv[i], "--bytes"))
			o->bytes = strtoull(value, NULL, 0);
		else
			return -EINVAL;
		i++;
	}
	return o->client > 0 ? 0 : -EINVAL;
}

/*
 * Nothing of the client's but its addresses: not its descriptors, whose other ends wait
 * for their last copy to close, nor its terminal's signals, which it may handle.
 */
static void stand_alone(void)
{
	int null;

	syscall(SYS_close_range, HMM_ENGINE_CTL_FD + (engine.opts.driver ? 2 : 1), ~0u, 0);
	/* Also where the client has none of the three: device memory must not be stdout. */
	null = open("/dev/null", O_RDWR);
	if (null >= 0)
		dup2(null, STDIN_FILENO);
	while (null >= 0 && null <= STDERR_FILENO)
		null = dup(null);
	if (null > HMM_ENGINE_CTL_FD)
		close(null);
	setsid();
}

/*
 * For the compiler, and for kernels: OpenCL's workers keep the private memory of a whole work-group
 * there. Address space only, and whatever the client's limit is.
 */
static void make_stacks_large(void)
{
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	pthread_setattr_default_np(&attr);
	pthread_attr_destroy(&attr);
}

static int make_shared(void)
{
	void *p;

	engine.shared_fd = memfd_create("hmm-engine", MFD_CLOEXEC);
	if (engine.shared_fd < 0 || ftruncate(engine.shared_fd, HMM_ENGINE_SHARED_BYTES))
		return -errno;
	p = mmap(NULL, HMM_ENGINE_SHARED_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
		 engine.shared_fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	engine.shared = p;
	engine.shared->magic = HMM_ENGINE_MAGIC;
	engine.shared->proto = HMM_ENGINE_PROTO;
	return 0;
}

static int send_hello(struct hmm_engine_hello *hello)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(3 * sizeof(int))];
	} control = { 0 };
	int fds[3] = { engine.shared_fd, engine.memory_fd, engine.uffd };
	size_t bytes = (engine.opts.driver ? 1 : 3) * sizeof(int);
	struct iovec iov = { hello, sizeof(*hello) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (!hello->error) {
		struct cmsghdr *c;

		m.msg_control = control.bytes;
		m.msg_controllen = CMSG_SPACE(bytes);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(bytes);
		memcpy(CMSG_DATA(c), fds, bytes);
	}
	return sendmsg(HMM_ENGINE_CTL_FD, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int main(int argc, char **argv)
{
	struct hmm_engine_hello hello = { .magic = HMM_ENGINE_MAGIC, .proto = HMM_ENGINE_PROTO };

	if (parse(argc, argv, &engine.opts) || fcntl(HMM_ENGINE_CTL_FD, F_GETFD) < 0) {
		fprintf(stderr, "hmm-engine is started by libhmm; see hmm(7)\n");
		return 2;
	}
	signal(SIGXFSZ, SIG_IGN); /* a limit on files ends in an error */
	engine_hold_heap();
	stand_alone();
	engine_relayout(argv, engine.opts.client);
	prctl(PR_SET_NAME, "hmm-engine");
	fcntl(HMM_ENGINE_CTL_FD, F_SETFD, FD_CLOEXEC);
	if (engine.opts.driver)
		fcntl(HMM_ENGINE_DRIVER_FD, F_SETFD, FD_CLOEXEC);
	make_stacks_large();
	hello.pid = (uint32_t)getpid();
	hello.error = engine_memory_init(&hello.uffd_features);
	if (!hello.error)
		hello.error = make_shared();
	if (!hello.error)
		hello.error = engine_service_start();
	hello.n_windows = engine.n_windows;
	for (unsigned int i = 0; i < engine.n_windows; i++) {
		hello.window[i].start = engine.window[i].start;
		hello.window[i].end = engine.window[i].end;
	}
	if (send_hello(&hello) || hello.error)
		return 1;
	engine_control_loop();
	_exit(0);
}

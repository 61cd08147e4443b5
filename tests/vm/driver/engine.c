// SPDX-License-Identifier: MIT
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct engine_shared {
	_Atomic int state; /* 0 idle, 1 request, 2 done */
	_Atomic int stop;
	int op;
	char *addr;
	size_t length;
	_Atomic uint64_t value;
	unsigned int fail; /* this allocation fails in the next operation; 0: none */
	bool failed;
};

int node = -1;

int client_open(void)
{
	node = open("/dev/dri/renderD128", O_RDWR | O_CLOEXEC);
	return node < 0 ? -errno : 0;
}

long migrate(void *addr, size_t length, int target)
{
	struct drm_hmm_migrate m = { .addr = (uintptr_t)addr, .length = length, .target = target };

	return ioctl(node, DRM_IOCTL_HMM_MIGRATE, &m) ? -errno : (long)m.pages;
}

static int status(const void *addr, struct drm_hmm_page *page)
{
	struct drm_hmm_pages p = { .addr = (uintptr_t)addr,
				   .pages = 1,
				   .status = (uintptr_t)page,
				   .entry_bytes = sizeof(*page) };

	return ioctl(node, DRM_IOCTL_HMM_PAGES, &p) ? -1000 - errno : 0;
}

int where(const void *addr)
{
	struct drm_hmm_page page;
	int err = status(addr, &page);

	return err ? err : page.location;
}

int page_flags(const void *addr)
{
	struct drm_hmm_page page;
	int err = status(addr, &page);

	return err ? err : (int)page.flags;
}

uint64_t resident(unsigned int device)
{
	struct drm_hmm_query q = { .device = device };

	return ioctl(node, DRM_IOCTL_HMM_QUERY, &q) ? 0 : q.resident;
}

char *map_anonymous(size_t bytes)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void count(struct engine_shared *s)
{
	s->value = 0;
	while (!s->stop) {
		for (size_t at = 0; at < s->length; at += PAGE)
			++*(volatile uint64_t *)(s->addr + at);
		s->value++;
	}
}

static void read_on(struct engine_shared *s)
{
	for (s->value = 0; !s->stop; s->value++)
		for (size_t at = 0; at < s->length; at += PAGE)
			(void)*(volatile char *)(s->addr + at);
}

static void serve(struct engine_shared *s)
{
	switch (s->op) {
	case ENGINE_LOAD:
		s->value = *(volatile unsigned char *)s->addr;
		break;
	case ENGINE_STORE:
		*(volatile unsigned char *)s->addr = (unsigned char)s->value;
		break;
	case ENGINE_FILL:
		memset(s->addr, (int)s->value, s->length);
		break;
	case ENGINE_READ:
		read_on(s);
		break;
	case ENGINE_COUNT:
		count(s);
		break;
	}
}

static void serve_failing(struct engine_shared *s)
{
	int fd = fail_begin(s->fail);

	serve(s);
	s->failed = fail_end(fd);
	s->fail = 0;
}

static void engine_main(struct engine_shared *s, int fd, void *base, size_t length)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (mmap(base, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
		 (off_t)(uintptr_t)base) == MAP_FAILED)
		_exit(errno);
	fail_sometimes();
	s->state = 2;
	for (;;) {
		while (s->state != 1)
			usleep(50);
		if (s->fail)
			serve_failing(s);
		else
			serve(s);
		s->state = 2;
	}
}

int engine_start(struct engine *e, unsigned int device, void *base, size_t length)
{
	struct drm_hmm_engine_create c = { .device = device };

	if (ioctl(node, DRM_IOCTL_HMM_ENGINE_CREATE, &c))
		return -errno;
	e->shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	e->pid = fork();
	if (!e->pid)
		engine_main(e->shared, c.fd, base, length);
	close(c.fd);
	return engine_wait(e, NULL);
}

void engine_end(struct engine *e)
{
	kill(e->pid, SIGKILL);
	waitpid(e->pid, NULL, 0);
	munmap(e->shared, PAGE);
}

void engine_begin(struct engine *e, enum engine_op op, void *addr, size_t length, uint64_t value)
{
	e->shared->op = op;
	e->shared->addr = addr;
	e->shared->length = length;
	e->shared->value = value;
	e->shared->stop = 0;
	e->shared->state = 1;
}

int engine_wait(struct engine *e, uint64_t *value)
{
	int status;

	while (e->shared->state != 2) {
		if (waitpid(e->pid, &status, WNOHANG) == e->pid)
			return WIFSIGNALED(status) ? -WTERMSIG(status) :
						     -1000 - WEXITSTATUS(status);
		usleep(50);
	}
	if (value)
		*value = e->shared->value;
	return 0;
}

int engine_do(struct engine *e, enum engine_op op, void *addr, size_t length, uint64_t *value)
{
	engine_begin(e, op, addr, length, value ? *value : 0);
	return engine_wait(e, value);
}

void engine_stop(struct engine *e)
{
	e->shared->stop = 1;
}

uint64_t engine_rounds(const struct engine *e)
{
	return e->shared->value;
}

int fail_begin(unsigned int nth)
{
	int fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);

	dprintf(fd, "%u", nth);
	return fd;
}

bool fail_end(int fd)
{
	char left[16] = "";
	ssize_t n = pread(fd, left, sizeof(left) - 1, 0);

	if (write(fd, "0", 1) != 1 || n <= 0)
		abort();
	close(fd);
	return atoi(left) == 0;
}

void engine_fail(struct engine *e, unsigned int nth)
{
	e->shared->fail = nth;
	e->shared->failed = false;
}

bool engine_failed(const struct engine *e)
{
	return e->shared->failed;
}

bool fail_sometimes(void)
{
	int fd;

	if (!getenv("HMM_TEST_FAULTS"))
		return false;
	fd = open("/proc/thread-self/make-it-fail", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "1", 1) != 1)
		abort();
	close(fd);
	return true;
}

// SPDX-License-Identifier: MIT
/*
 * The engine alone, with this program as its client: what it does for a client, what
 * a hostile one cannot do to it, and what it must not keep or share.
 */
#include "emulated/uffd.h"
#include "engine/engine_proto.h"
#include "os/lock.h"

#include <CUnit/Basic.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define AT 0x700000000000ul      /* any address is memory, */
#define INVALID 0x710000000000ul /* but from here */
#define FRESH 0x11               /* what new memory holds */

static const char *program;
static struct hmm_engine_hello hello;
static struct hmm_engine_shared *shared;
static int control, uffd;
static pid_t engine_pid;

static void abort_io(void)
{
	__atomic_store_n(&shared->io_abort, 1, __ATOMIC_RELEASE);
	syscall(SYS_tgkill, engine_pid, shared->io_tid, HMM_ENGINE_SIG_ABORT);
}

static void *pager(void *unused)
{
	static char page[4096];
	struct pollfd p = { uffd, POLLIN, 0 };
	struct uffd_msg msg;
	size_t done;

	memset(page, FRESH, sizeof(page));
	while (poll(&p, 1, -1) >= 0) {
		uintptr_t at;

		if (read(uffd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		at = msg.arg.pagefault.address & ~4095ul;
		if (at >= INVALID)
			abort_io();
		else if (msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR)
			uffd_continue(uffd, at, 4096, 0, &done);
		else
			uffd_copy(uffd, at, page, 4096, 0, &done);
	}
	return unused;
}

static void execute(int socket, pid_t client)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", client);
	if (socket == HMM_ENGINE_CTL_FD)
		fcntl(socket, F_SETFD, 0);
	else
		dup2(socket, HMM_ENGINE_CTL_FD);
	execl(program, program, "--client", pid, "--device", "0", "--bytes", "1048576", NULL);
	_exit(127);
}

/* 0, or why there is no engine. */
static int start(void)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(3 * sizeof(int))];
	} room;
	struct iovec iov = { &hello, sizeof(hello) };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = &room,
			    .msg_controllen = sizeof(room) };
	pid_t client = getpid();
	int pair[2], fds[3];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	engine_pid = fork();
	if (!engine_pid)
		execute(pair[1], client);
	close(pair[1]);
	control = pair[0];
	if (recvmsg(control, &m, MSG_CMSG_CLOEXEC) != sizeof(hello) || hello.error)
		return hello.error ? hello.error : -EPROTO;
	memcpy(fds, CMSG_DATA(&room.align), sizeof(fds));
	uffd = fds[2];
	shared = mmap(NULL, HMM_ENGINE_SHARED_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
	close(fds[0]);
	close(fds[1]);
	return shared == MAP_FAILED ? -ENOMEM : 0;
}

static bool alive(void)
{
	return !waitpid(engine_pid, NULL, WNOHANG);
}

#define LOST (-1000) /* no answer */

static int post(struct hmm_engine_mbox *m, uint32_t op, uint64_t at, uint64_t length)
{
	m->op = op;
	m->start = at;
	m->length = length;
	__atomic_store_n(&m->state, HMM_MBOX_REQUEST, __ATOMIC_RELEASE);
	os_futex_wake(&m->state, 1, true);
	for (int i = 0; i < 5000; i++) {
		os_futex_wait(&m->state, HMM_MBOX_REQUEST, 1000000, true);
		if (__atomic_load_n(&m->state, __ATOMIC_ACQUIRE) == HMM_MBOX_DONE)
			return m->result;
	}
	return LOST;
}

static int io(uint32_t op, uint64_t at, uint64_t length)
{
	return post(&shared->io, op, at, length);
}

static unsigned char *data(void)
{
	return (unsigned char *)shared + HMM_ENGINE_IO_OFFSET;
}

static int ask(const void *bytes, size_t size, unsigned int n_fds, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(8 * sizeof(int))];
	} room = { .align = { CMSG_LEN(n_fds * sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec iov = { (void *)(uintptr_t)bytes, size };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct hmm_engine_reply reply;

	for (unsigned int i = 0; i < n_fds; i++)
		memcpy(CMSG_DATA(&room.align) + i * sizeof(fd), &fd, sizeof(fd));
	if (n_fds) {
		m.msg_control = &room;
		m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
	}
	if (sendmsg(control, &m, MSG_NOSIGNAL) < 0 ||
	    recv(control, &reply, sizeof(reply), 0) != sizeof(reply))
		return LOST;
	return reply.result;
}

static int file_request(uint32_t op, uint64_t at, uint64_t length, uint64_t prot, int fd)
{
	struct hmm_engine_msg m = { HMM_ENGINE_MAGIC, op, at, length, 0, prot };

	return ask(&m, sizeof(m), fd >= 0, fd);
}

static int engine_mappings(void)
{
	char path[64];
	int n = 0, c;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", engine_pid);
	f = fopen(path, "r");
	while (f && (c = getc(f)) != EOF)
		n += c == '\n';
	if (f)
		fclose(f);
	return n;
}

static int engine_descriptors(void)
{
	char path[64];
	int n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", engine_pid);
	d = opendir(path);
	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

static void test_windows(void)
{
	static int in_data;
	void *heap = malloc(100);
	uintptr_t mine[] = { (uintptr_t)&mine,
			     (uintptr_t)&in_data,
			     (uintptr_t)&test_windows,
			     (uintptr_t)environ[0],
			     (uintptr_t)shared,
			     (uintptr_t)&printf,
			     (uintptr_t)heap,
			     0x10000,
			     0x7fffffffe000 };

	for (size_t i = 0; i < sizeof(mine) / sizeof(mine[0]); i++) {
		bool found = false;

		for (unsigned int w = 0; w < hello.n_windows; w++)
			found |= mine[i] >= hello.window[w].start && mine[i] < hello.window[w].end;
		CU_ASSERT(found);
	}
	free(heap);
}

static void test_access(void)
{
	for (int i = 0; i < 10000; i++)
		data()[i] = (unsigned char)(i * 3);
	CU_ASSERT_EQUAL(io(HMM_ENGINE_IO_WRITE, AT + 100, 10000), 10000);
	/* Without its page table entries, what was stored is still there. */
	CU_ASSERT_EQUAL(post(&shared->agent[0], HMM_ENGINE_ZAP, AT, 3 * 4096), 0);
	memset(data(), 0, 10000);
	CU_ASSERT_EQUAL(io(HMM_ENGINE_IO_READ, AT + 100, 10000), 10000);
	CU_ASSERT(data()[1] == 3 && data()[9999] == (unsigned char)(9999 * 3));
	CU_ASSERT_EQUAL(io(HMM_ENGINE_IO_READ, INVALID, 100), -EFAULT);
	CU_ASSERT_EQUAL(io(HMM_ENGINE_IO_READ, INVALID - 4096, 8192), 4096);
}

static void test_hostile_mailboxes(void)
{
	CU_ASSERT_EQUAL(io(HMM_ENGINE_IO_READ, AT, HMM_ENGINE_IO_BYTES + 1ul), -EINVAL);
	CU_ASSERT_EQUAL(io(99, AT, 1), -EINVAL);
	CU_ASSERT_EQUAL(io(HMM_ENGINE_IO_READ, 5, 10), -EFAULT);
	CU_ASSERT_EQUAL(io(HMM_ENGINE_IO_WRITE, ~0ul - 5, 10), -EFAULT);
	CU_ASSERT_EQUAL(post(&shared->agent[1], HMM_ENGINE_ZAP, 0, ~0ul), -EINVAL);
	CU_ASSERT_EQUAL(post(&shared->agent[1], HMM_ENGINE_ZAP, AT + 1, 4096), -EINVAL);
	CU_ASSERT_EQUAL(post(&shared->agent[1], HMM_ENGINE_QUIT, AT, 4096), -EINVAL);
	/* Aborts of what is over already. */
	for (int i = 0; i < 1000; i++) {
		abort_io();
		if (i % 3 == 0)
			CU_ASSERT_FATAL(io(HMM_ENGINE_IO_READ, AT, 10000) != LOST);
	}
	usleep(10000);
	CU_ASSERT(alive());
	io(HMM_ENGINE_IO_READ, AT, 1);
	CU_ASSERT_EQUAL(io(HMM_ENGINE_IO_READ, AT, 1), 1);
}

static void test_files(void)
{
	int fd = memfd_create("file", MFD_CLOEXEC), folder = open("/", O_RDONLY | O_CLOEXEC), n;
	uint64_t at = AT + (1 << 20);

	CU_ASSERT_EQUAL(pwrite(fd, "abc", 3, 0), 3);
	CU_ASSERT_EQUAL(file_request(HMM_ENGINE_MAP_FILE, at, 4096, PROT_READ, fd), 0);
	CU_ASSERT_EQUAL(io(HMM_ENGINE_IO_READ, at, 3), 3);
	CU_ASSERT(!memcmp(data(), "abc", 3));
	CU_ASSERT_EQUAL(file_request(HMM_ENGINE_UNMAP_FILE, at, 4096, 0, -1), 0);
	CU_ASSERT_EQUAL(io(HMM_ENGINE_IO_READ, at, 1), 1);
	CU_ASSERT_EQUAL(data()[0], FRESH);
	CU_ASSERT_EQUAL(file_request(HMM_ENGINE_MAP_FILE, at, 4096, PROT_READ, folder), -ENODEV);
	CU_ASSERT_EQUAL(io(HMM_ENGINE_IO_READ, at, 1), 1);
	/* The window grows together again: mappings are limited. */
	n = engine_mappings();
	for (uint64_t i = 0; i < 50; i++) {
		file_request(HMM_ENGINE_MAP_FILE, at + i * 16384, 4096, PROT_READ, fd);
		file_request(HMM_ENGINE_UNMAP_FILE, at + i * 16384, 4096, 0, -1);
	}
	CU_ASSERT_EQUAL(engine_mappings(), n);
	close(fd);
	close(folder);
}

static void test_hostile_messages(void)
{
	struct hmm_engine_msg m = { HMM_ENGINE_MAGIC, HMM_ENGINE_MAP_FILE, AT, 4096, 0, PROT_READ };
	unsigned char noise[64];
	int fd = memfd_create("file", MFD_CLOEXEC), before = engine_descriptors();

	for (unsigned int n = 2; n <= 8; n++)
		CU_ASSERT_EQUAL(ask(&m, sizeof(m), n, fd), -EINVAL);
	CU_ASSERT_EQUAL(ask(&m, sizeof(m) - 1, 1, fd), -EINVAL);
	srand(3);
	for (int i = 0; i < 20000; i++) {
		for (size_t n = 0; n < sizeof(noise); n++)
			noise[n] = (unsigned char)(rand() >> 7);
		if (i % 2)
			memcpy(noise, &m, 5);
		CU_ASSERT_FATAL(ask(noise, i % 3 ? sizeof(m) : (size_t)rand() % 64 + 1,
				    (unsigned int)rand() % 3, fd) != LOST);
	}
	CU_ASSERT_EQUAL(engine_descriptors(), before);
	CU_ASSERT(alive());
	close(fd);
}

/* Nothing of this program but the socket and the standard output streams. */
static void test_stands_alone(void)
{
	/* Its threads open theirs when they come to run. */
	for (int i = 0; i < 200 && engine_descriptors() != 2 + 8; i++)
		usleep(10000);
	CU_ASSERT_EQUAL(engine_descriptors(), 2 + 8);
	CU_ASSERT_EQUAL(getsid(engine_pid), engine_pid);
}

static bool ends(pid_t pid)
{
	struct pollfd p = { (int)syscall(SYS_pidfd_open, pid, 0), POLLIN, 0 };
	bool over = p.fd < 0 || poll(&p, 1, 5000) == 1;

	close(p.fd);
	return over;
}

/* With a kernel's thread stuck in a fault, and the socket open in a child. */
static void test_dies_with_client(void)
{
	int out[2], status;
	pid_t pids[2] = { -1, -1 }, client; /* engine, and who holds its socket */

	CU_ASSERT_EQUAL(pipe(out), 0);
	client = fork();
	if (!client) {
		if (start())
			_exit(1);
		pids[0] = engine_pid;
		pids[1] = fork();
		if (!pids[1]) {
			pause();
			_exit(0);
		}
		shared->io.op = HMM_ENGINE_IO_READ;
		shared->io.start = AT;
		shared->io.length = 1;
		__atomic_store_n(&shared->io.state, HMM_MBOX_REQUEST, __ATOMIC_RELEASE);
		os_futex_wake(&shared->io.state, 1, true);
		usleep(50000);
		if (write(out[1], pids, sizeof(pids)) == sizeof(pids))
			raise(SIGKILL);
		_exit(1);
	}
	waitpid(client, &status, 0);
	CU_ASSERT_FATAL(WIFSIGNALED(status));
	CU_ASSERT_EQUAL(read(out[0], pids, sizeof(pids)), sizeof(pids));
	CU_ASSERT(ends(pids[0]));
	kill(pids[1], SIGKILL);
	close(out[0]);
	close(out[1]);
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	{ "it can address what this program can", test_windows },
	{ "no descriptors, no terminal", test_stands_alone },
	{ "reads, writes, dropped entries, invalid addresses", test_access },
	{ "files", test_files },
	{ "hostile mailboxes", test_hostile_mailboxes },
	{ "hostile messages", test_hostile_messages },
	{ "it dies with its client", test_dies_with_client },
};

/* With the addresses of a program under a debugger, or with those of an old one. */
static void lay_out(const char *how, char **argv)
{
	unsigned long want = strcmp(how, "fixed") ? ADDR_COMPAT_LAYOUT : ADDR_NO_RANDOMIZE;
	int now = personality(0xffffffff);

	if (now != -1 && (unsigned long)now & want)
		return;
	if (now == -1 || personality((unsigned long)now | want) == -1) {
		printf("skipped: no choice of layout here\n");
		exit(77);
	}
	execv("/proc/self/exe", argv);
	exit(1);
}

int main(int argc, char **argv)
{
	int inherited[2], err;
	unsigned int failures;
	pthread_t thread;
	CU_pSuite s;

	program = argc > 1 ? argv[1] : "hmm-engine";
	if (argc > 2)
		lay_out(argv[2], argv);
	if (pipe(inherited))
		return 1;
	err = start();
	if (err == -EPERM || err == -ENOSYS || err == -EOPNOTSUPP) {
		printf("skipped: no userfaultfd here (%s)\n", strerror(-err));
		return 77;
	}
	if (err || pthread_create(&thread, NULL, pager, NULL) || CU_initialize_registry()) {
		printf("%s does not start: %s\n", program, strerror(-err));
		return 1;
	}
	s = CU_add_suite("engine", NULL, NULL);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		CU_add_test(s, tests[i].name, tests[i].run);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	kill(engine_pid, SIGKILL);
	waitpid(engine_pid, NULL, 0);
	return failures ? 1 : 0;
}

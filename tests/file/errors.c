// SPDX-License-Identifier: MIT
/*
 * errors [FOLDER]: a file that cannot be read or made durable. A seccomp(2) filter lets a thread
 * of ours answer for the kernel. Status 77 where that is not to be had.
 */
#include "check.h"

#include <hmm/hmm.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096ul
#define PAGES 64ul

static _Atomic int listener = -1;
static _Atomic int failing; /* system call that fails with EIO, on descriptors of @path */
static _Atomic int failures;
static char path[300], full[600];
static sigjmp_buf out;

static bool is_ours(int fd)
{
	char link[64], name[600] = { 0 };

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return readlink(link, name, sizeof(name) - 1) > 0 && !strcmp(name, full);
}

static void *answer(void *unused)
{
	while (atomic_load(&listener) == -1)
		usleep(1000);
	while (atomic_load(&listener) >= 0) {
		struct seccomp_notif q = { 0 };
		struct seccomp_notif_resp r = { 0 };

		if (ioctl(atomic_load(&listener), SECCOMP_IOCTL_NOTIF_RECV, &q))
			continue;
		r.id = q.id;
		if (q.data.nr == atomic_load(&failing) && is_ours((int)q.data.args[0])) {
			r.error = -EIO;
			atomic_fetch_add(&failures, 1);
		} else {
			r.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		}
		ioctl(atomic_load(&listener), SECCOMP_IOCTL_NOTIF_SEND, &r);
	}
	return unused;
}

/* For this thread and those that it starts. */
static bool install(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fdatasync, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pread64, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };
	pthread_t thread;
	int fd;

	pthread_create(&thread, NULL, answer, NULL);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
			  &program);
	atomic_store(&listener, fd < 0 ? -2 : fd);
	return fd >= 0;
}

static void on_signal(int sig)
{
	siglongjmp(out, sig);
}

/* The signal that a load ends with, or 0. */
static int touch(const volatile char *p)
{
	struct sigaction sa = { .sa_handler = on_signal }, old;
	int sig;

	sigaction(SIGBUS, &sa, &old);
	sig = sigsetjmp(out, 1);
	if (!sig)
		(void)*p;
	sigaction(SIGBUS, &old, NULL);
	return sig;
}

static bool is_dirty(struct hmm *h, char *p)
{
	struct hmm_page_status s = { 0 };

	CHECK(hmm_query(h, p, 1, &s) == 1);
	return s.flags & HMM_PAGE_DIRTY;
}

/* The kernel has lost what it was given, and says so once: all of it must be given again. */
static void lost_writes(struct hmm *h, char *p, int fd)
{
	char c = 0;

	CHECK(hmm_device_write(h, 0, p + PAGE, "D", 1) == 1);
	p[2 * PAGE] = 'C';
	atomic_store(&failing, SYS_fdatasync);
	CHECK(hmm_sync(h, p, PAGES * PAGE, 0) == -EIO);
	CHECK(hmm_sync(h, p + 9 * PAGE, PAGE, 0) == -EIO);
	CHECK(is_dirty(h, p + PAGE) && is_dirty(h, p + 2 * PAGE));
	CHECK(pwrite(fd, "xx", 1, PAGE) == 1 && pwrite(fd, "xx", 1, 2 * PAGE) == 1);
	atomic_store(&failing, 0);
	CHECK(!hmm_sync(h, p, PAGES * PAGE, 0));
	CHECK(!is_dirty(h, p + PAGE) && !is_dirty(h, p + 2 * PAGE));
	CHECK(pread(fd, &c, 1, PAGE) == 1 && c == 'D');
	CHECK(pread(fd, &c, 1, 2 * PAGE) == 1 && c == 'C');
}

static void unreadable(struct hmm *h, char *p)
{
	char c;

	atomic_store(&failing, SYS_pread64);
	CHECK(touch(p + 40 * PAGE) == SIGBUS);
	CHECK(hmm_device_read(h, 0, p + 41 * PAGE, &c, 1) == -EFAULT);
	CHECK(!touch(p + PAGE)); /* what was read is there */
	atomic_store(&failing, 0);
	CHECK(hmm_device_read(h, 0, p + 40 * PAGE, &c, 1) == 1 && c == 0);
	CHECK(!madvise(p + 40 * PAGE, PAGE, MADV_DONTNEED));
	CHECK(!touch(p + 40 * PAGE));
	CHECK(hmm_device_read(h, 0, p + 41 * PAGE, &c, 1) == 1 && c == 0);
	p[40 * PAGE] = 'R';
	CHECK(is_dirty(h, p + 40 * PAGE));
}

int main(int argc, char **argv)
{
	struct hmm_open_opts o = { .sz = sizeof(o), .backend = "emulated" };
	struct hmm *h;
	void *p;
	int fd;

	snprintf(path, sizeof(path), "%s/errors-%d", argc > 1 ? argv[1] : ".", (int)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && !ftruncate(fd, (off_t)(PAGES * PAGE)) && realpath(path, full));
	if (!install()) {
		printf("skipped: no seccomp(2) with answers\n");
		unlink(path);
		return 77;
	}
	CHECK(!hmm_open(&h, &o));
	CHECK(!hmm_map_file(h, fd, 0, PAGES * PAGE, PROT_READ | PROT_WRITE, 0, &p));
	lost_writes(h, p, fd);
	unreadable(h, p);
	CHECK(!hmm_unmap(h, p, PAGES * PAGE));
	hmm_close(h);
	unlink(path);
	printf("%d system calls failed, and were made good\n", (int)failures);
	return failures > 2 ? 0 : 1;
}

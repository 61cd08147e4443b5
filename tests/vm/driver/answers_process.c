// SPDX-License-Identifier: MIT
/* Other threads and processes: futexes, access to another's memory, debuggers, core dumps. */
#include "answers.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 16

static long futex(uint32_t *word, int op, uint32_t value)
{
	return syscall(SYS_futex, word, op, value, NULL, NULL, 0) < 0 ? -errno : 0;
}

/* One is woken, sooner or later. */
static bool wake(uint32_t *word, int flags)
{
	for (int i = 0; i < patient(5000); i++) {
		if (syscall(SYS_futex, word, FUTEX_WAKE | flags, 1, NULL, NULL, 0) == 1)
			return true;
		usleep(1000);
	}
	return false;
}

struct waiter {
	uint32_t *word;
	int flags;
	long result;
};

static void *wait_for(void *arg)
{
	struct waiter *w = arg;

	w->result = futex(w->word, FUTEX_WAIT | w->flags, 0);
	return NULL;
}

/* The page goes to the device while somebody waits. */
static void wait_and_wake(int flags)
{
	char *p = map(1);
	struct waiter w = { .word = (uint32_t *)(p + 128), .flags = flags };
	pthread_t t;

	*w.word = 0;
	CU_ASSERT_EQUAL(migrate(p, PAGE, 0), 1);
	pthread_create(&t, NULL, wait_for, &w);
	usleep(20000);
	CU_ASSERT_EQUAL(migrate(p, PAGE, 0), 1);
	CU_ASSERT(wake(w.word, flags));
	pthread_join(t, NULL);
	CU_ASSERT_EQUAL(w.result, 0);
	unmap(p, 1);
}

static void futex_threads(void)
{
	wait_and_wake(FUTEX_PRIVATE_FLAG);
	wait_and_wake(0);
}

static int act_wait(int client, char *p)
{
	(void)client;
	return futex((uint32_t *)p, FUTEX_WAIT, 0) != 0;
}

static void futex_processes(void)
{
	char *p = map(1);
	struct other o;

	if (!hmmfs_folder) {
		skipped("between processes", "private memory is not shared");
		unmap(p, 1);
		return;
	}
	CU_ASSERT_EQUAL(migrate(p, PAGE, 0), 1);
	other_start(&o, act_wait, p);
	other_go(&o);
	usleep(20000);
	CU_ASSERT_EQUAL(migrate(p, PAGE, 0), 1);
	CU_ASSERT(wake((uint32_t *)p, 0));
	CU_ASSERT_EQUAL(other_wait(&o), 0);
	unmap(p, 1);
}

/* What the device stored is what the futex compares. */
static void futex_device(void)
{
	char *p = map(1);
	uint64_t value = 1;
	struct engine e;

	CU_ASSERT_EQUAL_FATAL(engine_start(&e, 0, p, PAGE), 0);
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_STORE, p, 1, &value), 0);
	CU_ASSERT_EQUAL(where(p), 0);
	CU_ASSERT_EQUAL(futex((uint32_t *)p, FUTEX_WAIT, 0), -EAGAIN);
	engine_end(&e);
	unmap(p, 1);
}

static char copy[PAGES * PAGE];

static int act_copy(int client, char *p)
{
	struct iovec here = { copy, sizeof(copy) }, there = { p, sizeof(copy) };

	if (process_vm_readv(client, &here, 1, &there, 1, 0) != (ssize_t)sizeof(copy))
		return 1;
	if (!intact(copy, PAGES))
		return 2;
	copy[5 * PAGE + 1] = 77;
	return process_vm_writev(client, &here, 1, &there, 1, 0) == (ssize_t)sizeof(copy) ? 0 : 3;
}

static void process_vm(void)
{
	char *p = map(PAGES), was;
	struct other o;

	other_start(&o, act_copy, p);
	fill(p, PAGES);
	other_go(&o);
	CU_ASSERT_EQUAL(other_wait(&o), 0);
	was = (char)(5 * 31 + 5 * PAGE / 64 + 1);
	CU_ASSERT_EQUAL(p[5 * PAGE + 1], 77);
	p[5 * PAGE + 1] = was;
	CU_ASSERT(intact(p, PAGES));
	unmap(p, PAGES);
}

static int act_debug(int client, char *p)
{
	long word, want = 0;
	int status;

	for (int i = 0; i < 8; i++)
		copy[i] = (char)(3 * 31 + 3 * PAGE / 64 + 1);
	memcpy(&want, copy, sizeof(want));
	if (ptrace(PTRACE_ATTACH, client, NULL, NULL) || waitpid(client, &status, 0) != client)
		return 1;
	errno = 0;
	word = ptrace(PTRACE_PEEKDATA, client, p + 3 * PAGE, NULL);
	if (errno || word != want ||
	    ptrace(PTRACE_POKEDATA, client, p + 4 * PAGE, (void *)0x1234567890abcdefl))
		return 2;
	return ptrace(PTRACE_DETACH, client, NULL, NULL) ? 3 : 0;
}

static void debugger(void)
{
	char *p = map(PAGES);
	struct other o;

	other_start(&o, act_debug, p);
	fill(p, PAGES);
	other_go(&o);
	CU_ASSERT_EQUAL(other_wait(&o), 0);
	CU_ASSERT_EQUAL(*(long *)(p + 4 * PAGE), 0x1234567890abcdefl);
	CU_ASSERT(intact(p, 4));
	unmap(p, PAGES);
}

static bool write_to(const char *name, const char *what)
{
	int fd = open(name, O_WRONLY);
	bool ok = fd >= 0 && write(fd, what, strlen(what)) == (ssize_t)strlen(what);

	close(fd);
	return ok;
}

/* Where in the core file the memory at @p is. */
static off_t in_core(int fd, const char *p)
{
	Elf64_Ehdr head;
	Elf64_Phdr part;

	if (pread(fd, &head, sizeof(head), 0) != sizeof(head))
		return -1;
	for (int i = 0; i < head.e_phnum; i++) {
		off_t at = (off_t)(head.e_phoff + i * sizeof(part));

		if (pread(fd, &part, sizeof(part), at) == sizeof(part) && part.p_type == PT_LOAD &&
		    part.p_vaddr <= (uintptr_t)p && (uintptr_t)p < part.p_vaddr + part.p_filesz)
			return (off_t)(part.p_offset + ((uintptr_t)p - part.p_vaddr));
	}
	return -1;
}

static void dies(char *p)
{
	struct rlimit most = { RLIM_INFINITY, RLIM_INFINITY };

	if (client_open() || setrlimit(RLIMIT_CORE, &most) ||
	    !write_to("/proc/self/coredump_filter", "0x7f"))
		_exit(1);
	fill(p, PAGES);
	if (!all_at(p, PAGES, 0))
		_exit(2);
	abort();
}

static void core_dump(void)
{
	static const char name[] = "/tmp/answers.core";
	char *p = map(PAGES);
	int status, fd;
	off_t at;
	pid_t pid;

	CU_ASSERT_FATAL(write_to("/proc/sys/kernel/core_uses_pid", "0"));
	CU_ASSERT_FATAL(write_to("/proc/sys/kernel/core_pattern", name));
	pid = fork();
	if (!pid)
		dies(p);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	CU_ASSERT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && WCOREDUMP(status));
	fd = open(name, O_RDONLY);
	at = in_core(fd, p);
	CU_ASSERT(at > 0 && pread(fd, copy, sizeof(copy), at) == (ssize_t)sizeof(copy));
	CU_ASSERT(intact(copy, PAGES));
	close(fd);
	unlink(name);
	unmap(p, PAGES);
}

void add_process_tests(CU_pSuite s)
{
	CU_add_test(s, "a futex: threads", futex_threads);
	CU_add_test(s, "a futex: processes", futex_processes);
	CU_add_test(s, "a futex: the device's value", futex_device);
	CU_add_test(s, "process_vm_readv, process_vm_writev", process_vm);
	CU_add_test(s, "a debugger peeks and pokes", debugger);
	CU_add_test(s, "a core dump", core_dump);
}

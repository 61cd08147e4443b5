// SPDX-License-Identifier: MIT
/*
 * The .data of programs and libraries is a private mapping of a file, which
 * userfaultfd does not take. It becomes an anonymous copy at the same address.
 *
 * No store may be lost meanwhile: the mapping is made read-only first, so another
 * thread's store faults, waits in our SIGSEGV handler until the copy is in place, and
 * then is made again. The copy is put in place by one mremap(), which no load can see
 * half-done. (A system call of another thread that writes there in these few
 * microseconds gets -EFAULT; at the first hmm_open() most programs have one thread,
 * and what is mapped then is converted then.)
 */
#include "emulated/emu.h"
#include "os/arena.h"
#include "os/self.h"
#include "os/sys.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define EAGER_BYTES (16ul << 20) /* larger ones are converted when they are touched */
#define GRACE_NS 20000000u       /* a fault just before the swap is delivered within this */

static struct {
	volatile uintptr_t start, end; /* being converted */
	uint32_t busy;                 /* futex */
	struct sigaction old;
} guard;

/* The store that faulted can be made again: its page is writable by now. */
static bool over_already(uintptr_t addr)
{
	struct os_vma v;

	return !os_vma_find(addr, &v) && v.start <= addr && v.write;
}

static void on_segv(int sig, siginfo_t *info, void *context)
{
	uintptr_t addr = (uintptr_t)info->si_addr;

	if (addr >= guard.start && addr < guard.end) {
		while (__atomic_load_n(&guard.busy, __ATOMIC_ACQUIRE))
			os_futex_wait(&guard.busy, 1, 1000000, false);
		return;
	}
	if (info->si_code == SEGV_ACCERR && over_already(addr))
		return;
	if (guard.old.sa_flags & SA_SIGINFO) {
		guard.old.sa_sigaction(sig, info, context);
	} else if (guard.old.sa_handler != SIG_DFL && guard.old.sa_handler != SIG_IGN) {
		guard.old.sa_handler(sig);
	} else {
		/* Not ours: fault again without a handler. */
		sigaction(SIGSEGV, &guard.old, NULL);
	}
}

static void guard_begin(void)
{
	struct sigaction sa = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_NODEFER };

	os_mutex_lock(&emu.guard_lock);
	sigaction(SIGSEGV, &sa, &guard.old);
}

static void guard_end(void)
{
	struct stat st;

	/* /proc/self/task has a link for each thread, beside its own two. */
	if (stat("/proc/self/task", &st) || st.st_nlink > 3)
		os_sleep_ns(GRACE_NS);
	sigaction(SIGSEGV, &guard.old, NULL);
	os_mutex_unlock(&emu.guard_lock);
}

/* By system call: past the end of its file a mapping gives an error here, not SIGBUS. */
static int copy_mapping(uintptr_t to, uintptr_t from, size_t len)
{
	struct iovec dst = { (void *)to, len }, src = { (void *)from, len };
	long got = os_syscall6(SYS_process_vm_readv, os_getpid(), (long)&dst, 1, (long)&src, 1, 0);

	return got == (long)len ? 0 : got < 0 ? (int)got : -EFAULT;
}

static int swap_in_copy(const struct os_vma *v)
{
	size_t len = v->end - v->start;
	int prot = PROT_READ | (v->exec ? PROT_EXEC : 0);
	uintptr_t copy = os_mmap(0, len, PROT_READ | PROT_WRITE | (prot & PROT_EXEC),
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uintptr_t placed;
	int err;

	if (os_is_error(copy))
		return -ENOMEM;
	err = (int)os_syscall3(SYS_mprotect, v->start, len, prot);
	if (!err) {
		err = copy_mapping(copy, v->start, len);
	}
	if (err) {
		os_syscall3(SYS_mprotect, v->start, len, prot | PROT_WRITE);
	} else {
		placed = (uintptr_t)os_syscall5(SYS_mremap, copy, len, len,
						MREMAP_MAYMOVE | MREMAP_FIXED, v->start);
		if (os_is_error(placed)) {
			err = -ENOMEM;
			os_syscall3(SYS_mprotect, v->start, len, prot | PROT_WRITE);
		}
	}
	if (err)
		os_munmap((void *)copy, len);
	return err;
}

/* Locking: between guard_begin() and guard_end(). */
static int convert(const struct os_vma *vma)
{
	struct os_vma now;
	int err;

	if (os_self_contains(vma->start, vma->end))
		return -EOPNOTSUPP;
	/* Another thread may have done it, or unmapped it, meanwhile. */
	err = os_vma_find(vma->start, &now);
	if (err || now.kind != OS_VMA_FILE_PRIVATE || now.start != vma->start || !now.write)
		return 0;
	guard.start = vma->start;
	guard.end = vma->end;
	__atomic_store_n(&guard.busy, 1, __ATOMIC_RELEASE);
	err = swap_in_copy(&now);
	__atomic_store_n(&guard.busy, 0, __ATOMIC_RELEASE);
	os_futex_wake(&guard.busy, 1 << 30, false);
	guard.start = guard.end = 0;
	if (err)
		hmm_log(HMM_LOG_WARN, "%s at %lx stays a file mapping (%d)", vma->path, vma->start,
			err);
	return err;
}

int emu_make_anonymous(const struct os_vma *vma)
{
	int err;

	guard_begin();
	err = convert(vma);
	guard_end();
	return err;
}

void emu_make_all_anonymous(void)
{
	struct os_vma *v = os_alloc(sizeof(*v));
	uintptr_t at = 0;

	guard_begin();
	while (v && !os_vma_find(at, v)) {
		if (v->kind == OS_VMA_FILE_PRIVATE && v->write && v->end - v->start <= EAGER_BYTES)
			convert(v);
		at = v->end;
	}
	guard_end();
	os_free(v, sizeof(*v));
}

// SPDX-License-Identifier: MIT
#include "os/enter.h"
#include "os/arena.h"
#include "os/lock.h"
#include "os/rseq.h"
#include "os/sys.h"

#include <errno.h>
#include <signal.h>

#define STACK_BYTES (64u << 10)
#define KERNEL_SIGSET 8 /* bytes of a sigset_t, as the kernel sees it */

struct stack {
	struct stack *next;
};

static struct os_mutex pool_lock;
static struct stack *pool;

long os_call_on_stack(long (*fn)(void *), void *arg, void *top);

#if defined(__x86_64__)
__asm__(".text\n.hidden os_call_on_stack\n.globl os_call_on_stack\n"
	".type os_call_on_stack, @function\n"
	"os_call_on_stack:\n"
	"	.cfi_startproc\n"
	"	push %rbp\n"
	"	.cfi_def_cfa_offset 16\n"
	"	.cfi_offset %rbp, -16\n"
	"	mov %rsp, %rbp\n"
	"	.cfi_def_cfa_register %rbp\n"
	"	mov %rdx, %rsp\n"
	"	mov %rdi, %rax\n"
	"	mov %rsi, %rdi\n"
	"	call *%rax\n"
	"	mov %rbp, %rsp\n"
	"	pop %rbp\n"
	"	.cfi_def_cfa %rsp, 8\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size os_call_on_stack, .-os_call_on_stack\n");
#else
__asm__(".text\n.hidden os_call_on_stack\n.globl os_call_on_stack\n"
	".type os_call_on_stack, %function\n"
	"os_call_on_stack:\n"
	"	.cfi_startproc\n"
	"	stp x29, x30, [sp, #-16]!\n"
	"	.cfi_def_cfa_offset 16\n"
	"	.cfi_offset 29, -16\n"
	"	.cfi_offset 30, -8\n"
	"	mov x29, sp\n"
	"	.cfi_def_cfa_register 29\n"
	"	mov x9, x0\n"
	"	mov x0, x1\n"
	"	mov sp, x2\n"
	"	blr x9\n"
	"	mov sp, x29\n"
	"	ldp x29, x30, [sp], #16\n"
	"	.cfi_def_cfa 31, 0\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size os_call_on_stack, .-os_call_on_stack\n");
#endif

static struct stack *stack_get(void)
{
	struct stack *s;

	os_mutex_lock(&pool_lock);
	s = pool;
	if (s)
		pool = s->next;
	os_mutex_unlock(&pool_lock);
	return s ? s : os_alloc(STACK_BYTES);
}

static void stack_put(struct stack *s)
{
	os_mutex_lock(&pool_lock);
	s->next = pool;
	pool = s;
	os_mutex_unlock(&pool_lock);
}

long os_enter(long (*fn)(void *), void *args, size_t size)
{
	uint64_t all = ~0ull, old = 0;
	struct stack *s;
	char *copy;
	long ret;
	bool left;

	os_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old, KERNEL_SIGSET);
	left = os_rseq_leave();
	s = stack_get();
	if (!s) {
		ret = -ENOMEM;
		goto out;
	}
	/* The pool's link stands at the low end; the copy at the high end. */
	copy = (char *)s + STACK_BYTES - ((size + 63) & ~(size_t)63);
	os_copy(copy, args, size);
	ret = os_call_on_stack(fn, copy, copy - 64);
	os_copy(args, copy, size);
	stack_put(s);
out:
	if (left)
		os_rseq_rejoin();
	os_syscall4(SYS_rt_sigprocmask, SIG_SETMASK, &old, NULL, KERNEL_SIGSET);
	return ret;
}

void os_enter_forget(void)
{
	pool = NULL;
	pool_lock = (struct os_mutex){ 0 };
}

// SPDX-License-Identifier: MIT
#include "os/rseq.h"
#include "os/sys.h"

#include <errno.h>
#include <stddef.h>

#if defined(__x86_64__)
#define SIGNATURE 0x53053053u
#else
#define SIGNATURE 0xd428bc00u
#endif
#define UNREGISTER 1
#define FIRST_SIZE 32u /* what the kernel began with; it is larger where it knows of more */

extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

/* Copies: those are glibc's data, which can be away. 0: nothing to do. */
static unsigned int size;
static ptrdiff_t offset;

static long change(unsigned int flags)
{
	char *area = (char *)__builtin_thread_pointer() + offset;

	return os_syscall4(SYS_rseq, area, size, flags, SIGNATURE);
}

void os_rseq_away(bool away)
{
	unsigned int largest;

	size = 0;
	if (!away || !&__rseq_size || !__rseq_size)
		return;
	offset = __rseq_offset;
	/* The kernel wants the size that glibc gave it, and __rseq_size may tell less. */
	largest = (__rseq_size + FIRST_SIZE - 1) & ~(FIRST_SIZE - 1);
	for (size = FIRST_SIZE; size <= largest; size += FIRST_SIZE)
		if (!change(UNREGISTER)) {
			change(0);
			return;
		}
	size = 0;
}

bool os_rseq_leave(void)
{
	return size && !change(UNREGISTER);
}

void os_rseq_rejoin(void)
{
	change(0);
}

/* SPDX-License-Identifier: MIT */
#ifndef HMM_OS_ENTER_H
#define HMM_OS_ENTER_H

#include <stddef.h>

/*
 * Run @fn on a stack of the runtime's, with every signal blocked, and without rseq(2).
 *
 * A thread that holds a runtime lock must not touch migratable memory: the fault
 * could need that lock. Its own stack, its signal handlers' data and its descriptor
 * (os/rseq.h) are migratable, so public calls do their locked work in here. @args is copied to the
 * private stack and back, and @fn gets the copy.
 *
 * Return: what @fn returns, or -ENOMEM when no stack could be had.
 */
long os_enter(long (*fn)(void *args), void *args, size_t size);

/* In a forked child: the pool belonged to the old arena. */
void os_enter_forget(void);

#endif /* HMM_OS_ENTER_H */

/* SPDX-License-Identifier: MIT */
#ifndef HMM_OS_THREAD_H
#define HMM_OS_THREAD_H

/*
 * A thread on a stack of the runtime's, which with its thread local storage never
 * migrates; with every signal blocked: the application's are not for it. 0, and @fn has begun, or
 * -errno.
 */
int os_thread_start(unsigned long *thread, void (*fn)(void *), void *arg);
void os_thread_join(unsigned long thread);

/* In a forked child: the parent's threads are not there. */
void os_thread_forget(void);

#endif /* HMM_OS_THREAD_H */

/* SPDX-License-Identifier: MIT */
/*
 * The smallest user-mode-only pager: a region whose pages can be sent away, and come
 * back with their bytes when user mode touches them.
 */
#ifndef HMM_TESTS_IO_PAGER_H
#define HMM_TESTS_IO_PAGER_H

#include <stddef.h>

#define PAGER_PAGES 16
#define PAGER_BYTES ((size_t)PAGER_PAGES * 4096)

/* 0, or -errno: -EPERM and -ENOSYS mean that the machine has no userfaultfd. */
int pager_start(void);
void pager_stop(void);

/* The region; all of it is readable and writable. */
char *pager_region(void);

/* Send every page away; from here the kernel cannot touch them. */
void pager_send_away(void);

/* How many faults were served since pager_start(). */
unsigned long pager_faults(void);

#endif /* HMM_TESTS_IO_PAGER_H */

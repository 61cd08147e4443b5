/* SPDX-License-Identifier: MIT */
/*
 * Others' ways to bring a page in when the CPU touches it, written in the obvious way: what
 * libhmm's faults are compared with. Each serves one range from a store beside it.
 */
#ifndef HMM_BENCH_PAGERS_H
#define HMM_BENCH_PAGERS_H

#include <stddef.h>

/*
 * One userfaultfd handler pinned to each CPU, as libhmm has; a fault takes the page's write
 * access from a peer process that maps the store, too, and copies the page. The least that a
 * correct runtime does on a fault. To be started before libhmm: it forks.
 */
struct fenced_pager;
struct fenced_pager *fenced_pager_start(size_t bytes);
char *fenced_pager_range(struct fenced_pager *p);
void fenced_pager_reset(struct fenced_pager *p); /* every page is away again */

/* One userfaultfd thread anywhere, a page a fault, no peer. */
struct plain_pager;
struct plain_pager *plain_pager_start(size_t bytes);
char *plain_pager_range(struct plain_pager *p);
void plain_pager_reset(struct plain_pager *p);

/* SIGSEGV, mprotect(), memcpy(): what programs did before userfaultfd. One at a time. */
void segv_pager_start(size_t bytes);
char *segv_pager_range(void);
void segv_pager_reset(void);

#endif /* HMM_BENCH_PAGERS_H */

/* SPDX-License-Identifier: MIT */
/* What the tests of libhmm_io share: pages that are away, a pattern, libc's own functions. */
#ifndef HMM_TESTS_IO_IO_H
#define HMM_TESTS_IO_IO_H

#include <dlfcn.h>
#include <stdbool.h>

#include "io/pager.h"

#define LENGTH ((size_t)3 * 4096 + 100) /* of a transfer: several pages, odd ends */
#define START 2000

extern void *libc_handle;
extern int file; /* of PAGER_BYTES */
extern char pattern[PAGER_BYTES];

/* libc's function itself, past the interposer. */
#define PLAIN(name) ((__typeof__(&name))dlsym(libc_handle, #name))
#define FAULTS(call) (errno = 0, (call) == -1 && errno == EFAULT)

/* The middle of the region, away, with @pattern in it or zeros. */
char *away(bool filled);
bool has_pattern(const char *p, size_t n);

/* test_sockets.c */
void send_pattern(int fd, size_t n);
void test_recv(void);
void test_datagram(void);
void test_send(void);
void test_messages(void);
void test_control_message(void);

#endif /* HMM_TESTS_IO_IO_H */

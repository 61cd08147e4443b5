/* SPDX-License-Identifier: MIT */
/* Of one test program: files, what is in them, and where their pages are. */
#ifndef HMM_TESTS_FILE_MAPPING_H
#define HMM_TESTS_FILE_MAPPING_H

#include <hmm/hmm.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/types.h>

#define PAGE 4096ul
#define MIB (1ul << 20)
#define BOTH (PROT_READ | PROT_WRITE)

extern struct hmm *h;  /* with two devices of 8 MiB */
extern char path[300]; /* of the last file that was made */

/* A file of @bytes, each @value. */
int make_file(size_t bytes, int value);
char *map(int fd, off_t offset, size_t bytes, int prot);
char byte_of(int fd, size_t at);
long size_of(int fd);
struct hmm_page_status status_of(const void *p);
/* The signal that a load ends with, or 0. */
int touch(const volatile char *p);

/* mapping_sizes.c */
void test_sizes(void);
void test_grown_and_unmapped(void);
void test_truncated_while_written(void);
void test_truncated_while_read(void);
void test_read_ahead(void);
void test_oversubscribed(void);
void test_counted(void);
void test_many_files(void);

#endif /* HMM_TESTS_FILE_MAPPING_H */

/* SPDX-License-Identifier: MIT */
/* Parts of driver_file: hmmfs is mounted on @upper and stands on @lower. */
#ifndef HMM_TESTS_VM_FILE_H
#define HMM_TESTS_VM_FILE_H

#include "engine.h"

#include <sys/types.h>

extern const char *upper, *lower;

const char *path(const char *folder, const char *name); /* good for the next three calls, too */
/* A file of @pages, each byte of a page its number plus one; a descriptor. */
int make_file(const char *name, size_t pages);
char *map_file(int fd, size_t pages);
/* One byte of the lower file, past its page cache's mapping of ours; -1: there is none. */
int lower_byte(const char *name, off_t at);
void drop_caches(void);

/* Suites. */
void file_names(void);
void file_holes(void);
void file_owners(void);
void file_held(void);

#endif /* HMM_TESTS_VM_FILE_H */

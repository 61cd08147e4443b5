/* SPDX-License-Identifier: MIT */
#ifndef HMM_TOOLS_HMMCTL_H
#define HMM_TOOLS_HMMCTL_H

#include <core/inspect_proto.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Commands; each gets its own arguments and returns the exit status of hmmctl. */
int hmmctl_run(char **argv); /* PROGRAM ARGS */
int hmmctl_stat(int argc, char **argv);
int hmmctl_map(int argc, char **argv);
int hmmctl_trace(int argc, char **argv);

/* Wrong usage: says why, and returns 2. */
int hmmctl_misused(const char *why, const char *what);
/* A whole number from @min to @max at @text, all of it. */
bool hmmctl_number(const char *text, long min, long max, long *value);

/*
 * program.c. platform: the environment of a program that is to find the HMM platform, and it
 * alone. program: starts it, passes signals on, waits; 126 or 127 when it does not start.
 * Each returns 0 or, having said why, an exit status.
 */
int hmmctl_platform(void);
int hmmctl_program(char **argv, int *status);
int hmmctl_end_as(int status);
int hmmctl_temporary(char *path, size_t size);

/*
 * ask.c: the process @pid. open: a descriptor, or -1, having said why not. The others: 0, or -1
 * with errno: EAGAIN, it takes too long; else it has ended, or closed its devices.
 */
int hmmctl_ask_open(int pid);
int hmmctl_ask_stats(int fd, struct hmm_inspect_stats *stats);
int hmmctl_ask_map(int fd, uint64_t start, uint32_t pages, struct hmm_inspect_map *map);

#endif /* HMM_TOOLS_HMMCTL_H */

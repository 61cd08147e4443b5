/* SPDX-License-Identifier: MIT */
#ifndef HMM_OS_LOG_H
#define HMM_OS_LOG_H

#include <stdarg.h>

enum hmm_log_level { HMM_LOG_ERROR, HMM_LOG_WARN, HMM_LOG_INFO, HMM_LOG_DEBUG };

/* Reads HMM_LOG; before the first line is written. */
void hmm_log_init(void);

/*
 * One line to standard error, by one write, without libc: usable on the fault
 * path. Knows %s %d %u %x %lx %lu %ld %zu %p.
 */
void hmm_log(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void hmm_vlog(int level, const char *fmt, va_list ap);

#endif /* HMM_OS_LOG_H */

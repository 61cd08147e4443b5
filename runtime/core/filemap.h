/* SPDX-License-Identifier: MIT */
/* What hmm_map_file() has mapped in this process, by address. */
#ifndef HMM_CORE_FILEMAP_H
#define HMM_CORE_FILEMAP_H

#include <stdbool.h>
#include <stdint.h>

/* 0 or -ENOMEM. The range replaces what it covers of older ones. */
int hmm_filemap_add(uintptr_t start, uintptr_t end);
/* Is all of the range mapped? */
bool hmm_filemap_covers(uintptr_t start, uintptr_t end);
/* 0 or -ENOMEM: a mapping that is cut in two needs another entry. */
int hmm_filemap_remove(uintptr_t start, uintptr_t end);
/* In a forked child: it has the mappings, but not the handle. */
void hmm_filemap_forget(void);

#endif /* HMM_CORE_FILEMAP_H */

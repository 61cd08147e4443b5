/* SPDX-License-Identifier: MIT */
#ifndef HMM_OS_SELF_H
#define HMM_OS_SELF_H

#include <stdbool.h>
#include <stdint.h>

/* Where this library's own image lies; its data is what the fault path stands on. */
void os_self_init(void);
bool os_self_contains(uintptr_t start, uintptr_t end); /* overlaps? */

#endif /* HMM_OS_SELF_H */

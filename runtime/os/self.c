// SPDX-License-Identifier: MIT
#include "os/self.h"

#include <link.h>
#include <stddef.h>

static uintptr_t first = UINTPTR_MAX, last;

static int note_image(struct dl_phdr_info *info, size_t size, void *arg)
{
	uintptr_t me = (uintptr_t)&first, low = UINTPTR_MAX, high = 0;

	(void)size, (void)arg;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + p->p_vaddr;

		if (p->p_type != PT_LOAD)
			continue;
		low = start < low ? start : low;
		high = start + p->p_memsz > high ? start + p->p_memsz : high;
	}
	if (me < low || me >= high)
		return 0;
	first = low & ~(uintptr_t)4095;
	last = (high + 4095) & ~(uintptr_t)4095;
	return 1;
}

void os_self_init(void)
{
	dl_iterate_phdr(note_image, NULL);
}

bool os_self_contains(uintptr_t start, uintptr_t end)
{
	return start < last && end > first;
}

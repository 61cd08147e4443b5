// SPDX-License-Identifier: MIT
/* The last operations, of all threads, to be told when a page is wrong. */
#include "model/drive.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define KEPT 65536u /* operations */
#define TOLD 40     /* of one page */

static struct kept {
	_Atomic unsigned long n;
	struct record record[KEPT];
} * kept;

bool history_start(void)
{
	if (!kept)
		kept = shared_memory(sizeof(*kept));
	return kept;
}

void history_add(const struct record *r)
{
	kept->record[atomic_fetch_add(&kept->n, 1) % KEPT] = *r;
}

bool record_touches(const struct record *r, size_t page)
{
	size_t first = r->offset / PAGE, n;

	if (!r->name || !r->length)
		return false;
	n = (r->offset + r->length - 1) / PAGE - first + 1;
	if (page >= first && page < first + n)
		return true;
	return !strcmp(r->name, "mremap-move") && page >= (size_t)r->detail &&
	       page < (size_t)r->detail + n;
}

void record_print(const struct record *r)
{
	printf("\n      %8ld %-13s", r->number, r->name);
	if (r->who)
		printf(" by %s %u", r->who, r->thread);
	printf(" pages %zu+%zu .. +%zu bytes, %ld: %ld", r->offset / PAGE, r->offset % PAGE,
	       r->length, r->detail, r->result);
}

void history_print(size_t page)
{
	unsigned long end = atomic_load(&kept->n), at = end, told = 0;

	while (at && end - at < KEPT && told < TOLD)
		told += record_touches(&kept->record[--at % KEPT], page);
	printf("\n    the last operations that touched page %zu:", page);
	for (; at < end; at++)
		if (record_touches(&kept->record[at % KEPT], page))
			record_print(&kept->record[at % KEPT]);
	printf("\n");
}

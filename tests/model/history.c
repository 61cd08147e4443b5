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

bool record_touches(const struct record *r, size_t page, size_t file_page)
{
	size_t first = r->offset / PAGE, at = r->of_file ? file_page : page, n;

	if (!r->name || !r->length || at == NO_PAGE)
		return false;
	n = (r->offset + r->length - 1) / PAGE - first + 1;
	if (at >= first && at < first + n)
		return true;
	return !strcmp(r->name, "mremap-move") && at >= (size_t)r->detail &&
	       at < (size_t)r->detail + n;
}

void record_print(const struct record *r)
{
	printf("\n      %8ld %-13s", r->number, r->name);
	if (r->who)
		printf(" by %s %u", r->who, r->thread);
	printf(" %spages %zu+%zu .. +%zu bytes, %ld: %ld", r->of_file ? "file's " : "",
	       r->offset / PAGE, r->offset % PAGE, r->length, r->detail, r->result);
}

void history_print(size_t page, size_t file_page)
{
	unsigned long end = atomic_load(&kept->n), at = end, told = 0;

	while (at && end - at < KEPT && told < TOLD)
		told += record_touches(&kept->record[--at % KEPT], page, file_page);
	printf("\n    the last operations that touched page %zd", (ssize_t)page);
	if (file_page != NO_PAGE)
		printf(", %zu of the file", file_page);
	for (; at < end; at++)
		if (record_touches(&kept->record[at % KEPT], page, file_page))
			record_print(&kept->record[at % KEPT]);
	printf("\n");
}

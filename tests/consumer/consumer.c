/* SPDX-License-Identifier: MIT */
/* A program of somebody else's; as C and as C++. */
#include <hmm/hmm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
	struct hmm *h;
	char *p = (char *)malloc(1 << 20);
	long pages;

	if (hmm_open(&h, NULL))
		return 1;
	memset(p, 1, 1 << 20);
	pages = hmm_migrate(h, p, 1 << 20, 0, 0);
	printf("%ld pages are on the device\n", pages);
	printf("and this one came home: %d\n", p[4096]);
	hmm_close(h); /* so does the rest */
	free(p);
	return pages < 256;
}

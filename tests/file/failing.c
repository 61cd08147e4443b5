// SPDX-License-Identifier: MIT
/*
 * failing FILE BREAK MEND [ERROR]
 *
 * A mapped file whose filesystem stops to take its bytes when the command BREAK has run, and takes
 * them again after MEND. hmm_sync() reports it, each time; the pages stay dirty and where they are;
 * when it returns 0 all of FILE's 64 pages hold what the CPU and the device have stored meanwhile:
 * who runs this looks at the disk. ERROR, as "EDQUOT", is the one that it must be. failing.sh
 * breaks disks and filesystems.
 */
#include "check.h"

#include <hmm/hmm.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096ul
#define PAGES 64ul

static struct hmm *h;
static char *map;
static const char *error; /* the only one that is right */

/* Every other page by the device, where it stays. */
static void store(char value)
{
	static char bytes[PAGE];

	memset(bytes, value, PAGE);
	for (unsigned long i = 0; i < PAGES; i++)
		if (i % 2)
			CHECK(hmm_device_write(h, 0, map + i * PAGE, bytes, PAGE) == (long)PAGE);
		else
			memcpy(map + i * PAGE, bytes, PAGE);
}

/* All of them dirty, or none; those of the device still there. */
static void expect(bool dirty)
{
	struct hmm_page_status s[PAGES];
	long on = 0, marked = 0;

	CHECK(hmm_query(h, map, PAGES * PAGE, s) == (int)PAGES);
	for (unsigned long i = 0; i < PAGES; i++) {
		on += s[i].location == 0;
		marked += !!(s[i].flags & HMM_PAGE_DIRTY);
	}
	CHECK(on > 0 && marked == (dirty ? (long)PAGES : 0));
}

static int sync_fails(void)
{
	int err = hmm_sync(h, map, PAGES * PAGE, 0);

	if (err != -EIO && err != -ENOSPC && err != -EDQUOT && err != -EROFS)
		fprintf(stderr, "hmm_sync(): %d\n", err);
	CHECK(err == -EIO || err == -ENOSPC || err == -EDQUOT || err == -EROFS);
	CHECK(!error || !strcmp(strerrorname_np(-err), error));
	expect(true);
	return err;
}

int main(int argc, char **argv)
{
	struct hmm_open_opts o = { .sz = sizeof(o), .backend = "emulated" };
	int fd = argc > 3 ? open(argv[1], O_RDWR | O_CLOEXEC) : -1, first, again;
	char c = 0;
	void *p;

	error = argc > 4 ? argv[4] : NULL;
	CHECK(fd >= 0 && !hmm_open(&h, &o));
	CHECK(!hmm_map_file(h, fd, 0, PAGES * PAGE, PROT_READ | PROT_WRITE, 0, &p));
	map = p;
	CHECK(hmm_migrate(h, map, PAGES * PAGE, 0, 0) == (long)PAGES);
	store('a');
	CHECK(!hmm_sync(h, map, PAGES * PAGE, 0));
	expect(false);
	store('b');
	CHECK(!system(argv[2]));
	first = sync_fails();
	usleep(1500000); /* the flusher tries, too */
	again = sync_fails();
	store('c');
	CHECK(hmm_device_read(h, 0, map, &c, 1) == 1 && c == 'c');
	CHECK(!system(argv[3]));
	CHECK(!hmm_sync(h, map, PAGES * PAGE, 0));
	expect(false);
	CHECK(!hmm_unmap(h, map, PAGES * PAGE));
	hmm_close(h);
	printf("hmm_sync(): %d, %d, and 0 when it was mended\n", first, again);
	return 0;
}

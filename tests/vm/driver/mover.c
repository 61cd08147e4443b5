// SPDX-License-Identifier: MIT
/*
 * Moves the pages of all files in a folder about, until the file STOP is there: to a device, to
 * another, home, as chance has it.
 *
 *   mover FOLDER STOP
 */
#include "engine.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *stop;
static unsigned long files, pages;

/* Others remove and cut files meanwhile: what cannot be done is left. */
static int move(const char *name, const struct stat *st, int type, struct FTW *where)
{
	int fd = type == FTW_F ? open(name, O_RDONLY) : -1;
	size_t bytes = (size_t)st->st_size;
	long n;
	char *p;

	(void)where;
	if (fd >= 0 && bytes) {
		p = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
		if (p != MAP_FAILED) {
			n = migrate(p, bytes, (int)(random() % 3) - 1);
			files++;
			pages += n > 0 ? (unsigned long)n : 0;
			munmap(p, bytes);
		}
	}
	if (fd >= 0)
		close(fd);
	return access(stop, F_OK) == 0;
}

int main(int argc, char **argv)
{
	if (argc < 3 || client_open())
		return 2;
	stop = argv[2];
	while (access(stop, F_OK))
		if (nftw(argv[1], move, 16, FTW_PHYS) < 0)
			usleep(1000);
	printf("moved %lu times a file, %lu pages\n", files, pages);
	return !pages;
}

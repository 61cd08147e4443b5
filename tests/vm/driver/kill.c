// SPDX-License-Identifier: MIT
/*
 * A device stores to two files in turn, and each is synced before the other is stored to. Whoever
 * kills the machine finds in the one that was synced last what was noted of it.
 *
 *   kill FOLDER NOTES READY	"FILE BYTE" goes to NOTES after each fsync(); READY is made after
 *				a second
 */
#include "engine.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGES 64ul
#define BYTES (PAGES * PAGE)

struct part {
	const char *name;
	int fd;
	char *base;
	struct engine engine;
};

static int open_part(struct part *p, const char *folder)
{
	char name[256];

	snprintf(name, sizeof(name), "%s/%s", folder, p->name);
	p->fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (p->fd < 0 || ftruncate(p->fd, BYTES))
		return -1;
	p->base = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, 0);
	return p->base == MAP_FAILED ? -1 : engine_start(&p->engine, 0, p->base, BYTES);
}

/* On the device, and synced from there. */
static int store(struct part *p, uint64_t byte, int notes)
{
	char note[32];
	int n;

	if (engine_do(&p->engine, ENGINE_FILL, p->base, BYTES, &byte) || fsync(p->fd) ||
	    where(p->base) != 0)
		return -1;
	n = snprintf(note, sizeof(note), "%s %u\n", p->name, (unsigned int)byte);
	return write(notes, note, (size_t)n) == n ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct part part[2] = { { .name = "one" }, { .name = "two" } };
	time_t began = time(NULL);
	int notes;

	if (argc < 4 || client_open())
		return 2;
	notes = open(argv[2], O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (notes < 0 || open_part(&part[0], argv[1]) || open_part(&part[1], argv[1]))
		return 2;
	for (uint64_t i = 0;; i++) {
		if (store(&part[i % 2], i % 250 + 1, notes))
			return 1;
		if (time(NULL) > began + 1)
			close(open(argv[3], O_WRONLY | O_CREAT, 0644));
	}
}

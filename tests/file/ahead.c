// SPDX-License-Identifier: MIT
/*
 * ahead [FOLDER]: a file that is unmapped, written by others and mapped again has what they wrote,
 * though a touch of the first mapping is still reading ahead. With HMM_TEST_WIDEN that takes its
 * time, and goes on when who touched a page has it.
 */
#include <hmm/hmm.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096ul
#define PAGES 16ul
#define ROUNDS 30

static char bytes[PAGES * PAGE];
static struct hmm *h;
static int fd;

/* What others store to it with write(2). */
static int put(int value)
{
	memset(bytes, value, sizeof(bytes));
	return pwrite(fd, bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes) ? 0 : -1;
}

static char *map(void)
{
	void *p;

	return hmm_map_file(h, fd, 0, sizeof(bytes), PROT_READ | PROT_WRITE, 0, &p) ? NULL : p;
}

/* What is read ahead is in two parts, with a page between them that is there. */
static int begin(int value)
{
	volatile char *p;

	if (put(value))
		return -1;
	p = map();
	if (!p || hmm_migrate(h, (char *)p + 2 * PAGE, PAGE, 0, 0) != 1)
		return -1;
	return p[0] != value || hmm_unmap(h, (void *)p, sizeof(bytes)) ? -1 : 0;
}

/* How many pages have something else, or -1. */
static int run_round(int value)
{
	char *p;
	int wrong = 0;

	if (begin(value))
		return -1;
	usleep(5000 + (useconds_t)value % 8 * 1000); /* who reads ahead begins anew */
	if (put(value + 1))
		return -1;
	p = map();
	if (!p)
		return -1;
	usleep(10000); /* what has been read by then is there */
	for (size_t i = 0; i < PAGES; i++)
		wrong += p[i * PAGE] != value + 1;
	return hmm_unmap(h, p, sizeof(bytes)) ? -1 : wrong;
}

int main(int argc, char **argv)
{
	struct hmm_open_opts o = { .sz = sizeof(o), .backend = "emulated" };
	int wrong = 0, n;
	char path[300];

	snprintf(path, sizeof(path), "%s/ahead-XXXXXX", argc > 1 ? argv[1] : ".");
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0 || unlink(path) || hmm_open(&h, &o)) {
		fprintf(stderr, "%s: cannot begin\n", path);
		return 2;
	}
	for (n = 0; n < ROUNDS && !wrong; n++)
		wrong = run_round(2 * n + 1);
	printf("%d rounds: %d pages wrong\n", n, wrong);
	hmm_close(h);
	return wrong < 0 ? 2 : wrong > 0;
}

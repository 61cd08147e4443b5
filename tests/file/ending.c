// SPDX-License-Identifier: MIT
/*
 * ending [FOLDER]: the last hmm_close() comes while a touch of a mapped file is still reading
 * ahead, and another thread opens files, which get the numbers of the runtime's. Nobody writes to
 * them. With HMM_TEST_WIDEN the reading ahead takes its time.
 */
#include <hmm/hmm.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096ul
#define PAGES 16ul
#define ROUNDS 20
#define FILES 100

static _Atomic bool stop;
static int fd, own; /* @own is empty */

/* As many as there are numbers, all of one file. */
static void *open_files(void *unused)
{
	char path[32];
	int opened[FILES], n = 0;

	(void)unused;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", own);
	while (!atomic_load(&stop)) {
		if (n < FILES)
			opened[n++] = open(path, O_RDWR | O_CLOEXEC);
		usleep(500);
	}
	while (n)
		close(opened[--n]);
	return NULL;
}

/* How many bytes somebody has written. What is read ahead is in two parts: see ahead.c. */
static long run_round(void)
{
	struct hmm_open_opts o = { .sz = sizeof(o), .backend = "emulated" };
	struct stat st;
	pthread_t thread;
	struct hmm *h;
	void *p;

	if (hmm_open(&h, &o) ||
	    hmm_map_file(h, fd, 0, PAGES * PAGE, PROT_READ | PROT_WRITE, 0, &p) ||
	    hmm_migrate(h, (char *)p + 2 * PAGE, PAGE, 0, 0) != 1)
		exit(2);
	atomic_store(&stop, false);
	if (pthread_create(&thread, NULL, open_files, NULL))
		exit(2);
	(void)*(volatile char *)p;
	hmm_close(h);
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	munmap(p, PAGES * PAGE);
	return fstat(own, &st) ? -1 : (long)st.st_size;
}

static int make(const char *folder)
{
	char path[300];
	int made;

	snprintf(path, sizeof(path), "%s/ending-XXXXXX", folder);
	made = mkostemp(path, O_CLOEXEC);
	return made < 0 || unlink(path) ? -1 : made;
}

int main(int argc, char **argv)
{
	const char *folder = argc > 1 ? argv[1] : ".";
	long written = 0;
	int n;

	fd = make(folder);
	own = make(folder);
	if (fd < 0 || own < 0 || ftruncate(fd, PAGES * PAGE)) {
		fprintf(stderr, "%s: cannot begin\n", folder);
		return 2;
	}
	for (n = 0; n < ROUNDS && !written; n++)
		written = run_round();
	printf("%d rounds: %ld bytes in a file that nobody writes\n", n, written);
	return written != 0;
}

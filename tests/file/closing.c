// SPDX-License-Identifier: MIT
/*
 * closing [FOLDER]: what a thread stores to a mapped file while hmm_close() is under way is in the
 * file. With HMM_TEST_WIDEN the faults of that thread are served later.
 */
#include <hmm/hmm.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096ul
#define PAGES 64ul
#define ROUNDS 30u

static uint32_t value;
static char *map;
static int fd;

/* Each word once: nobody makes up for a store that is lost. */
static void *writer(void *unused)
{
	(void)unused;
	for (size_t i = 0; i < PAGES; i++)
		*(volatile uint32_t *)(void *)(map + i * PAGE) = value;
	return NULL;
}

static int run_round(useconds_t n)
{
	struct hmm_open_opts o = { .sz = sizeof(o), .backend = "emulated" };
	pthread_t thread;
	struct hmm *h;
	int lost = 0;
	void *p;

	value = n + 1;
	if (hmm_open(&h, &o) || hmm_map_file(h, fd, 0, PAGES * PAGE, PROT_READ | PROT_WRITE, 0, &p))
		exit(2);
	map = p;
	if (pthread_create(&thread, NULL, writer, NULL))
		exit(2);
	usleep(n % 16 * 2000);
	hmm_close(h);
	pthread_join(thread, NULL);
	for (size_t i = 0; i < PAGES; i++) {
		uint32_t have = 0;

		if (pread(fd, &have, sizeof(have), (off_t)(i * PAGE)) != sizeof(have))
			exit(2);
		lost += have != value;
	}
	munmap(map, PAGES * PAGE);
	return lost;
}

int main(int argc, char **argv)
{
	char path[300];
	useconds_t n;
	int lost = 0;

	snprintf(path, sizeof(path), "%s/closing-XXXXXX", argc > 1 ? argv[1] : ".");
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0 || unlink(path) || ftruncate(fd, PAGES * PAGE)) {
		fprintf(stderr, "%s: cannot begin\n", path);
		return 2;
	}
	for (n = 0; n < ROUNDS && !lost; n++)
		lost = run_round(n);
	printf("%u rounds: %d words not in the file\n", n, lost);
	return lost > 0;
}

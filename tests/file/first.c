// SPDX-License-Identifier: MIT
/*
 * first [FOLDER]: many threads map a file at once, and none has been mapped before. Each can read
 * it. With HMM_TEST_WIDEN to set up what all of them need takes its time.
 */
#include <hmm/hmm.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul
#define PAGES 64ul
#define THREADS 4
#define ROUNDS 80    /* the arena has room for some 128 pools of buffers */
#define PATIENCE 100 /* s */

static pthread_barrier_t barrier;
static struct hmm *h;
static void *maps[THREADS]; /* they stay to the end, when what they needed goes, too */
static int fd;

/* Returns what is wrong, or NULL. */
static void *map_and_read(void *arg)
{
	uintptr_t nth = (uintptr_t)arg;
	void *p, *wrong = NULL;

	pthread_barrier_wait(&barrier);
	usleep((useconds_t)nth * 1000);
	if (hmm_map_file(h, fd, 0, PAGES * PAGE, PROT_READ, 0, &p))
		return "cannot map";
	for (size_t i = 0; i < PAGES; i++)
		if (((volatile char *)p)[i * PAGE] != (char)i)
			wrong = "wrong bytes";
	maps[nth] = p;
	return wrong;
}

static const char *run_round(void)
{
	struct hmm_open_opts o = { .sz = sizeof(o), .backend = "emulated" };
	pthread_t thread[THREADS];
	const char *wrong = NULL;
	struct timespec until;

	if (hmm_open(&h, &o))
		exit(2);
	for (uintptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&thread[i], NULL, map_and_read, (void *)i))
			exit(2);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE;
	for (int i = 0; i < THREADS; i++) {
		void *result = NULL;

		if (pthread_timedjoin_np(thread[i], &result, &until)) {
			printf("a thread waits for ever\n");
			_exit(1);
		}
		if (result)
			wrong = result;
	}
	hmm_close(h);
	for (int i = 0; i < THREADS && !wrong; i++)
		munmap(maps[i], PAGES * PAGE);
	return wrong;
}

int main(int argc, char **argv)
{
	const char *wrong = NULL;
	char path[300];
	int n;

	snprintf(path, sizeof(path), "%s/first-XXXXXX", argc > 1 ? argv[1] : ".");
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0 || unlink(path) || pthread_barrier_init(&barrier, NULL, THREADS)) {
		fprintf(stderr, "%s: cannot begin\n", path);
		return 2;
	}
	for (size_t i = 0; i < PAGES; i++) {
		char value = (char)i;

		if (pwrite(fd, &value, 1, (off_t)(i * PAGE)) != 1)
			return 2;
	}
	if (ftruncate(fd, PAGES * PAGE))
		return 2;
	for (n = 0; n < ROUNDS && !wrong; n++)
		wrong = run_round();
	printf("%d rounds: %s\n", n, wrong ? wrong : "all is well");
	return wrong != NULL;
}

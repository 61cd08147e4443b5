// SPDX-License-Identifier: MIT
/*
 * killed [--count N] [--algorithm move|wp] [FOLDER]
 *
 * A process that maps a file and stores to it, by the CPU and as a device does, is killed by
 * SIGKILL at a random moment. What hmm_sync() had returned 0 for must be in the file, as another
 * process reads it: each page holds the number of a round at least as high as the last one that
 * was promised. N rounds; each goes on where the last one has left the file.
 */
#include <hmm/hmm.h>

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 600u
#define PAGE 4096ul

struct shared {
	volatile uint64_t started;  /* the round whose stores have begun */
	volatile uint64_t promised; /* the last one that hmm_sync() has confirmed */
	volatile uint64_t in_place; /* pages on a device when it did */
};

static struct hmm_open_opts options = { .sz = sizeof(options), .backend = "emulated" };
static const char *path;

/* Every page gets the round's number at both ends; every other one by a device. */
static int store(struct hmm *h, char *map, uint64_t round)
{
	uint64_t words[PAGE / 8];

	for (unsigned int i = 0; i < PAGE / 8; i++)
		words[i] = round;
	for (unsigned int p = 0; p < PAGES; p++) {
		char *at = map + p * PAGE;

		if ((p + round) % 2)
			memcpy(at, words, PAGE);
		else if (hmm_device_write(h, 0, at, words, PAGE) != (long)PAGE)
			return 1;
	}
	return 0;
}

static int child(struct shared *s)
{
	static struct hmm_page_status status[PAGES];
	int fd = open(path, O_RDWR | O_CLOEXEC);
	struct hmm *h;
	void *map;

	if (fd < 0 || hmm_open(&h, &options) ||
	    hmm_map_file(h, fd, 0, PAGES * PAGE, PROT_READ | PROT_WRITE, 0, &map))
		return 1;
	for (uint64_t round = s->started + 1;; round++) {
		s->started = round;
		if (store(h, map, round) || hmm_sync(h, map, PAGES * PAGE, 0))
			return 1;
		s->promised = round;
		hmm_query(h, map, PAGES * PAGE, status);
		for (unsigned int p = 0; p < PAGES; p++)
			s->in_place += status[p].location >= 0;
	}
}

static int check(const struct shared *s, int round)
{
	static uint64_t words[PAGES][PAGE / 8];
	int fd = open(path, O_RDONLY | O_CLOEXEC), bad = 0;

	if (read(fd, words, sizeof(words)) != sizeof(words))
		bad++;
	close(fd);
	for (unsigned int p = 0; p < PAGES; p++)
		for (unsigned int i = 0; i < PAGE / 8; i++)
			bad += words[p][i] < s->promised || words[p][i] > s->started;
	if (bad)
		printf("kill %d: %d words are not of rounds %lu to %lu\n", round, bad,
		       (unsigned long)s->promised, (unsigned long)s->started);
	return bad;
}

int main(int argc, char **argv)
{
	struct shared *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const char *folder = ".";
	char name[300];
	int count = 20, fd, bad = 0, kills = 0;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--count") && i + 1 < argc)
			count = atoi(argv[++i]);
		else if (!strcmp(argv[i], "--algorithm") && i + 1 < argc)
			options.flags |= strcmp(argv[++i], "wp") ? 0 : HMM_OPEN_NO_MOVE;
		else
			folder = argv[i];
	}
	snprintf(name, sizeof(name), "%s/killed-%d", folder, (int)getpid());
	path = name;
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, PAGES * PAGE) || s == MAP_FAILED)
		return 1;
	close(fd);
	srand(7);
	for (int i = 0; i < count; i++) {
		uint64_t before = s->promised;
		int status, tries = 0;
		pid_t pid = fork();

		if (!pid)
			_exit(child(s));
		while (s->promised < before + 2 && tries++ < 10000 &&
		       !waitpid(pid, &status, WNOHANG))
			usleep(1000);
		usleep((useconds_t)(rand() % 20000));
		kills += !kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		if (!WIFSIGNALED(status) || s->promised < before + 2)
			bad++;
		bad += check(s, i);
	}
	printf("%d kills, %lu rounds stored, %lu promised, %lu pages in place then: %d wrong\n",
	       kills, (unsigned long)s->started, (unsigned long)s->promised,
	       (unsigned long)s->in_place, bad);
	unlink(path);
	return bad || !s->in_place ? 1 : 0;
}

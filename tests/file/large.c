// SPDX-License-Identifier: MIT
/*
 * large [--algorithm move|wp] [FOLDER]
 *
 * A file so large that two threads write it back is all there when hmm_sync() has returned, whoever
 * stored to it; so are two such files at once. And the device keeps what it had.
 */
#include <hmm/hmm.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define STEP (2ul << 20)
#define BYTES (16 * STEP)
#define ROUNDS 20

struct file {
	struct hmm *h;
	char *map;
	int fd;
	bool bad;
};

static bool open_file(struct file *f, struct hmm *h, const char *folder)
{
	char path[300];
	void *p;

	snprintf(path, sizeof(path), "%s/large-XXXXXX", folder);
	f->h = h;
	f->fd = mkostemp(path, O_CLOEXEC);
	if (f->fd < 0 || unlink(path) || ftruncate(f->fd, BYTES) ||
	    hmm_map_file(h, f->fd, 0, BYTES, PROT_READ | PROT_WRITE, 0, &p))
		return false;
	f->map = p;
	return true;
}

/* Every other step by the CPU. */
static bool store(const struct file *f, int value)
{
	static char from[STEP];

	memset(from, value, sizeof(from));
	for (size_t at = 0; at < BYTES; at += STEP)
		if ((value + at / STEP) % 2)
			memset(f->map + at, value, STEP);
		else if (hmm_device_write(f->h, 0, f->map + at, from, STEP) != (long)STEP)
			return false;
	return true;
}

/* As read(2) gives it: what was written last first. */
static bool holds(const struct file *f, int value)
{
	static char have[STEP], want[STEP];

	memset(want, value, sizeof(want));
	for (off_t at = BYTES; at > 0;) {
		at -= (off_t)STEP;
		if (pread(f->fd, have, STEP, at) != (ssize_t)STEP || memcmp(have, want, STEP))
			return false;
	}
	return true;
}

static bool stays(const struct file *f, int value)
{
	struct hmm_page_status s;

	for (size_t at = 0; at < BYTES; at += STEP)
		if (!((value + at / STEP) % 2) &&
		    (hmm_query(f->h, f->map + at, 1, &s) != 1 || s.location != 0))
			return false;
	return true;
}

static void *sync_file(void *arg)
{
	struct file *f = arg;

	f->bad = hmm_sync(f->h, f->map, BYTES, 0) != 0;
	return NULL;
}

static bool alone(struct file *f, int value)
{
	if (!store(f, value))
		return false;
	sync_file(f);
	return !f->bad && holds(f, value) && stays(f, value);
}

static bool both(struct file f[2], int value)
{
	pthread_t other;
	bool good;

	if (!store(&f[0], value) || !store(&f[1], value + 1) ||
	    pthread_create(&other, NULL, sync_file, &f[1]))
		return false;
	sync_file(&f[0]);
	good = !f[0].bad && holds(&f[0], value) && stays(&f[0], value);
	pthread_join(other, NULL);
	return good && !f[1].bad && holds(&f[1], value + 1) && stays(&f[1], value + 1);
}

static int run(struct hmm_open_opts *o, const char *folder)
{
	struct file f[2];
	struct hmm *h;
	int n;

	o->device_bytes = 4 * BYTES;
	if (hmm_open(&h, o) || !open_file(&f[0], h, folder) || !open_file(&f[1], h, folder)) {
		fprintf(stderr, "%s: no file there can be mapped\n", folder);
		return 2;
	}
	for (n = 1; n <= ROUNDS && (n % 2 ? both(f, n) : alone(f, n)); n++)
		;
	printf("%d of %d rounds: all that was synced is in the files\n", n - 1, ROUNDS);
	hmm_close(h);
	return n > ROUNDS ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct hmm_open_opts o = { .sz = sizeof(o), .backend = "emulated" };
	const char *folder = ".";

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--algorithm") && i + 1 < argc)
			o.flags |= strcmp(argv[++i], "wp") ? 0 : HMM_OPEN_NO_MOVE;
		else
			folder = argv[i];
	}
	return run(&o, folder);
}

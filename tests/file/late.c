// SPDX-License-Identifier: MIT
/*
 * late [FOLDER]: a file that nobody maps any more leaves nothing on a device, though it was unmapped
 * while another thread was migrating it. With HMM_TEST_WIDEN that thread reads the file later.
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

#define BYTES (64ul << 10)
#define ROUNDS 20
#define WAIT 100 /* times 20 ms: it is let go of within 50 */

static struct hmm *h;
static int fd;
static void *map;

static void *migrate(void *unused)
{
	(void)unused;
	hmm_migrate(h, map, BYTES, 0, 0); /* or it is not there any more */
	return NULL;
}

static bool is_empty(void)
{
	struct hmm_device_info info;

	for (int i = 0; i < WAIT; i++, usleep(20000))
		if (!hmm_device_info(h, 0, &info) && !info.resident)
			return true;
	return false;
}

static bool run_round(void)
{
	pthread_t other;

	if (hmm_map_file(h, fd, 0, BYTES, PROT_READ | PROT_WRITE, 0, &map) ||
	    pthread_create(&other, NULL, migrate, NULL))
		exit(2);
	usleep(1000);
	if (hmm_unmap(h, map, BYTES))
		exit(2);
	pthread_join(other, NULL);
	return is_empty();
}

int main(int argc, char **argv)
{
	struct hmm_open_opts o = { .sz = sizeof(o), .backend = "emulated" };
	char path[300];
	bool empty = true;
	int n;

	snprintf(path, sizeof(path), "%s/late-XXXXXX", argc > 1 ? argv[1] : ".");
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0 || unlink(path) || ftruncate(fd, BYTES) || hmm_open(&h, &o)) {
		fprintf(stderr, "%s: cannot begin\n", path);
		return 2;
	}
	for (n = 0; n < ROUNDS && empty; n++)
		empty = run_round();
	printf("%d rounds: the device is %s\n", n, empty ? "empty" : "not empty");
	hmm_close(h);
	return !empty;
}

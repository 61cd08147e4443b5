// SPDX-License-Identifier: MIT
/*
 * moved [move|wp]: pages that the library tracks are moved by mremap() to where it knows of none.
 * There a thread touches one that was never touched, while another one gives it to a device, which
 * stores to it. The store must be seen. With HMM_TEST_WIDEN the touch is served later.
 */
#include <hmm/hmm.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096ul
#define BYTES (2ul << 20)
#define PAGES 16ul
#define ROUNDS 30

static struct hmm *h;

static char *map(size_t bytes)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		exit(2);
	return p;
}

static void *touch(void *page)
{
	(void)*(volatile char *)page;
	return NULL;
}

/* A page on a device keeps its block tracked. */
static int run_round(void)
{
	/* Each time another one, which stays. */
	char *from = map(2 * BYTES), *to = map(4 * BYTES), *at, value = 7;
	pthread_t thread;
	int wrong;

	from = (char *)(((unsigned long)from + BYTES - 1) & ~(BYTES - 1));
	at = (char *)(((unsigned long)to + 2 * BYTES - 1) & ~(BYTES - 1));
	from[(PAGES - 1) * PAGE] = 1;
	if (hmm_migrate(h, from, PAGES * PAGE, 0, 0) < 0 || hmm_migrate(h, from, PAGE, -1, 0) < 0 ||
	    mremap(from, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at) != at ||
	    madvise(at, PAGES * PAGE, MADV_DONTNEED) || pthread_create(&thread, NULL, touch, at))
		exit(2);
	usleep(1000);
	/* That thread may go on when its page leaves: its first touch is still served. */
	if (hmm_migrate(h, at, PAGE, 0, 0) < 0)
		exit(2);
	usleep(1000);
	if (hmm_migrate(h, at, PAGE, 0, 0) < 0 || hmm_device_write(h, 0, at, &value, 1) != 1)
		exit(2);
	usleep(8000);
	pthread_join(thread, NULL);
	wrong = *(volatile char *)at != value;
	return wrong;
}

int main(int argc, char **argv)
{
	struct hmm_open_opts o = { .sz = sizeof(o), .backend = "emulated" };
	int wrong = 0, n;

	if (argc > 1 && !strcmp(argv[1], "wp"))
		o.flags |= HMM_OPEN_NO_MOVE;
	if (hmm_open(&h, &o))
		return 2;
	for (n = 0; n < ROUNDS && !wrong; n++)
		wrong = run_round();
	printf("%d rounds: %d stores not seen\n", n, wrong);
	hmm_close(h);
	return wrong;
}

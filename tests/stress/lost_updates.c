// SPDX-License-Identifier: MIT
/*
 * No update is lost: two CPU threads and two work items of a kernel, which runs in the engine
 * with native loads and stores, increment words of their own in the same pages, while a third
 * thread migrates at random.
 *
 *   lost_updates move|wp [across [file]] [device|client]
 *
 * across: two work items in each of two engines, and most pages go from device to device; file: of
 * a mapped file. With a fence's name that fence is left out (HMM_TEST_SKIP_FENCE), and updates must
 * get lost: the negative control, which shows that this test can fail.
 *
 * It talks to the engine directly, not through OpenCL, so that only the runtime is tested.
 */
#include <hmm/hmm.h>
#include <hmm/hmm_engine.h>

#include <CUnit/Basic.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "control.h"
#include "engine/cl_wire.h"

#define WRITERS 2 /* on each side */
#define DEVICES 2
#define WORDS(device) (2048 + (device)*512ul) /* of a page, those that its engine increments */

static const char source[] = "kernel void inc(global char *m, int pages, int n)\n"
			     "{ int id = get_global_id(0); uint s = id + 77;\n"
			     "  for (int i = 0; i < n; i++) { s = s * 1664525 + 1013904223;\n"
			     "    volatile global uint *p = (volatile global uint *)\n"
			     "      (m + (ulong)((s >> 8) % pages) * 4096 + id * 64);\n"
			     "    (*p)++; } }\n";

static struct hmm *h;
static unsigned int open_flags;
static const char *skipped;
static unsigned int devices = 1;
static bool of_file;
static long scale = 1;
static bool seen;

struct engine {
	unsigned int device;
	struct run *run;
	int err; /* of its launch */
	int fd;
	uint32_t kernel;
	char reply[1 << 16];
};

static bool read_all(int fd, void *to, size_t n)
{
	for (char *p = to; n;) {
		ssize_t got = read(fd, p, n);

		if (got <= 0)
			return false;
		p += got;
		n -= (size_t)got;
	}
	return true;
}

/* One request; the reply's payload is left in e->reply. An OpenCL error, or -1. */
static int request(struct engine *e, uint32_t op, const void *data, size_t n)
{
	struct cl_wire_head q = { CL_WIRE_MAGIC, op, 0, (uint32_t)n }, r;

	if (write(e->fd, &q, sizeof(q)) != sizeof(q) || write(e->fd, data, n) != (ssize_t)n)
		return -1;
	if (!read_all(e->fd, &r, sizeof(r)) || r.length > sizeof(e->reply) ||
	    !read_all(e->fd, e->reply, r.length))
		return -1;
	return r.status;
}

static int engine_open(struct engine *e)
{
	struct {
		struct cl_wire_build build;
		char source[sizeof(source)];
	} b = { .build = { .source_length = sizeof(source) - 1 } };
	struct {
		struct cl_wire_kernel kernel;
		char name[3];
	} k = { .kernel = { 0, 3 }, .name = { 'i', 'n', 'c' } };
	unsigned int generation;
	int err = hmm_engine_connect(h, (int)e->device, &e->fd, &generation);

	if (err)
		return err;
	memcpy(b.source, source, sizeof(source));
	err = request(e, CL_WIRE_BUILD, &b, sizeof(b.build) + sizeof(source) - 1);
	if (err)
		return err;
	memcpy(&k.kernel.program, e->reply, sizeof(uint32_t)); /* cl_wire_built.program */
	err = request(e, CL_WIRE_KERNEL, &k, sizeof(k.kernel) + sizeof(k.name));
	memcpy(&e->kernel, e->reply, sizeof(uint32_t)); /* cl_wire_kernel_info.kernel */
	return err;
}

struct run {
	char *memory;
	unsigned int pages;
	long count;
	_Atomic bool stop;
};

struct writer {
	struct run *run;
	unsigned int id;
};

static uint32_t next(uint32_t *s)
{
	*s = *s * 1664525u + 1013904223u;
	return *s >> 8;
}

static void *cpu_writer(void *arg)
{
	struct writer *w = arg;
	uint32_t s = w->id + 1;

	for (long i = 0; i < w->run->count; i++) {
		volatile uint32_t *p =
			(volatile uint32_t *)(void *)(w->run->memory +
						      (size_t)(next(&s) % w->run->pages) * 4096 +
						      w->id * 64);

		(*p)++;
	}
	return NULL;
}

static int target(uint32_t random)
{
	if (devices == 1)
		return random & 1 ? 0 : HMM_SYSTEM;
	return random % 16 ? (int)(random / 16 % devices) : HMM_SYSTEM;
}

static void *migrator(void *arg)
{
	struct run *r = arg;
	uint32_t s = 99;

	while (!atomic_load(&r->stop)) {
		unsigned int at = next(&s) % r->pages, n = 1 + next(&s) % 16;

		if (n > r->pages - at)
			n = r->pages - at;
		hmm_migrate(h, r->memory + at * 4096ul, n * 4096ul, target(next(&s)), 0);
	}
	return NULL;
}

static int launch(struct engine *e, struct run *r)
{
	struct {
		struct cl_wire_launch launch;
		struct cl_wire_arg memory, pages;
		int32_t n_pages, pad1;
		struct cl_wire_arg count;
		int32_t n_count, pad2;
	} l = {
		.launch = { .kernel = e->kernel,
			    .dims = 1,
			    .flags = CL_WIRE_HAS_LOCAL,
			    .n_args = 3,
			    .global = { WRITERS },
			    .local = { 1 } },
		.memory = { CL_WIRE_ARG_POINTER, 8, (uintptr_t)r->memory + WORDS(e->device) },
		.pages = { CL_WIRE_ARG_VALUE, 4, 0 },
		.n_pages = (int32_t)r->pages,
		.count = { CL_WIRE_ARG_VALUE, 4, 0 },
		.n_count = (int32_t)r->count,
	};

	return request(e, CL_WIRE_LAUNCH, &l, sizeof(l));
}

static long sum(const struct run *r, size_t offset)
{
	long total = 0;

	for (unsigned int p = 0; p < r->pages; p++)
		total += *(const uint32_t *)(const void *)(r->memory + p * 4096ul + offset);
	return total;
}

static void *engine_writers(void *arg)
{
	struct engine *e = arg;

	e->err = launch(e, e->run);
	return NULL;
}

static char *memory_map(size_t bytes)
{
	int fd = of_file ? memfd_create("lost_updates", MFD_CLOEXEC) : -1;
	void *p = NULL;

	if (!of_file)
		p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	else if (ftruncate(fd, (off_t)bytes) ||
		 hmm_map_file(h, fd, 0, bytes, PROT_READ | PROT_WRITE, 0, &p))
		p = MAP_FAILED;
	close(fd);
	CU_ASSERT_FATAL(p != MAP_FAILED);
	return p;
}

static long count_lost(const struct run *r, long count)
{
	long lost = 0;

	for (unsigned int i = 0; i < WRITERS; i++) {
		lost += (1 + (long)devices) * count - sum(r, i * 64ul);
		for (unsigned int d = 0; d < devices; d++)
			lost -= sum(r, WORDS(d) + i * 64ul);
	}
	return lost;
}

/* How many of all increments are missing in the end. */
static long run_once(unsigned int pages, long count)
{
	static struct engine e[DEVICES];
	struct run r = { .pages = pages };
	struct writer w[WRITERS];
	pthread_t thread[WRITERS + DEVICES + 1];
	unsigned int n = 0;
	long lost;

	r.memory = memory_map(pages * 4096ul);
	for (unsigned int d = 0; d < devices; d++) {
		e[d].device = d;
		e[d].run = &r;
		CU_ASSERT_EQUAL_FATAL(engine_open(&e[d]), 0);
		CU_ASSERT_EQUAL(launch(&e[d], &r), 0); /* compile now: all start together */
	}
	r.count = count;
	for (unsigned int i = 0; i < WRITERS; i++) {
		w[i] = (struct writer){ &r, i };
		pthread_create(&thread[n++], NULL, cpu_writer, &w[i]);
	}
	for (unsigned int d = 0; d < devices; d++)
		pthread_create(&thread[n++], NULL, engine_writers, &e[d]);
	pthread_create(&thread[n], NULL, migrator, &r);
	while (n)
		pthread_join(thread[--n], NULL);
	atomic_store(&r.stop, true);
	pthread_join(thread[WRITERS + devices], NULL);
	lost = count_lost(&r, count);
	for (unsigned int d = 0; d < devices; d++) {
		CU_ASSERT_EQUAL(e[d].err, 0);
		close(e[d].fd);
	}
	if (of_file)
		hmm_unmap(h, r.memory, pages * 4096ul);
	else
		munmap(r.memory, pages * 4096ul);
	return lost;
}

static void increments(void)
{
	/* Fewer where each costs a migration; more than 10^6 in any case. */
	static const struct {
		unsigned int pages;
		long count;
	} runs[] = { { 1, 8000000 }, { 4, 4000000 }, { 64, 400000 }, { 1000, 60000 } };
	struct hmm_stats before = { .sz = sizeof(before) }, after = { .sz = sizeof(after) };
	/* Pages that two engines and the CPU want are seldom where they are wanted. */
	long share = devices > 1 ? 8 : 1, lost = 0;

	/* Without a fence the first that is lost will do. */
	for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]) && !(skipped && lost); i++) {
		long n, count = runs[i].count / share * scale;

		hmm_stats(h, -1, &before);
		n = run_once(runs[i].pages, count);
		hmm_stats(h, -1, &after);
		printf("\n    %4u pages, %u writers, %ld increments each: %ld lost; "
		       "%lu pages out (%lu across), %lu home",
		       runs[i].pages, WRITERS * (1 + devices), count, n,
		       (unsigned long)(after.pages_to_device - before.pages_to_device),
		       (unsigned long)(after.pages_across - before.pages_across),
		       (unsigned long)(after.pages_to_system - before.pages_to_system));
		fflush(stdout);
		CU_ASSERT(devices == 1 || after.pages_across > before.pages_across);
		lost += n;
	}
	CU_ASSERT(skipped ? lost >= 0 : lost == 0);
	seen = lost > 0;
}

static int start(void)
{
	struct hmm_open_opts o = { .sz = sizeof(o), .devices = devices, .flags = open_flags };

	return hmm_open(&h, &o);
}

static int stop(void)
{
	hmm_close(h);
	return 0;
}

int main(int argc, char **argv)
{
	unsigned int failures;
	CU_pSuite s;

	if (getenv("HMM_TEST_SCALE"))
		scale = atol(getenv("HMM_TEST_SCALE"));
	if (argc > 1 && !strcmp(argv[1], "wp"))
		open_flags = HMM_OPEN_NO_MOVE;
	for (int i = 2; i < argc; i++) {
		if (!strcmp(argv[i], "across"))
			devices = DEVICES;
		else if (!strcmp(argv[i], "file"))
			of_file = true;
		else
			skipped = argv[i];
	}
	if (skipped)
		setenv("HMM_TEST_SKIP_FENCE", skipped, 1);
	CU_initialize_registry();
	s = CU_add_suite(skipped ? "lost updates, a fence left out" : "lost updates", start, stop);
	CU_add_test(s, "concurrent increments", increments);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
	CU_cleanup_registry();
	if (failures)
		return 1;
	return skipped && !seen ? CONTROL_UNSEEN : 0;
}

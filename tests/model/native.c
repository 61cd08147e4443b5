// SPDX-License-Identifier: MIT
#include "model/native.h"

#include <errno.h>
#include <hmm/hmm_engine.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "engine/cl_wire.h"

/* The lanes and counters here are those of racing.h. */
static const char source[] =
	"kernel void copy(global uchar *d, global const uchar *s, uint n)\n"
	"{ for (uint i = 0; i < n; i++) d[i] = s[i]; }\n"
	"kernel void fill(global uchar *d, uint n, uint seed)\n"
	"{ for (uint i = 0; i < n; i++) d[i] = (uchar)(((seed + i) * 2654435761u) >> 24); }\n"
	"kernel void own(global char *m, global char *shadow, global uint *report, uint pages,\n"
	"                uint lanes, uint lane, uint run, uint seed, uint n)\n"
	"{ uint page = 0;\n"
	"  for (uint i = 0; i < n; i++) {\n"
	"    seed = seed * 1664525u + 1013904223u;\n"
	"    if (i % run == 0) { page = (seed >> 8) % (pages / 5) * 5 + (seed >> 24) % 3; }\n"
	"    uint unit = page % 3 == 0 ? 1 : page % 3 == 1 ? 8 : 64;\n"
	"    seed = seed * 1664525u + 1013904223u;\n"
	"    uint u = (seed >> 8) % (4096 / unit / lanes) * lanes + lane, bad = 0;\n"
	"    ulong at = (ulong)page * 4096 + u * unit;\n"
	"    volatile global uchar *p = (volatile global uchar *)m + at;\n"
	"    volatile global uchar *s = (volatile global uchar *)shadow + at;\n"
	"    uint seen = 0;\n"
	"    for (uint k = 0; k < unit; k++) {\n"
	"      uchar c = p[k];\n"
	"      if (c != s[k]) { bad = 1; seen = c; }\n"
	"      c = (uchar)((seed >> 11) + k * 7); p[k] = c; s[k] = c; }\n"
	"    if (bad) { report[0]++; report[1] = page; report[2] = u * unit; report[3] = seen; }\n"
	"  } }\n"
	"kernel void grow(global char *m, global ulong *announced, global ulong *published,\n"
	"                 global uint *report, uint pages, uint lanes, uint lane, uint seed, uint n)\n"
	"{ volatile global uchar *c = (volatile global uchar *)m + 3 * 4096;\n"
	"  volatile global ulong *to = announced, *from = published;\n"
	"  for (uint i = 0; i < n; i++) {\n"
	"    seed = seed * 1664525u + 1013904223u;\n"
	"    uint page = (seed >> 8) % pages, at = page * 16 + lane;\n"
	"    ulong v = from[at] + 1;\n"
	"    to[at] = v; c[page * 20480ul + lane * 201] = (uchar)v; from[at] = v;\n"
	"    seed = seed * 1664525u + 1013904223u;\n"
	"    uint other = (seed >> 24) % lanes;\n"
	"    page = (seed >> 8) % pages; at = page * 16 + other;\n"
	"    v = from[at];\n"
	"    uchar seen = c[page * 20480ul + other * 201];\n"
	"    ulong most = to[at] - v;\n"
	"    if (most < 255 && (uchar)(seen - (uchar)v) > most) {\n"
	"      report[0]++; report[1] = page; report[2] = other;\n"
	"      report[3] = seen | (uint)(uchar)v << 8; }\n"
	"  } }\n";

static const char *const names[NATIVE_KERNELS] = { "copy", "fill", "own", "grow" };

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

/* One request; the reply's payload is left in e->reply. */
static int request(struct native *e, uint32_t op, const void *data, size_t n)
{
	struct cl_wire_head q = { CL_WIRE_MAGIC, op, 0, (uint32_t)n }, r;

	if (write(e->fd, &q, sizeof(q)) != sizeof(q) || write(e->fd, data, n) != (ssize_t)n)
		return -EPIPE;
	if (!read_all(e->fd, &r, sizeof(r)) || r.length > sizeof(e->reply) ||
	    !read_all(e->fd, e->reply, r.length))
		return -EPIPE;
	return r.status;
}

static int build(struct native *e)
{
	struct {
		struct cl_wire_build build;
		char source[sizeof(source)];
	} b = { .build = { .source_length = sizeof(source) - 1 } };
	struct {
		struct cl_wire_kernel kernel;
		char name[4];
	} k;
	int err;

	memcpy(b.source, source, sizeof(source));
	err = request(e, CL_WIRE_BUILD, &b, sizeof(b.build) + sizeof(source) - 1);
	if (err)
		return err;
	memcpy(&k.kernel.program, e->reply, sizeof(uint32_t)); /* cl_wire_built.program */
	for (int i = 0; i < NATIVE_KERNELS; i++) {
		k.kernel.name_length = (uint32_t)strlen(names[i]);
		memcpy(k.name, names[i], k.kernel.name_length);
		err = request(e, CL_WIRE_KERNEL, &k, sizeof(k.kernel) + k.kernel.name_length);
		if (err)
			return err;
		memcpy(&e->kernel[i], e->reply, sizeof(uint32_t)); /* .kernel */
	}
	return 0;
}

int native_open(struct native *e, struct hmm *h, int device)
{
	int err;

	e->hmm = h;
	e->device = device;
	pthread_mutex_init(&e->one, NULL);
	err = hmm_engine_connect(h, device, &e->fd, &e->generation);
	if (err)
		return err;
	err = build(e);
	if (err)
		close(e->fd);
	return err;
}

void native_close(struct native *e)
{
	close(e->fd);
	pthread_mutex_destroy(&e->one);
}

#define MAX_ARGS 9

/* The arguments of a launch, as they travel. */
struct args {
	struct cl_wire_launch launch;
	char bytes[MAX_ARGS * (sizeof(struct cl_wire_arg) + 8)];
	size_t length;
};

static void add_pointer(struct args *a, const void *p)
{
	struct cl_wire_arg arg = { CL_WIRE_ARG_POINTER, 8, (uintptr_t)p };

	memcpy(a->bytes + a->length, &arg, sizeof(arg));
	a->length += sizeof(arg);
	a->launch.n_args++;
}

static void add_value(struct args *a, uint32_t value)
{
	struct cl_wire_arg arg = { CL_WIRE_ARG_VALUE, 4, 0 };
	uint64_t padded = value;

	memcpy(a->bytes + a->length, &arg, sizeof(arg));
	memcpy(a->bytes + a->length + sizeof(arg), &padded, sizeof(padded));
	a->length += sizeof(arg) + sizeof(padded);
	a->launch.n_args++;
}

static int launch(struct native *e, enum native_kernel kernel, struct args *a)
{
	struct hmm_device_fault fault;
	int err, end = 0;

	a->launch.kernel = e->kernel[kernel];
	a->launch.dims = 1;
	a->launch.flags = CL_WIRE_HAS_LOCAL;
	a->launch.global[0] = a->launch.local[0] = 1;
	pthread_mutex_lock(&e->one);
	err = hmm_engine_launch_begin(e->hmm, e->device, 1);
	if (!err) {
		err = request(e, CL_WIRE_LAUNCH, a, sizeof(a->launch) + a->length);
		end = hmm_engine_launch_end(e->hmm, e->device, e->generation, &fault);
	}
	pthread_mutex_unlock(&e->one);
	return end > 0 ? -EFAULT : end ? end : err;
}

int native_copy(struct native *e, void *to, const void *from, uint32_t n)
{
	struct args a = { 0 };

	add_pointer(&a, to);
	add_pointer(&a, from);
	add_value(&a, n);
	return launch(e, NATIVE_COPY, &a);
}

int native_fill(struct native *e, void *to, uint32_t n, uint32_t seed)
{
	struct args a = { 0 };

	add_pointer(&a, to);
	add_value(&a, n);
	add_value(&a, seed);
	return launch(e, NATIVE_FILL, &a);
}

unsigned char native_pattern(uint32_t seed, uint32_t i)
{
	return (unsigned char)(((seed + i) * 2654435761u) >> 24);
}

int native_own(struct native *e, const struct native_own *o)
{
	struct args a = { 0 };

	add_pointer(&a, o->range);
	add_pointer(&a, o->shadow);
	add_pointer(&a, o->report);
	add_value(&a, o->pages);
	add_value(&a, o->lanes);
	add_value(&a, o->lane);
	add_value(&a, o->run);
	add_value(&a, o->seed);
	add_value(&a, o->steps);
	return launch(e, NATIVE_OWN, &a);
}

int native_grow(struct native *e, const struct native_growth *g)
{
	struct args a = { 0 };

	add_pointer(&a, g->range);
	add_pointer(&a, g->announced);
	add_pointer(&a, g->published);
	add_pointer(&a, g->report);
	add_value(&a, g->pages);
	add_value(&a, g->lanes);
	add_value(&a, g->lane);
	add_value(&a, g->seed);
	add_value(&a, g->steps);
	return launch(e, NATIVE_GROW, &a);
}

int native_warm(struct native *e, char *scratch)
{
	uint64_t *words = (uint64_t *)(void *)scratch;
	uint32_t *report = (uint32_t *)(void *)scratch;
	struct native_own o = { scratch, scratch, report, 5, 1, 0, 1, 0, 0 };
	struct native_growth g = { scratch, words, words, report, 1, 1, 0, 0, 0 };
	int err = native_copy(e, scratch, scratch, 0);

	err = err ? err : native_own(e, &o);
	return err ? err : native_grow(e, &g);
}

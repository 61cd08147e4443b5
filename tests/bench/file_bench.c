// SPDX-License-Identifier: MIT
/*
 * Mapped files: what it costs to write back what a device has stored, and to read what a device
 * has, or a device what the file has. The files lie in the working folder.
 */
#include "bench.h"
#include "bench_cl.h"

#include <errno.h>
#include <fcntl.h>
#include <hmm/hmm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SCAN (64ul << 20)
#define ITEMS 64ul

/* Each work item reads a part of its own, from its beginning to its end. */
static const char source[] =
	"kernel void scan(global const ulong *at, ulong words, global ulong *sums)\n"
	"{\n"
	"	size_t i = get_global_id(0);\n"
	"	ulong each = words / get_global_size(0), sum = 0;\n"
	"	for (ulong w = i * each; w < (i + 1) * each; w++)\n"
	"		sum += at[w];\n"
	"	sums[i] = sum;\n"
	"}\n";

struct file {
	int fd;
	size_t bytes;
};

/* It has all its blocks, on the disk and in the page cache; nobody finds it by name. */
static struct file make_file(size_t bytes)
{
	char name[] = "bench-XXXXXX", *page = bench_pages(BENCH_HUGE, false);
	struct file f = { mkostemp(name, O_CLOEXEC), bytes };

	bench_need(f.fd >= 0 && !unlink(name), name);
	for (size_t at = 0; at < bytes; at += BENCH_HUGE)
		bench_need(pwrite(f.fd, page, BENCH_HUGE, (off_t)at) == (ssize_t)BENCH_HUGE,
			   "pwrite");
	bench_need(!fsync(f.fd), "fsync");
	bench_pages_free(page, BENCH_HUGE);
	return f;
}

static void need_zero(int err, const char *what)
{
	errno = -err;
	bench_need(!err, what);
}

static char *map_ours(struct hmm *h, const struct file *f)
{
	void *p;

	need_zero(hmm_map_file(h, f->fd, 0, f->bytes, PROT_READ | PROT_WRITE, 0, &p),
		  "hmm_map_file");
	return p;
}

static char *map_plainly(const struct file *f)
{
	char *p = mmap(NULL, f->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);

	bench_need(p != MAP_FAILED, "mmap");
	return p;
}

static void store_on_device(struct hmm *h, char *p, size_t bytes, const char *from)
{
	for (size_t at = 0; at < bytes; at += BENCH_HUGE)
		bench_need(hmm_device_write(h, 0, p + at, from, BENCH_HUGE) == (long)BENCH_HUGE,
			   "hmm_device_write");
}

/* All of it is on the device before and after. */
static double time_ours(struct hmm *h, char *p, size_t bytes, char value)
{
	static char *from;
	struct hmm_page_status s;
	double t;

	if (!from)
		from = bench_pages(BENCH_HUGE, false);
	memset(from, value, BENCH_HUGE);
	store_on_device(h, p, bytes, from);
	t = bench_now();
	need_zero(hmm_sync(h, p, bytes, 0), "hmm_sync");
	t = bench_now() - t;
	for (size_t at = 0; at < bytes; at += BENCH_HUGE)
		bench_need(hmm_query(h, p + at, 1, &s) == 1 && !s.location, "page on the device");
	return t;
}

static double time_plain(char *p, size_t bytes, char value)
{
	double t;

	memset(p, value, bytes);
	t = bench_now();
	bench_need(!msync(p, bytes, MS_SYNC), "msync");
	return bench_now() - t;
}

static void write_back(struct hmm *h, size_t mib, int rounds)
{
	struct file ours = make_file(mib << 20), theirs = make_file(mib << 20);
	char *p = map_ours(h, &ours), *q = map_plainly(&theirs), what[128];
	struct bench_pair pair = { 0 };

	for (int i = -1; i < rounds; i++) {
		double a = 0, b;

		/* The disk may be slower for who comes second. */
		if (i % 2)
			a = time_ours(h, p, ours.bytes, (char)i);
		b = time_plain(q, theirs.bytes, (char)i);
		if (!(i % 2))
			a = time_ours(h, p, ours.bytes, (char)i);
		if (i >= 0)
			bench_add(&pair, a, b);
	}
	snprintf(what, sizeof(what), "hmm_sync of %zu MiB of a file that a device has stored to",
		 mib);
	bench_row(BENCH_SPEED, 0.9, what, "msync of what the CPU has stored", &pair);
	need_zero(hmm_unmap(h, p, ours.bytes), "hmm_unmap");
	munmap(q, theirs.bytes);
	close(ours.fd);
	close(theirs.fd);
}

static double copy(char *to, const char *from)
{
	double t = bench_now();

	memcpy(to, from, SCAN);
	return bench_now() - t;
}

/* A mapping of the page cache, made anew: each page is still to be found there. */
static double scan_cache(const struct file *f)
{
	char *p = map_plainly(f);
	double t = bench_scan(p, SCAN);

	munmap(p, f->bytes);
	return t;
}

static void cpu_scans(struct hmm *h, const struct file *f, int rounds)
{
	char *p = map_ours(h, f), *here = bench_pages(SCAN, false), *to = bench_pages(SCAN, false);
	struct bench_pair by_copy = { 0 }, by_cache = { 0 };

	for (int i = -1; i < rounds; i++) {
		double t;

		bench_need(hmm_migrate(h, p, SCAN, 0, 0) == SCAN / BENCH_PAGE, "hmm_migrate");
		t = bench_scan(p, SCAN);
		if (i < 0)
			continue;
		bench_add(&by_copy, t, copy(to, here));
		bench_add(&by_cache, t, scan_cache(f));
	}
	bench_row(BENCH_SPEED, 0, "CPU reads 64 MiB of a file that a device has", "memcpy",
		  &by_copy);
	bench_row(BENCH_SPEED, 0, "CPU reads 64 MiB of a file that a device has",
		  "new mmap of the page cache", &by_cache);
	need_zero(hmm_unmap(h, p, f->bytes), "hmm_unmap");
	bench_pages_free(here, SCAN);
	bench_pages_free(to, SCAN);
}

static double scan_by(const struct bench_cl *cl, cl_kernel k, const char *p, const cl_ulong *sums)
{
	double t = bench_now();

	bench_cl_pointer(k, 0, p);
	bench_cl_value(k, 1, SCAN / sizeof(cl_ulong));
	bench_cl_pointer(k, 2, sums);
	bench_cl_run(cl, k, ITEMS);
	return bench_now() - t;
}

/*
 * The same kernel on a device that has nothing of the file yet, and by PoCL on a mapping of the
 * page cache; then again, when both have it.
 */
static void device_scans(struct hmm *h, const struct file *f, int rounds)
{
	cl_ulong *sums = (cl_ulong *)bench_pages(BENCH_HUGE, false);
	struct bench_pair first = { 0 }, again = { 0 };
	struct bench_cl ours, pocl;
	cl_kernel a, b;

	bench_cl_open(&pocl, BENCH_POCL, source);
	bench_cl_open(&ours, BENCH_HMM, source);
	a = bench_cl_kernel(&ours, "scan");
	b = bench_cl_kernel(&pocl, "scan");
	for (int i = -1; i < rounds; i++) {
		char *p = map_ours(h, f), *q = map_plainly(f);
		double t = scan_by(&ours, a, p, sums), u = scan_by(&pocl, b, q, sums);

		if (i >= 0) {
			bench_add(&first, t, u);
			t = scan_by(&ours, a, p, sums);
			bench_add(&again, t, scan_by(&pocl, b, q, sums));
		}
		need_zero(hmm_unmap(h, p, f->bytes), "hmm_unmap");
		munmap(q, f->bytes);
	}
	bench_row(BENCH_SPEED, 0, "device reads 64 MiB of a file for the first time",
		  "PoCL, new mmap of the page cache", &first);
	bench_row(BENCH_SPEED, 0, "device reads 64 MiB of a file that it has",
		  "PoCL, the same mmap", &again);
	bench_pages_free((char *)sums, BENCH_HUGE);
}

int main(int argc, char **argv)
{
	bool quick = argc > 1 && !strcmp(argv[1], "--quick");
	struct hmm_open_opts o = { .sz = sizeof(o), .device_bytes = 1280ull << 20 };
	struct file f;
	struct hmm *h;

	need_zero(hmm_open(&h, &o), "hmm_open");
	write_back(h, quick ? 128 : 1024, quick ? 4 : 6);
	f = make_file(SCAN);
	cpu_scans(h, &f, quick ? 5 : 15);
	device_scans(h, &f, quick ? 5 : 15);
	hmm_close(h);
	return 0;
}

// SPDX-License-Identifier: MIT
/* Loads and stores: the CPU's, the devices', and the kernel's on behalf of the CPU. */
#include "model/drive.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A range, mostly small, often across a page border. */
static void random_bytes(struct drive *d, size_t *offset, size_t *n)
{
	static const unsigned int most[] = { 1, 8, 64, 300, MAX_BYTES };
	size_t end = d->m.pages * PAGE;

	*n = 1 + below(d, most[below(d, 5)]);
	*offset = some_page(d) * PAGE;
	if (below(d, 3))
		*offset += below(d, PAGE);
	else if (*offset >= MAX_BYTES)
		*offset -= (*n + 1) / 2;
	if (*n > end - *offset)
		*n = end - *offset;
	d->now.offset = *offset;
	d->now.length = *n;
}

/* The same, of what an operation may store to. */
static void random_room(struct drive *d, size_t *offset, size_t *n)
{
	random_bytes(d, offset, n);
	*n = model_storable(&d->m, *offset, *n);
	d->now.length = *n;
}

void random_fill(struct drive *d, char *to, size_t n)
{
	uint64_t r = drive_random(&d->random);

	for (size_t i = 0; i < n; i++)
		to[i] = (char)(r >> (i % 8 * 8)) + (char)(i >> 3);
}

static sigjmp_buf escape;

static void on_signal(int sig)
{
	siglongjmp(escape, sig);
}

/* What the mapping forbids is SIGSEGV, what the file has not is SIGBUS. */
static int signal_of(const struct drive *d, size_t offset, int prot)
{
	const struct model_page *p = &d->m.page[offset / PAGE];

	return p->mapped && p->prot & prot ? SIGBUS : SIGSEGV;
}

/* A load or store that is not possible: its signal, and nothing else. */
static int forbidden(struct drive *d, size_t offset, bool store)
{
	volatile char *p = d->m.base + offset;
	struct sigaction sa = { .sa_handler = on_signal }, segv, bus;
	volatile int expected = signal_of(d, offset, store ? PROT_WRITE : PROT_READ);
	int got;

	sigaction(SIGSEGV, &sa, &segv);
	sigaction(SIGBUS, &sa, &bus);
	got = sigsetjmp(escape, 1);
	if (!got) {
		if (store)
			*p = 1;
		else
			(void)*p;
	}
	sigaction(SIGSEGV, &segv, NULL);
	sigaction(SIGBUS, &bus, NULL);
	return got == expected ? 0 : wrong(d, offset, "signal %d instead of %d", got, expected);
}

static int cpu_load(struct drive *d)
{
	size_t offset, n, can;

	random_bytes(d, &offset, &n);
	can = model_accessible(&d->m, offset, n, PROT_READ);
	if (!can)
		return forbidden(d, offset, false);
	model_cpu_touched(&d->m, offset, can, false);
	memcpy(d->plain, d->m.base + offset, can);
	return expect_bytes(d, offset, d->plain, can);
}

static int cpu_store(struct drive *d)
{
	size_t offset, n, can;

	random_room(d, &offset, &n);
	if (!n)
		return 0;
	random_fill(d, d->plain, n);
	can = model_accessible(&d->m, offset, n, PROT_WRITE);
	if (!can)
		return forbidden(d, offset, true);
	model_cpu_touched(&d->m, offset, can, true);
	memcpy(d->m.base + offset, d->plain, can);
	__asm__ volatile("" ::: "memory");
	if (!settings.negative || strcmp(settings.negative, "model") || d->now.number % 64)
		model_store(&d->m, offset, d->plain, can);
	return 0;
}

/* Is @got what a device access of @n bytes may answer? */
static int expect_count(struct drive *d, size_t offset, size_t n, long got, int prot)
{
	size_t can = model_accessible(&d->m, offset, n, prot);

	if (got != (can ? (long)can : -EFAULT))
		return wrong(d, offset, "device access: %ld, %zu of %zu bytes accessible", got, can,
			     n);
	return 0;
}

static int device_load(struct drive *d)
{
	size_t offset, n, can;
	int device = (int)below(d, d->m.devices);
	long got;

	random_bytes(d, &offset, &n);
	got = hmm_device_read(d->h, device, d->m.base + offset, d->plain, n);
	d->now.detail = device;
	d->now.result = got;
	if (expect_count(d, offset, n, got, PROT_READ))
		return -1;
	can = got > 0 ? (size_t)got : 0;
	model_device_touched(&d->m, offset, can, (unsigned int)device, false);
	return expect_bytes(d, offset, d->plain, can);
}

static int device_store(struct drive *d)
{
	size_t offset, n, can;
	int device = (int)below(d, d->m.devices);
	long got;

	random_room(d, &offset, &n);
	if (!n)
		return 0;
	random_fill(d, d->plain, n);
	got = hmm_device_write(d->h, device, d->m.base + offset, d->plain, n);
	d->now.detail = device;
	d->now.result = got;
	if (expect_count(d, offset, n, got, PROT_WRITE))
		return -1;
	can = got > 0 ? (size_t)got : 0;
	model_device_touched(&d->m, offset, can, (unsigned int)device, true);
	model_store(&d->m, offset, d->plain, can);
	return 0;
}

/* The engine's own stores. What is forbidden would cost the engine: not here. */
static int native_store(struct drive *d)
{
	unsigned int device = below(d, d->m.devices);
	uint32_t seed = (uint32_t)drive_random(&d->random);
	size_t offset, n;
	int err;

	random_room(d, &offset, &n);
	n = model_accessible(&d->m, offset, n, PROT_WRITE);
	d->now.detail = (long)device;
	if (!n)
		return 0;
	err = native_fill(&d->native[device], d->m.base + offset, (uint32_t)n, seed);
	if (err)
		return wrong(d, offset, "a native store of %zu bytes: error %d", n, err);
	for (uint32_t i = 0; i < n; i++)
		d->plain[i] = (char)native_pattern(seed, i);
	model_device_touched(&d->m, offset, n, device, true);
	model_store(&d->m, offset, d->plain, n);
	return 0;
}

/* Its loads, seen by their copy in shared memory. */
static int native_load(struct drive *d)
{
	unsigned int device = below(d, d->m.devices);
	size_t offset, n;
	int err;

	random_bytes(d, &offset, &n);
	n = model_accessible(&d->m, offset, n, PROT_READ);
	d->now.detail = (long)device;
	if (!n)
		return 0;
	memset(d->plain, 0xee, n);
	err = native_copy(&d->native[device], d->plain, d->m.base + offset, (uint32_t)n);
	if (err)
		return wrong(d, offset, "a native load of %zu bytes: error %d", n, err);
	model_device_touched(&d->m, offset, n, device, false);
	return expect_bytes(d, offset, d->plain, n);
}

/* write(2) of the range to a pipe: the kernel loads. */
static int system_load(struct drive *d)
{
	size_t offset, n, can;
	int fd[2];
	long got, back;

	random_bytes(d, &offset, &n);
	can = model_accessible(&d->m, offset, n, PROT_READ);
	if (!d->kernel_faults || pipe(fd))
		return 0;
	got = write(fd[1], d->m.base + offset, can ? can : n);
	got = got < 0 ? -errno : got;
	back = got > 0 ? read(fd[0], d->plain, MAX_BYTES) : 0;
	close(fd[0]);
	close(fd[1]);
	d->now.result = got;
	if (got != (can ? (long)can : -EFAULT))
		return wrong(d, offset, "write(2) is %ld, %zu of %zu bytes accessible", got, can,
			     n);
	if (!can)
		return 0;
	model_cpu_touched(&d->m, offset, can, false);
	return back == got ? expect_bytes(d, offset, d->plain, can) :
			     wrong(d, offset, "%ld of %ld bytes in the pipe", back, got);
}

/* read(2) into the range: the kernel stores. */
static int system_store(struct drive *d)
{
	size_t offset, n, can;
	int fd[2];
	long got;

	random_room(d, &offset, &n);
	if (!n)
		return 0;
	random_fill(d, d->plain, n);
	can = model_accessible(&d->m, offset, n, PROT_WRITE);
	if (!d->kernel_faults || pipe(fd))
		return 0;
	got = write(fd[1], d->plain, can ? can : n);
	got = read(fd[0], d->m.base + offset, can ? can : n);
	got = got < 0 ? -errno : got;
	close(fd[0]);
	close(fd[1]);
	d->now.result = got;
	if (got != (can ? (long)can : -EFAULT))
		return wrong(d, offset, "read(2) is %ld, %zu of %zu bytes accessible", got, can, n);
	model_cpu_touched(&d->m, offset, can, true);
	model_store(&d->m, offset, d->plain, can);
	return 0;
}

const struct op touch_ops[] = {
	{ "cpu-load", 140, cpu_load },
	{ "cpu-store", 140, cpu_store },
	{ "device-load", 100, device_load },
	{ "device-store", 100, device_store },
	{ "native-load", 50, native_load },
	{ "native-store", 50, native_store },
	{ "system-load", 30, system_load },
	{ "system-store", 30, system_store },
	{ 0 },
};

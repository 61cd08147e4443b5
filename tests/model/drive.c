// SPDX-License-Identifier: MIT
#include "model/drive.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

struct settings settings = {
	.open = { .sz = sizeof(struct hmm_open_opts),
		  .devices = MAX_DEVICES,
		  .device_bytes = 8ul << 20 },
	.pages = 1200,
	.trace = -1,
	.clients = 1,
	.run = 16,
};

uint64_t drive_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ul;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ul;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebul;
	return z ^ (z >> 31);
}

unsigned int below(struct drive *d, unsigned int n)
{
	return (unsigned int)(drive_random(&d->random) % n);
}

void random_pages(struct drive *d, unsigned int most, unsigned int *first, unsigned int *n)
{
	*first = below(d, d->m.pages);
	*n = 1 + below(d, most);
	if (*n > d->m.pages - *first)
		*n = d->m.pages - *first;
}

bool left_out(const char *name)
{
	size_t length = strlen(name);
	const char *p = settings.without;

	while (p && *p) {
		size_t word = strcspn(p, ",");

		if (word == length && !strncmp(p, name, word))
			return true;
		p += word + (p[word] == ',');
	}
	return false;
}

int wrong(struct drive *d, size_t offset, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(d->wrong, sizeof(d->wrong), fmt, args);
	va_end(args);
	d->bad = offset;
	return -1;
}

int expect_bytes(struct drive *d, size_t offset, const void *seen, size_t n)
{
	long bad = model_compare(&d->m, offset, seen, n, true);

	if (bad < 0)
		return 0;
	return wrong(d, (size_t)bad, "byte %#x, expected %#x",
		     ((const unsigned char *)seen)[(size_t)bad - offset],
		     model_byte(&d->m, (size_t)bad));
}

int check_all(struct drive *d, int device)
{
	for (unsigned int i = 0; i < d->m.pages; i++) {
		size_t offset = i * PAGE;
		long got = PAGE;

		if (!model_accessible(&d->m, offset, PAGE, PROT_READ))
			continue;
		if (device < 0) {
			memcpy(d->plain, d->m.base + offset, PAGE);
			model_cpu_touched(&d->m, offset, PAGE, false);
		} else {
			got = hmm_device_read(d->h, device, d->m.base + offset, d->plain, PAGE);
			model_device_touched(&d->m, offset, PAGE, (unsigned int)device, false);
		}
		if (got != (long)PAGE)
			return wrong(d, offset, "hmm_device_read() is %ld", got);
		if (expect_bytes(d, offset, d->plain, PAGE))
			return -1;
	}
	return 0;
}

/*
 * The kernel searches from the top of the address space: what is low it leaves alone. A border
 * of the runtime's blocks lies in the middle.
 */
#define MIDDLE 0x200000200000ul

char *map_range(unsigned int pages, int fd)
{
	int flags = MAP_FIXED_NOREPLACE | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
	void *p = mmap((void *)(MIDDLE - pages / 2 * PAGE), pages * PAGE, PROT_READ | PROT_WRITE,
		       flags, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int open_natives(struct drive *d)
{
	int err = 0;

	for (unsigned int i = 0; i < d->m.devices && !err; i++) {
		err = native_open(&d->native[i], d->h, (int)i);
		if (err)
			fprintf(stderr, "engine of device %u: error %d\n", i, err);
	}
	return err;
}

/* An engine has its time to start, which is short where all is slow and much else runs. */
static int open_patiently(struct hmm **h)
{
	int err = -ETIMEDOUT;

	for (int i = 0; i < 10 && err == -ETIMEDOUT; i++)
		err = hmm_open(h, &settings.open);
	return err;
}

int drive_start(struct drive *d)
{
	struct hmm_device_info info = { 0 };
	int err = open_patiently(&d->h);

	if (err)
		return err;
	err = hmm_device_info(d->h, 0, &info);
	if (err)
		return err;
	d->kernel_faults = !(info.flags & HMM_DEVICE_USER_MODE_ONLY);
	d->m.devices = (unsigned int)hmm_device_count(d->h);
	d->m.copies = !on_driver() && d->kernel_faults;
	d->plain = shared_memory(MAX_THREADS * MAX_BYTES);
	d->filler = mmap(NULL, settings.open.device_bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!d->plain || d->filler == MAP_FAILED)
		return -ENOMEM;
	return open_natives(d);
}

int drive_open(struct drive *d)
{
	char *base = map_range(settings.pages, -1);
	int err = base && history_start() ? 0 : -ENOMEM;

	if (!err)
		err = model_create(&d->m, base, settings.pages, 0);
	if (!err)
		err = drive_start(d);
	if (!err)
		model_map(&d->m, 0, d->m.pages, PROT_READ | PROT_WRITE);
	return err;
}

void drive_close(struct drive *d)
{
	for (unsigned int i = 0; i < d->m.devices; i++)
		native_close(&d->native[i]);
	hmm_close(d->h);
	munmap(d->m.base, d->m.pages * PAGE);
	munmap(d->plain, MAX_THREADS * MAX_BYTES);
	munmap(d->filler, settings.open.device_bytes);
	model_destroy(&d->m);
}

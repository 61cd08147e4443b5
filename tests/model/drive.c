// SPDX-License-Identifier: MIT
#include "model/drive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct settings settings = {
	.open = { .sz = sizeof(struct hmm_open_opts),
		  .devices = MAX_DEVICES,
		  .device_bytes = 8ul << 20 },
	.pages = 1200,
	.trace = -1,
	.clients = 1,
	.run = 16,
};

#define OFTEN 8 /* pages */

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

unsigned int some_page(struct drive *d)
{
	return below(d, d->m.file && below(d, 2) ? OFTEN : d->m.pages);
}

void random_pages(struct drive *d, unsigned int most, unsigned int *first, unsigned int *n)
{
	*first = some_page(d);
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

int put_text(const char *folder, const char *file, const char *text)
{
	char path[256];
	int fd, err = 0;

	snprintf(path, sizeof(path), "%s/%s", folder, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
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
	return d->m.file ? check_file(d) : 0;
}

/*
 * The kernel searches from the top of the address space: what is low it leaves alone. A border
 * of the runtime's blocks lies in the middle.
 */
#define MIDDLE 0x200000200000ul
#define READ_WRITE (PROT_READ | PROT_WRITE)

char *map_range(unsigned int pages, int fd)
{
	int flags = MAP_FIXED_NOREPLACE | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
	void *p = mmap((void *)(MIDDLE - pages / 2 * PAGE), pages * PAGE, READ_WRITE, flags, fd, 0);

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

int drive_start(struct drive *d)
{
	struct hmm_device_info info = { 0 };
	int err = hmm_open(&d->h, &settings.open);

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

/* A third of the range is the file, shared; a third is it, private. */
static int map_parts(struct drive *d)
{
	unsigned int n = d->m.file->pages;

	if (mmap(d->m.base, n * PAGE, READ_WRITE, MAP_SHARED | MAP_FIXED, d->file, 0) ==
		    MAP_FAILED ||
	    mmap(d->m.base + n * PAGE, n * PAGE, READ_WRITE, MAP_PRIVATE | MAP_FIXED, d->file, 0) ==
		    MAP_FAILED)
		return -errno;
	model_map_file(&d->m, 0, n, READ_WRITE, 0, true);
	model_map_file(&d->m, n, n, READ_WRITE, 0, false);
	return 0;
}

static int open_files(struct drive *d)
{
	d->file = open(settings.file, O_RDWR | O_CLOEXEC);
	d->lower = settings.lower ? open(settings.lower, O_RDONLY | O_CLOEXEC) : -1;
	return d->file < 0 || (settings.lower && d->lower < 0) ? -errno : 0;
}

int drive_open(struct drive *d)
{
	int err;

	d->file = d->lower = -1;
	d->m.base = map_range(d->m.pages, -1);
	if (!d->m.base)
		return -ENOMEM;
	err = drive_start(d);
	if (err)
		return err;
	model_map(&d->m, 0, d->m.pages, READ_WRITE);
	if (settings.file)
		err = open_files(d);
	return err || !settings.file ? err : map_parts(d);
}

void drive_close(struct drive *d)
{
	if (d->file > 0)
		close(d->file);
	if (d->lower > 0)
		close(d->lower);
	for (unsigned int i = 0; i < d->m.devices; i++)
		native_close(&d->native[i]);
	hmm_close(d->h);
	munmap(d->m.base, d->m.pages * PAGE);
	munmap(d->plain, MAX_THREADS * MAX_BYTES);
	munmap(d->filler, settings.open.device_bytes);
	if (d->m.file)
		model_file_destroy(d->m.file);
	model_destroy(&d->m);
}

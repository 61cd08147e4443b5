// SPDX-License-Identifier: MIT
/* One load or store, by each of those who can: between them lies all that is tested. */
#include "model/racing.h"

#include <errno.h>
#include <unistd.h>

static const char *const names[WAYS] = { "CPU", "hmm_device_*()", "kernel", "system call" };

/* A kernel takes long, and the engine's lane, too, waits for it. */
enum way random_way(struct racer *r)
{
	enum way way = below(&r->d, 8) ? (enum way)below(&r->d, WAYS) : BY_KERNEL;

	if (way == BY_KERNEL && below(&r->d, 4))
		way = BY_DEVICE;
	return way == BY_CALL && (r->client->file < 0 || !on_driver()) ? BY_CPU : way;
}

static bool done(struct racer *r, enum way way, size_t offset, long got, size_t n)
{
	if (got == (long)n)
		return true;
	racer_wrong(r, names[way], offset, "count or error", got, (long)n);
	return false;
}

static struct native *native_of(struct racer *r)
{
	return &r->client->d.native[below(&r->d, r->d.m.devices)];
}

static int device_of(struct racer *r)
{
	return (int)below(&r->d, r->d.m.devices);
}

bool load_by(struct racer *r, enum way way, size_t offset, size_t n)
{
	char *p = r->d.m.base + offset;
	long got = (long)n, err;

	switch (way) {
	case BY_CPU:
		memcpy(r->d.plain, p, n);
		__asm__ volatile("" ::: "memory");
		break;
	case BY_DEVICE:
		got = hmm_device_read(r->d.h, device_of(r), p, r->d.plain, n);
		break;
	case BY_KERNEL:
		err = native_copy(native_of(r), r->d.plain, p, (uint32_t)n);
		got = err ? err : got;
		break;
	default:
		got = pread(r->client->file, r->d.plain, n, (off_t)offset);
		got = got < 0 ? -errno : got;
	}
	return done(r, way, offset, got, n);
}

bool store_by(struct racer *r, enum way way, size_t offset, size_t n)
{
	char *p = r->d.m.base + offset;
	long got = (long)n, err;

	switch (way) {
	case BY_CPU:
		memcpy(p, r->d.plain, n);
		__asm__ volatile("" ::: "memory");
		break;
	case BY_DEVICE:
		got = hmm_device_write(r->d.h, device_of(r), p, r->d.plain, n);
		break;
	case BY_KERNEL:
		err = native_copy(native_of(r), p, r->d.plain, (uint32_t)n);
		got = err ? err : got;
		break;
	default:
		got = pwrite(r->client->file, r->d.plain, n, (off_t)offset);
		got = got < 0 ? -errno : got;
	}
	return done(r, way, offset, got, n);
}

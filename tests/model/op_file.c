// SPDX-License-Identifier: MIT
/* What is done to the file itself, beside its mappings: by calls that know nothing of devices. */
#include "model/drive.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_WRITE (PROT_READ | PROT_WRITE)
#define MOST_FILLED 128u /* pages */
#define LOOKS 2000       /* at a page that is being written, 10 ms apart */

static int wrong_file(struct drive *d, size_t at, const char *what, long seen, long expected)
{
	d->in_file = true;
	return wrong(d, at, "%s %ld, expected %ld", what, seen, expected);
}

static void note(struct drive *d, size_t at, size_t n, long detail, long result)
{
	d->now.of_file = true;
	d->now.offset = at;
	d->now.length = n;
	d->now.detail = detail;
	d->now.result = result;
}

static size_t room(const struct drive *d)
{
	return d->m.file->pages * PAGE;
}

/* Bytes that the file may have; often where it ends. */
static void random_part(struct drive *d, size_t *at, size_t *n)
{
	static const unsigned int most[] = { 1, 64, PAGE, MAX_BYTES };
	size_t end = d->m.file->size & ~(PAGE - 1), before = below(d, 3) * PAGE;

	*n = 1 + below(d, most[below(d, 4)]);
	*at = below(d, d->m.file->pages) * PAGE;
	if (!below(d, 4) && end >= before && end < room(d))
		*at = end - before;
	if (below(d, 2))
		*at += below(d, PAGE);
	else if (!below(d, 3))
		*n = MAX_BYTES;
	if (*n > room(d) - *at)
		*n = room(d) - *at;
}

/* How many of them it has. */
static long has(const struct drive *d, size_t at, size_t n)
{
	size_t size = d->m.file->size;

	return at >= size ? 0 : at + n > size ? (long)(size - at) : (long)n;
}

static int expect_file_bytes(struct drive *d, size_t at, const char *seen, size_t n,
			     const char *what)
{
	const char *bytes = d->m.file->bytes + at;

	for (size_t i = 0; i < n; i++)
		if (seen[i] != bytes[i])
			return wrong_file(d, at + i, what, (unsigned char)seen[i],
					  (unsigned char)bytes[i]);
	return 0;
}

/* The lower file's page; what it has not is zeros. False: not what it must be. */
static bool is_below(struct drive *d, size_t page)
{
	static char below_page[PAGE];
	ssize_t got;

	memset(below_page, 0, PAGE);
	got = pread(d->lower, below_page, PAGE, (off_t)(page * PAGE));
	return got >= 0 && !memcmp(below_page, d->m.file->bytes + page * PAGE, PAGE);
}

int check_below(struct drive *d, size_t at, size_t n, bool written)
{
	for (size_t page = at / PAGE; d->lower >= 0 && n && page <= (at + n - 1) / PAGE; page++) {
		int left = written ? 0 : patient(LOOKS);

		while (!is_below(d, page) && left--)
			usleep(10000);
		if (left < 0)
			return wrong_file(d, page * PAGE, "the lower file's page differs", written,
					  0);
	}
	return 0;
}

int check_size(struct drive *d)
{
	struct stat st;

	if (fstat(d->file, &st) || st.st_size != (off_t)d->m.file->size)
		return wrong_file(d, 0, "size", st.st_size, (long)d->m.file->size);
	return 0;
}

static int read_and_check(struct drive *d, size_t at, size_t n)
{
	long got = pread(d->file, d->plain, n, (off_t)at), expected = has(d, at, n);

	note(d, at, n, 0, got);
	if (got != expected)
		return wrong_file(d, at, "bytes read", got < 0 ? -errno : got, expected);
	model_file_only(&d->m, at, (size_t)got, AT_SYSTEM);
	return expect_file_bytes(d, at, d->plain, (size_t)got, "byte read");
}

int check_file(struct drive *d)
{
	int err = 0;

	for (size_t at = 0; !err && at < room(d); at += PAGE)
		err = read_and_check(d, at, PAGE);
	if (!err && fsync(d->file))
		err = wrong_file(d, 0, "fsync()", -errno, 0);
	return err ? err : check_below(d, 0, room(d), true);
}

static int file_read(struct drive *d)
{
	size_t at, n;

	random_part(d, &at, &n);
	return read_and_check(d, at, n);
}

/* From the page cache into a pipe, without a copy. */
static int file_splice(struct drive *d)
{
	long got, back = 0, expected;
	size_t at, n;
	off_t from;
	int fd[2];

	random_part(d, &at, &n);
	from = (off_t)at;
	expected = has(d, at, n);
	if (pipe2(fd, O_CLOEXEC))
		return 0;
	got = sendfile(fd[1], d->file, &from, n);
	got = got < 0 ? -errno : got;
	close(fd[1]);
	while (back < got) {
		long more = read(fd[0], d->plain + back, (size_t)(got - back));

		if (more <= 0)
			break;
		back += more;
	}
	close(fd[0]);
	note(d, at, n, 0, got);
	if (got != expected || back != got)
		return wrong_file(d, at, "bytes sent", got, expected);
	model_file_only(&d->m, at, (size_t)got, AT_SYSTEM);
	return expect_file_bytes(d, at, d->plain, (size_t)got, "byte sent");
}

/* What was written; the page where the file ended came home, too. */
static void model_written(struct drive *d, size_t at, const char *bytes, size_t n)
{
	size_t old = d->m.file->size;

	if (at > old)
		model_file_may_be(&d->m, old, 1, AT_SYSTEM | AT_NOWHERE);
	model_file_store(&d->m, at, bytes, n);
	model_file_only(&d->m, at, n, AT_SYSTEM);
}

static int file_write(struct drive *d)
{
	size_t at, n;
	long got;

	random_part(d, &at, &n);
	random_fill(d, d->plain, n);
	got = pwrite(d->file, d->plain, n, (off_t)at);
	note(d, at, n, 0, got);
	if (got != (long)n)
		return wrong_file(d, at, "bytes written", got < 0 ? -errno : got, (long)n);
	model_written(d, at, d->plain, n);
	return 0;
}

/* Does the range show the file's pages of [at, at + n), or what is not certain? */
static bool overlaps(const struct drive *d, size_t offset, size_t n, size_t at)
{
	for (size_t i = offset / PAGE; i <= (offset + n - 1) / PAGE; i++) {
		const struct model_page *p = &d->m.page[i];

		if (p->lazy ||
		    (p->file && p->file - 1 >= at / PAGE && p->file - 1 <= (at + n - 1) / PAGE))
			return true;
	}
	return false;
}

static bool random_pair(struct drive *d, size_t *offset, size_t *at, size_t *n, int prot)
{
	random_part(d, at, n);
	*offset = some_page(d) * PAGE + below(d, PAGE);
	if (*n > d->m.pages * PAGE - *offset)
		*n = d->m.pages * PAGE - *offset;
	if (prot == PROT_WRITE)
		*n = model_storable(&d->m, *offset, *n);
	*n = model_accessible(&d->m, *offset, *n, prot);
	return *n && !overlaps(d, *offset, *n, *at);
}

/* Bytes of the range, wherever they are, are written to the file: it faults with a page locked. */
static int file_from(struct drive *d)
{
	size_t offset, at, n;
	long got;

	if (!random_pair(d, &offset, &at, &n, PROT_READ))
		return 0;
	for (size_t i = 0; i < n; i++)
		d->plain[i] = (char)model_byte(&d->m, offset + i);
	got = pwrite(d->file, d->m.base + offset, n, (off_t)at);
	note(d, at, n, (long)offset, got);
	if (got != (long)n)
		return wrong_file(d, at, "bytes written", got < 0 ? -errno : got, (long)n);
	model_cpu_touched(&d->m, offset, n, false);
	model_written(d, at, d->plain, n);
	return 0;
}

/* The file is read into the range. */
static int file_into(struct drive *d)
{
	size_t offset, at, n;
	long got, expected;

	if (!random_pair(d, &offset, &at, &n, PROT_WRITE))
		return 0;
	expected = has(d, at, n);
	got = pread(d->file, d->m.base + offset, n, (off_t)at);
	note(d, at, n, (long)offset, got);
	if (got != expected)
		return wrong_file(d, at, "bytes read", got < 0 ? -errno : got, expected);
	if (!got)
		return 0;
	model_file_only(&d->m, at, (size_t)got, AT_SYSTEM);
	model_cpu_touched(&d->m, offset, (size_t)got, true);
	model_store(&d->m, offset, d->m.file->bytes + at, (size_t)got);
	return 0;
}

/* Many pages that follow each other are dirty on a device, by a mapping that goes again. */
static int fill_by_device(struct drive *d)
{
	unsigned int device = below(d, d->m.devices), seed = below(d, UINT_MAX);
	unsigned int first = below(d, d->m.file->pages), n = 1 + below(d, MOST_FILLED);
	size_t at = first * PAGE, bytes = (size_t)has(d, at, n * PAGE);
	char *p = bytes ? mmap(NULL, bytes, READ_WRITE, MAP_SHARED, d->file, (off_t)at) :
			  MAP_FAILED;
	int err;

	note(d, at, bytes, (long)device, 0);
	if (p == MAP_FAILED)
		return bytes ? wrong_file(d, at, "mmap()", -errno, 0) : 0;
	err = native_fill(&d->native[device], p, (uint32_t)bytes, seed);
	munmap(p, bytes);
	if (err)
		return wrong_file(d, at, "a native store", err, 0);
	model_evicted(&d->m, device);
	model_file_only(&d->m, at, bytes, AT_DEVICE(device) | AT_SYSTEM);
	for (size_t i = 0; i < bytes; i++)
		d->m.file->bytes[at + i] = (char)native_pattern(seed, (uint32_t)i);
	return 0;
}

/* What is synced is in the lower file at once, wherever the pages are, and they stay there. */
static int file_sync(struct drive *d)
{
	unsigned int how = below(d, 3);
	int err = how == 0 ? fsync(d->file) : how == 1 ? fdatasync(d->file) : syncfs(d->file);
	struct stat st;

	note(d, 0, room(d), (long)how, err);
	if (err)
		return wrong_file(d, 0, "sync", -errno, 0);
	if (d->lower >= 0 && (fstat(d->lower, &st) || st.st_size != (off_t)d->m.file->size))
		return wrong_file(d, 0, "size of the lower file", st.st_size,
				  (long)d->m.file->size);
	return check_below(d, 0, room(d), true);
}

static int sync_mapping(struct drive *d)
{
	unsigned int first, n;

	random_pages(d, 64, &first, &n);
	n = model_alike(&d->m, first, n);
	if (!n || !d->m.page[first].shared)
		return 0;
	note(d, (d->m.page[first].file - 1) * PAGE, n * PAGE, 1, 0);
	if (msync(d->m.base + first * PAGE, n * PAGE, MS_SYNC))
		return wrong_file(d, d->now.offset, "msync()", -errno, 0);
	return check_below(d, d->now.offset, n * PAGE, true);
}

/* Mostly near the end, so that there is something left. */
static int file_resize(struct drive *d)
{
	size_t size = room(d) - below(d, below(d, 8) ? 12 * PAGE : (unsigned int)room(d));
	size_t old = d->m.file->size;
	bool allocate = size > old && below(d, 2);
	int err;

	if (!below(d, 3))
		size &= ~(PAGE - 1);
	allocate &= size > old;
	err = allocate ? fallocate(d->file, 0, 0, (off_t)size) : ftruncate(d->file, (off_t)size);
	note(d, size < old ? size : old, size < old ? old - size : size - old, (long)size, err);
	if (err)
		return wrong_file(d, size, allocate ? "fallocate()" : "ftruncate()", -errno, 0);
	model_file_may_be(&d->m, size < old ? size : old, 1, AT_SYSTEM | AT_NOWHERE);
	model_file_resize(&d->m, size);
	return 0;
}

/* Zeros, by a hole or as the lower filesystem likes. One that cannot leaves all as it was. */
static int file_clear(struct drive *d)
{
	int mode = below(d, 4) ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE, err;
	size_t at, n;

	random_part(d, &at, &n);
	err = fallocate(d->file, mode | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)n);
	note(d, at, n, mode, err);
	model_file_may_be(&d->m, at, n, AT_SYSTEM | AT_NOWHERE);
	if (err && (mode == FALLOC_FL_PUNCH_HOLE || errno != EOPNOTSUPP))
		return wrong_file(d, at, "fallocate()", -errno, 0);
	if (!err)
		memset(d->m.file->bytes + at, 0, n);
	return 0;
}

/* Clean pages may go, from wherever they are; so may all, home, if more than pages is dropped. */
static int drop(struct drive *d)
{
	bool all = !below(d, 4);
	int err = put_text("/proc/sys/vm", "drop_caches", all ? "3" : "1");

	note(d, 0, room(d), all, err);
	if (err)
		return wrong_file(d, 0, "drop_caches", err, 0);
	model_file_may_be(&d->m, 0, room(d), AT_NOWHERE);
	for (unsigned int i = 0; all && i < d->m.devices; i++)
		model_evicted(&d->m, i);
	return 0;
}

static int forget(struct drive *d)
{
	size_t at, n;
	int err;

	random_part(d, &at, &n);
	n = below(d, 2) ? n : room(d) - at;
	err = posix_fadvise(d->file, (off_t)at, (off_t)n, POSIX_FADV_DONTNEED);
	note(d, at, n, 0, err);
	model_file_may_be(&d->m, at, n, AT_NOWHERE | AT_SYSTEM);
	return err ? wrong_file(d, at, "posix_fadvise()", err, 0) : 0;
}

static int reopen(struct drive *d)
{
	close(d->file);
	d->file = open(settings.file, O_RDWR | O_CLOEXEC);
	return d->file < 0 ? wrong_file(d, 0, "open()", -errno, 0) : 0;
}

const struct op file_ops[] = {
	{ "file-read", 60, file_read },      { "file-splice", 15, file_splice },
	{ "file-write", 60, file_write },    { "file-from", 20, file_from },
	{ "file-into", 20, file_into },      { "file-sync", 25, file_sync },
	{ "msync", 25, sync_mapping },       { "truncate", 20, file_resize },
	{ "punch", 20, file_clear },         { "drop-caches", 6, drop },
	{ "fadvise", 10, forget },           { "reopen", 4, reopen },
	{ "file-fill", 12, fill_by_device }, { 0 },
};

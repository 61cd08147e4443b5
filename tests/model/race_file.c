// SPDX-License-Identifier: MIT
/* The range of a file: what is durable, holes, and new mappings of pages. */
#include "model/racing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define BYTES ((BODY + TAIL) * PAGE)

/* Something in each page, but for counters. */
static void fill_model(struct client *c)
{
	model_map(&c->d.m, 0, BODY + TAIL, PROT_READ | PROT_WRITE);
	for (unsigned int i = 0; i < BODY + TAIL; i++)
		if (i >= BODY || i % 5 != 3)
			memset(c->d.m.now + i * PAGE, (int)(i + settings.seed), PAGE);
}

int file_create(struct client *c)
{
	int fd = open(settings.file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int err = model_create(&c->d.m, NULL, BODY + TAIL, 0);

	c->growth = shared_memory(sizeof(*c->growth));
	if (fd < 0)
		return -errno;
	if (!c->growth)
		err = -ENOMEM;
	if (!err) {
		fill_model(c);
		if (pwrite(fd, c->d.m.now, BYTES, 0) != (ssize_t)BYTES)
			err = -EIO;
	}
	close(fd);
	c->file = 0;
	return err;
}

int file_open(struct client *c)
{
	const char *lower = settings.lower ? settings.lower : settings.file;

	c->file = open(settings.file, O_RDWR | O_CLOEXEC);
	if (c->file < 0)
		return -errno;
	/* On the driver the file itself is what is coherent, and says nothing. */
	if (settings.lower || !on_driver())
		c->lower = open(lower, O_RDONLY | O_CLOEXEC);
	return settings.lower && c->lower < 0 ? -errno : 0;
}

void file_close(struct client *c)
{
	if (c->file >= 0)
		close(c->file);
	if (c->lower >= 0)
		close(c->lower);
}

char *file_map(struct client *c)
{
	void *p = NULL;

	/* Where holes stay holes; but the emulated backend chooses. */
	if (on_driver())
		return map_range(BODY + TAIL, c->file);
	hmm_map_file(c->d.h, c->file, 0, BYTES, PROT_READ | PROT_WRITE, 0, &p);
	return p;
}

static void compare(struct racer *r, size_t offset, size_t n)
{
	long bad = model_compare(&r->d.m, offset, r->d.plain + offset % PAGE, n, false);

	if (bad >= 0)
		racer_wrong(r, "lower file", (size_t)bad, "byte",
			    (unsigned char)r->d.plain[(size_t)bad % PAGE],
			    model_byte(&r->d.m, (size_t)bad));
}

static void look_below(struct racer *r, unsigned int page)
{
	size_t n = unit_bytes(page), at = page * PAGE;
	ssize_t got = pread(r->client->lower, r->d.plain, PAGE, (off_t)at);

	if (got != (ssize_t)PAGE)
		racer_wrong(r, "lower file", at, "bytes read", got < 0 ? -errno : got, PAGE);
	else if (page >= BODY || !IS_LANES(page))
		compare(r, at, PAGE);
	else
		for (at += r->id * n; at + n <= (page + 1) * PAGE; at += r->client->lanes * n)
			compare(r, at, n);
}

/* On the driver the mapping is not hmm_map_file()'s. */
static int sync_range(struct racer *r, size_t offset, size_t n)
{
	if (on_driver())
		return msync(r->d.m.base + offset, n, MS_SYNC) ? -errno : 0;
	return hmm_sync(r->d.h, r->d.m.base + offset, n, 0);
}

/* What others count is in the lower file as they had counted it before, or newer. */
static void look_below_at_counter(struct racer *r)
{
	struct growth_look l = growth_begin(r);
	size_t page = l.offset & ~(PAGE - 1);
	int err = broken("sync") ? 0 : sync_range(r, page, PAGE);

	if (err || pread(r->client->lower, r->d.plain, 1, (off_t)l.offset) != 1)
		racer_wrong(r, "lower file", l.offset, "sync or read", err, 0);
	else
		growth_judge(r, "lower file's counter", &l);
}

static bool is_on_device(struct racer *r, unsigned int page)
{
	struct hmm_page_status s;

	return hmm_query(r->d.h, r->d.m.base + page * PAGE, 1, &s) == 1 && s.location >= 0;
}

/* Nobody else stores to it: not older, and not newer either. */
void sync_and_look(struct racer *r, unsigned int page)
{
	bool all = on_driver() && below(&r->d, 2), resident = is_on_device(r, page);
	int err = 0;

	racer_note(r, "owner", all ? "fsync" : "msync", page * PAGE, PAGE, 0);
	if (all && !broken("sync"))
		err = fsync(r->client->file) ? -errno : 0;
	else if (!broken("sync"))
		err = sync_range(r, page * PAGE, PAGE);
	if (err)
		racer_wrong(r, "owner", page * PAGE, "sync", err, 0);
	else if (r->client->lower >= 0)
		look_below(r, page);
	if (resident && is_on_device(r, page))
		atomic_fetch_add(&r->race->in_place, 1);
	if (r->client->lower >= 0)
		look_below_at_counter(r);
	racer_did(r, RACE_SYNCS, 1 + (r->client->lower >= 0));
}

void check_lower(struct racer *r)
{
	int err = sync_range(r, 0, BYTES);

	if (err)
		racer_wrong(r, "end", 0, "sync", err, 0);
	for (unsigned int i = 0; i < BODY + TAIL && r->client->lower >= 0; i++) {
		if (pread(r->client->lower, r->d.plain, PAGE, (off_t)(i * PAGE)) != (ssize_t)PAGE)
			racer_wrong(r, "end", i * PAGE, "read of the lower file", errno, 0);
		compare(r, i * PAGE, PAGE);
	}
}

static void must(struct racer *r, unsigned int page, const char *what, bool done)
{
	if (!done)
		racer_wrong(r, "page owner", page * PAGE, what, errno, 0);
}

static void punch(struct racer *r, unsigned int page)
{
	size_t from = below(&r->d, 2) ? 0 : below(&r->d, PAGE);
	size_t n = from ? 1 + below(&r->d, (unsigned int)(PAGE - from)) : PAGE;

	racer_note(r, "page owner", "punch", page * PAGE + from, n, 0);
	if (fallocate(r->client->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(page * PAGE + from), (off_t)n)) {
		must(r, page, "fallocate()", false);
		return;
	}
	memset(r->d.plain, 0, n);
	model_store(&r->d.m, page * PAGE + from, r->d.plain, n);
	racer_did(r, RACE_PUNCHES, 1);
}

static void map_again(struct racer *r, unsigned int page)
{
	bool over = below(&r->d, 2);
	char *p = r->d.m.base + page * PAGE;

	racer_note(r, "page owner", "mmap", page * PAGE, PAGE, over);
	if (!over)
		must(r, page, "munmap()", !munmap(p, PAGE));
	must(r, page, "mmap()",
	     mmap(p, PAGE, PROT_READ | PROT_WRITE,
		  MAP_SHARED | (over ? MAP_FIXED : MAP_FIXED_NOREPLACE), r->client->file,
		  (off_t)(page * PAGE)) == p);
}

void change_file_page(struct racer *r, unsigned int page)
{
	unsigned int what = below(&r->d, on_driver() ? 6 : 2);
	char *p = r->d.m.base + page * PAGE;

	if (what == 0) {
		sync_and_look(r, page);
	} else if (what == 1) {
		racer_note(r, "page owner", "dontneed", page * PAGE, PAGE, 0);
		must(r, page, "MADV_DONTNEED", !madvise(p, PAGE, MADV_DONTNEED));
	} else if (what == 2) {
		racer_note(r, "page owner", "pageout", page * PAGE, PAGE, 0);
		must(r, page, "MADV_PAGEOUT", !madvise(p, PAGE, MADV_PAGEOUT));
	} else if (what == 3) {
		racer_note(r, "page owner", "fadvise", page * PAGE, PAGE, 0);
		posix_fadvise(r->client->file, (off_t)(page * PAGE), PAGE, POSIX_FADV_DONTNEED);
	} else if (what == 4) {
		punch(r, page);
	} else {
		map_again(r, page);
	}
}

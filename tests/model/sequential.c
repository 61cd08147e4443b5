// SPDX-License-Identifier: MIT
/*
 * One thread, any operation, each checked at once. Operation i draws its choices from the seed
 * and i alone, so a run is repeated exactly, also with some kinds of operations left out. Two
 * clients take turns.
 */
#include "model/drive.h"
#include "model/turns.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CHECK_EVERY 500
#define FILE_PAGES(pages) ((pages) / 3)

static const struct op *all[MAX_OPS];
static unsigned int n_all, total_weight;
static long counts[MAX_OPS], worked[MAX_OPS];
static struct turns turns;

static void add(const struct op *ops)
{
	for (; ops->name; ops++) {
		all[n_all++] = ops;
		total_weight += ops->weight;
	}
}

static unsigned int choose(struct drive *d)
{
	unsigned int at = below(d, total_weight), i = 0;

	while (at >= all[i]->weight)
		at -= all[i++]->weight;
	return i;
}

static void report_page(struct drive *d, unsigned int page)
{
	const struct model_page *p = &d->m.page[page];
	struct hmm_page_status s = { .location = -100 };

	printf("\n    the page: mapped %d, protection %d, locked %d, lazy %d, file's %d, shared %d, own %d,"
	       " expected in set %#x",
	       p->mapped, p->prot, p->locked, p->lazy, (int)p->file - 1, p->shared, p->own,
	       model_where(&d->m, page));
	if (hmm_query(d->h, d->m.base + page * PAGE, 1, &s) != 1)
		s.location = -100;
	printf("; at %d, flags %#x", s.location, s.flags);
	history_print(page, p->file ? p->file - 1 : NO_PAGE);
}

/* All that helps to find out why. */
static void report(struct drive *d)
{
	printf("\n    MISMATCH, seed %lu, operation %ld (%s): page %zu%s, byte %zu: %s",
	       (unsigned long)settings.seed, d->now.number, d->now.name, d->bad / PAGE,
	       d->in_file ? " of the file" : "", d->bad % PAGE, d->wrong);
	if (d->in_file)
		history_print(NO_PAGE, d->bad / PAGE);
	else
		report_page(d, (unsigned int)(d->bad / PAGE));
}

/* For --trace: what its page is after an operation on it. */
static void trace(struct drive *d)
{
	unsigned int page = (unsigned int)settings.trace;
	const struct model_page *p = &d->m.page[page];

	if (!record_touches(&d->now, page, p->file ? p->file - 1 : NO_PAGE))
		return;
	record_print(&d->now);
	printf(" -> prot %d locked %d lazy %d dirtied %d set %#x", p->prot, p->locked, p->lazy,
	       p->dirtied, model_where(&d->m, page));
}

static int one(struct drive *d, long number)
{
	unsigned int i;
	int err = 0;

	d->random = settings.seed * 0x9e3779b97f4a7c15ul + (uint64_t)number * 0x632be59bd9b4e019ul;
	i = choose(d);
	d->now = (struct record){ .number = number, .name = all[i]->name };
	if (!left_out(all[i]->name)) {
		err = all[i]->run(d);
		counts[i]++;
		worked[i] += d->now.result != 0;
	}
	if (d->m.peer) {
		d->now.who = "client";
		d->now.thread = turns.me;
	}
	history_add(&d->now);
	if (settings.trace >= 0)
		trace(d);
	if (!err && d->m.file)
		err = check_size(d);
	if (!err && number % CHECK_EVERY == CHECK_EVERY - 1) {
		d->now.name = "check of all";
		err = check_all(d, (int)below(d, d->m.devices + 1) - 1);
	}
	return err;
}

static void print_counts(long done)
{
	long n = 0;

	for (unsigned int i = 0; i < n_all; i++)
		n += counts[i];
	printf("\n    %ld operations, %ld of client %u:", done, n, turns.me);
	for (unsigned int i = 0; i < n_all; i++) {
		printf("%s%s %ld", i % 8 ? ", " : "\n      ", all[i]->name, counts[i]);
		if (!strncmp(all[i]->name, "mremap", 6))
			printf(" (%ld moved)", worked[i]);
	}
	printf("\n    ");
}

/* Something in each page. */
static int create_file(struct model_file *f)
{
	int fd = open(settings.file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), err = 0;

	if (fd < 0)
		return -errno;
	for (unsigned int i = 0; i < f->pages; i++)
		memset(f->bytes + i * PAGE, (int)(1 + (i + settings.seed) % 255), PAGE);
	if (pwrite(fd, f->bytes, f->size, 0) != (ssize_t)f->size)
		err = -EIO;
	close(fd);
	return err;
}

/* The models of all clients, before there is another process. */
static int create_models(struct model *m)
{
	struct model_file *f = NULL;
	int err = 0;

	if (settings.file) {
		f = model_file_create(FILE_PAGES(settings.pages));
		err = f ? create_file(f) : -ENOMEM;
	}
	for (unsigned int i = 0; i < settings.clients && !err; i++) {
		err = model_create(&m[i], NULL, settings.pages, 0);
		m[i].file = f;
		m[i].peer = settings.clients > 1 ? &m[!i] : NULL;
	}
	return err;
}

static int prepare(struct drive *d)
{
	static struct model models[2];
	int err;

	/* The emulated backend's files are not mapped by mmap(2). */
	if (settings.clients > 2 || (settings.file && !on_driver()))
		return -EINVAL;
	err = history_start() ? create_models(models) : -ENOMEM;
	if (!err)
		err = turns_begin(&turns, settings.clients > 1);
	if (err)
		return err;
	d->m = models[turns.me];
	err = drive_open(d);
	/* Nobody begins before both have what they need. */
	turns_done(&turns, !err);
	if (turns.from >= 0 && !turns_wait(&turns) && !err)
		err = -EPIPE;
	return err;
}

static void add_ops(void)
{
	if (n_all)
		return;
	add(touch_ops);
	add(place_ops);
	add(map_ops);
	if (settings.file)
		add(file_ops);
}

/* Whose turn it is; at last each checks all that it has. */
static unsigned int whose(long number, long ops)
{
	uint64_t state = settings.seed + (uint64_t)number;

	if (settings.clients == 1)
		return 0;
	return number < ops ? (unsigned int)(drive_random(&state) % 2) :
			      (unsigned int)(number - ops);
}

static int my_turn(struct drive *d, long number, long ops)
{
	int err;

	if (number < ops) {
		err = one(d, number);
	} else {
		finish_pending(d);
		err = check_all(d, -1);
	}
	if (err)
		report(d);
	turns_done(&turns, !err);
	return err;
}

long run_sequential(long ops)
{
	static struct drive d;
	long i, end = ops + (long)settings.clients;
	bool well = true;
	int err;

	memset(&d, 0, sizeof(d));
	err = prepare(&d);
	if (err) {
		printf("\n    client %u cannot start: %d", turns.me, err);
		return turns_end(&turns, false) ? 0 : -1;
	}
	add_ops();
	for (i = 0; i < end && !err && well; i++)
		if (whose(i, ops) == turns.me)
			err = my_turn(&d, i, ops);
		else
			well = turns_wait(&turns);
	finish_pending(&d);
	print_counts(i < ops ? i : ops);
	drive_close(&d);
	return turns_end(&turns, !err && well) ? 0 : 1;
}

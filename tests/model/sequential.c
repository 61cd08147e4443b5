// SPDX-License-Identifier: MIT
/*
 * One thread, any operation, each checked at once. Operation i draws its choices from the seed
 * and i alone, so a run is repeated exactly, also with some kinds of operations left out.
 */
#include "model/drive.h"

#include <stdio.h>
#include <string.h>

#define CHECK_EVERY 500

static const struct op *all[MAX_OPS];
static unsigned int n_all, total_weight;
static long counts[MAX_OPS], worked[MAX_OPS];

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

/* All that helps to find out why. */
static void report(struct drive *d)
{
	const struct model_page *p = &d->m.page[d->bad / PAGE];
	struct hmm_page_status s = { .location = -100 };
	long last = d->now.number;

	printf("\n    MISMATCH, seed %lu, operation %ld (%s): page %zu, byte %zu: %s",
	       (unsigned long)settings.seed, last, d->now.name, d->bad / PAGE, d->bad % PAGE,
	       d->wrong);
	printf("\n    the page: mapped %d, protection %d, locked %d, lazy %d, expected in set %#x",
	       p->mapped, p->prot, p->locked, p->lazy, p->where);
	if (!hmm_query(d->h, d->m.base + d->bad, 1, &s))
		s.location = -100;
	printf("; at %d, flags %#x", s.location, s.flags);
	history_print(d->bad / PAGE);
}

/* For --trace: what its page is after an operation on it. */
static void trace(struct drive *d)
{
	const struct model_page *p = &d->m.page[settings.trace];

	if (!record_touches(&d->now, (size_t)settings.trace))
		return;
	record_print(&d->now);
	printf(" -> prot %d locked %d lazy %d dirtied %d set %#x", p->prot, p->locked, p->lazy,
	       p->dirtied, p->where);
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
	history_add(&d->now);
	if (settings.trace >= 0)
		trace(d);
	if (!err && number % CHECK_EVERY == CHECK_EVERY - 1) {
		d->now.name = "check of all";
		err = check_all(d, (int)below(d, d->m.devices + 1) - 1);
	}
	return err;
}

static void print_counts(void)
{
	for (unsigned int i = 0; i < n_all; i++) {
		printf("%s%s %ld", i % 8 ? ", " : "\n      ", all[i]->name, counts[i]);
		if (!strncmp(all[i]->name, "mremap", 6))
			printf(" (%ld moved)", worked[i]);
	}
	printf("\n    ");
}

long run_sequential(long ops)
{
	static struct drive d;
	int err = drive_open(&d);
	long i;

	if (err) {
		printf("\n    cannot start: %d", err);
		return -1;
	}
	if (!n_all) {
		add(touch_ops);
		add(place_ops);
		add(map_ops);
	}
	for (i = 0; i < ops && !err; i++)
		err = one(&d, i);
	finish_pending(&d);
	if (!err)
		err = check_all(&d, -1);
	if (err)
		report(&d);
	printf("\n    %ld operations:", i);
	print_counts();
	drive_close(&d);
	return err ? 1 : 0;
}

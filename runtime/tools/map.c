// SPDX-License-Identifier: MIT
/* hmmctl map PID: which of its mappings have pages on a device, and where in them. */
#include "hmmctl.h"
#include "picture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul
#define CELLS 64

struct mapping {
	uint64_t start, pages, on_device;
	char name[64], access[8];
	unsigned char *place; /* one a page */
};

struct process {
	int pid, fd;
	struct mapping *mapping;
	size_t n;
	struct hmm_inspect_map answer;
};

/* Mappings of devices and of the kernel have nothing to migrate. */
static bool is_of_interest(const char *access, const char *name)
{
	return access[0] == 'r' && strncmp(name, "[v", 2) != 0 && strncmp(name, "/dev/", 5) != 0;
}

/* To track a part of a mapping splits it in the kernel's eyes; not in those of its owner. */
static bool goes_on(const struct process *p, const struct mapping *m)
{
	const struct mapping *last = p->n ? &p->mapping[p->n - 1] : NULL;

	return last && last->start + last->pages * PAGE == m->start &&
	       !strcmp(last->name, m->name) && !strcmp(last->access, m->access);
}

static bool add_mapping(struct process *p, const char *line)
{
	struct mapping *more, m = { 0 };
	uint64_t end;
	int at = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %*s %*s %*s %n", &m.start, &end, m.access,
		   &at) < 3 ||
	    !at)
		return true;
	snprintf(m.name, sizeof(m.name), "%.*s", (int)strcspn(line + at, "\n"), line + at);
	if (!is_of_interest(m.access, m.name))
		return true;
	m.pages = (end - m.start) / PAGE;
	if (goes_on(p, &m)) {
		p->mapping[p->n - 1].pages += m.pages;
		return true;
	}
	more = realloc(p->mapping, (p->n + 1) * sizeof(*more));
	if (!more)
		return false;
	p->mapping = more;
	p->mapping[p->n++] = m;
	return true;
}

static bool make_places(struct process *p)
{
	bool ok = true;

	for (size_t i = 0; i < p->n; i++) {
		p->mapping[i].place = calloc(p->mapping[i].pages, 1);
		ok = ok && p->mapping[i].place;
	}
	return ok;
}

static int read_mappings(struct process *p)
{
	char path[64], *line = NULL;
	size_t room = 0;
	bool ok = true;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", p->pid);
	f = fopen(path, "re");
	while (f && ok && getline(&line, &room, f) > 0)
		ok = add_mapping(p, line);
	ok = ok && make_places(p);
	free(line);
	if (f)
		fclose(f);
	if (!f || !ok)
		fprintf(stderr, "hmmctl: %s: %s\n", path, f ? "out of memory" : "cannot be read");
	return f && ok ? 0 : 1;
}

/* What was unmapped meanwhile, or has no pages to ask for, is nowhere. */
static int look(struct process *p, struct mapping *m)
{
	m->on_device = 0;
	for (uint64_t i = 0; i < m->pages; i += HMM_INSPECT_PAGES) {
		uint64_t n = m->pages - i < HMM_INSPECT_PAGES ? m->pages - i : HMM_INSPECT_PAGES;

		memset(m->place + i, PICTURE_NOWHERE, n);
		if (hmmctl_ask_map(p->fd, m->start + i * PAGE, (uint32_t)n, &p->answer))
			return -1;
		for (uint64_t k = 0; !p->answer.err && k < n; k++) {
			m->place[i + k] = (unsigned char)picture_place(p->answer.location[k]);
			m->on_device += m->place[i + k] == PICTURE_DEVICE;
		}
	}
	return 0;
}

static int look_at_all(struct process *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (look(p, &p->mapping[i])) {
			fprintf(stderr, "hmmctl: process %d does not answer\n", p->pid);
			return 1;
		}
	return 0;
}

static void print_mappings(const struct process *p, bool all)
{
	char line[CELLS + 1];
	uint64_t on = 0;

	for (size_t i = 0; i < p->n; i++) {
		const struct mapping *m = &p->mapping[i];

		on += m->on_device;
		if (!all && !m->on_device)
			continue;
		picture_line(line, CELLS, m->place, m->pages);
		printf("%012" PRIx64 " [%s] %" PRIu64 " of %" PRIu64 " pages on a device  %s\n",
		       m->start, line, m->on_device, m->pages, m->name);
	}
	printf("%" PRIu64 " pages of process %d are on a device\n", on, p->pid);
}

/* The picture's rows: mappings one below the other, by their pages. */
static void keep_what_is_shown(struct process *p, bool all)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n; i++) {
		if (all || p->mapping[i].on_device)
			p->mapping[n++] = p->mapping[i];
		else
			free(p->mapping[i].place);
	}
	p->n = n;
}

static void add_column(const struct process *p, struct picture *pic, double when)
{
	uint64_t total = 0, before = 0;

	for (size_t i = 0; i < p->n; i++)
		total += p->mapping[i].pages;
	for (size_t i = 0; i < p->n; i++) {
		const struct mapping *m = &p->mapping[i];
		size_t row = before * PICTURE_ROWS / total, end;

		before += m->pages;
		end = before * PICTURE_ROWS / total;
		if (row == PICTURE_ROWS)
			row--;
		picture_reduce(&pic->cell[pic->samples][row], end > row ? end - row : 1, m->place,
			       m->pages);
	}
	pic->when[pic->samples++] = (float)when;
}

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int draw(struct process *p, const char *path, double seconds)
{
	struct picture *pic = calloc(1, sizeof(*pic));
	double begin = seconds_now(), now = begin;
	int err = pic ? 0 : 1;

	while (!err && pic->samples < PICTURE_COLUMNS && now - begin <= seconds) {
		add_column(p, pic, now - begin);
		usleep(5000);
		now = seconds_now();
		for (size_t i = 0; !err && i < p->n; i++)
			err = look(p, &p->mapping[i]);
	}
	/* A process that ends has its picture so far. */
	err = pic && picture_write(pic, path) ? 1 : !pic;
	free(pic);
	return err;
}

static int map(int pid, bool all, const char *png, double seconds)
{
	static struct process p;
	int err;

	p = (struct process){ .pid = pid, .fd = hmmctl_ask_open(pid) };
	if (p.fd < 0)
		return 1;
	err = read_mappings(&p);
	if (!err)
		err = look_at_all(&p);
	if (!err)
		print_mappings(&p, all);
	if (!err && png) {
		keep_what_is_shown(&p, all);
		if (p.n)
			err = draw(&p, png, seconds);
		else
			err = 1, fprintf(stderr, "hmmctl: nothing to draw: try --all\n");
	}
	for (size_t i = 0; i < p.n; i++)
		free(p.mapping[i].place);
	free(p.mapping);
	close(p.fd);
	return err;
}

int hmmctl_map(int argc, char **argv)
{
	const char *png = NULL, *who = NULL;
	long pid, seconds = 2;
	bool all = false;

	for (int i = 0; i < argc; i++) {
		if (!strcmp(argv[i], "--all"))
			all = true;
		else if (!strcmp(argv[i], "--png") && i + 1 < argc)
			png = argv[++i];
		else if (!strcmp(argv[i], "--seconds") && i + 1 < argc &&
			 hmmctl_number(argv[i + 1], 1, 3600, &seconds))
			i++;
		else if (argv[i][0] == '-' || who)
			return hmmctl_misused("map does not know ", argv[i]);
		else
			who = argv[i];
	}
	if (!who)
		return hmmctl_misused("map of which process?", "");
	if (!hmmctl_number(who, 1, INT32_MAX, &pid))
		return hmmctl_misused("not a process id: ", who);
	return map((int)pid, all, png, (double)seconds);
}

// SPDX-License-Identifier: MIT
/* Who owns whole pages does to their mappings what it likes, and knows what they hold then. */
#include "model/racing.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char owner[] = "page owner";

#define READ_WRITE (PROT_READ | PROT_WRITE)

static unsigned int random_page(struct racer *r)
{
	unsigned int owners = r->client->page_owners;

	return (below(&r->d, BODY / (5 * owners)) * owners + r->id) * 5 + 4;
}

static char *at(const struct racer *r, unsigned int page)
{
	return r->d.m.base + page * PAGE;
}

static void load(struct racer *r, unsigned int page, enum way way)
{
	long bad = -1;

	racer_note(r, owner, "load", page * PAGE, PAGE, way);
	if (load_by(r, way, page * PAGE, PAGE))
		bad = model_compare(&r->d.m, page * PAGE, r->d.plain, PAGE, true);
	if (bad >= 0)
		racer_wrong(r, owner, (size_t)bad, "byte",
			    (unsigned char)r->d.plain[(size_t)bad % PAGE],
			    model_byte(&r->d.m, (size_t)bad));
}

static void store(struct racer *r, unsigned int page, enum way way)
{
	size_t from = below(&r->d, PAGE), n = 1 + below(&r->d, (unsigned int)(PAGE - from));

	racer_note(r, owner, "store", page * PAGE + from, n, way);
	memset(r->d.plain, (int)below(&r->d, 256), n);
	if (store_by(r, way, page * PAGE + from, n))
		model_store(&r->d.m, page * PAGE + from, r->d.plain, n);
}

static void must(struct racer *r, unsigned int page, const char *what, bool done)
{
	if (!done)
		racer_wrong(r, "page owner", page * PAGE, what, errno, 0);
}

static void protect(struct racer *r, unsigned int page)
{
	int prot = below(&r->d, 2) ? PROT_READ : PROT_NONE;

	racer_note(r, owner, "mprotect", page * PAGE, PAGE, prot);
	must(r, page, "mprotect()", !mprotect(at(r, page), PAGE, prot));
	if (prot == PROT_READ)
		load(r, page, random_way(r));
	else
		sched_yield();
	must(r, page, "mprotect() back", !mprotect(at(r, page), PAGE, READ_WRITE));
}

/* It stays where it is while it is locked: docs/locking.md tells what the runtime cannot do. */
static void lock(struct racer *r, unsigned int page)
{
	if (!r->d.kernel_faults || on_driver()) /* not yet seen to pass there */
		return;
	racer_note(r, owner, "mlock", page * PAGE, PAGE, 0);
	if (!syscall(SYS_mlock, at(r, page), PAGE)) {
		store(r, page, random_way(r));
		load(r, page, random_way(r));
	}
	must(r, page, "munlock()", !syscall(SYS_munlock, at(r, page), PAGE));
}

static void map_again(struct racer *r, unsigned int page)
{
	bool over = below(&r->d, 2);

	racer_note(r, owner, "mmap", page * PAGE, PAGE, over);
	if (!over)
		must(r, page, "munmap()", !munmap(at(r, page), PAGE));
	must(r, page, "mmap()",
	     mmap(at(r, page), PAGE, READ_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | (over ? MAP_FIXED : MAP_FIXED_NOREPLACE), -1,
		  0) == at(r, page));
	model_map(&r->d.m, page, 1, READ_WRITE);
}

/* Its page takes the place of another one of it; then there is a new one where it was. */
static void move(struct racer *r, unsigned int page)
{
	unsigned int to = random_page(r);

	if (to == page)
		return;
	racer_note(r, owner, "mremap-move", page * PAGE, PAGE, (long)to);
	must(r, page, "mremap()",
	     mremap(at(r, page), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at(r, to)) ==
		     at(r, to));
	model_move(&r->d.m, page, to, 1);
	must(r, page, "mmap() after mremap()",
	     mmap(at(r, page), PAGE, READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
		  -1, 0) == at(r, page));
	model_map(&r->d.m, page, 1, READ_WRITE);
}

static void give_up(struct racer *r, unsigned int page, bool lazily)
{
	if (lazily) {
		load(r, page, BY_CPU); /* what an earlier one did is known */
		racer_note(r, owner, "free", page * PAGE, PAGE, 0);
		must(r, page, "MADV_FREE", !madvise(at(r, page), PAGE, MADV_FREE));
		model_free(&r->d.m, page, 1);
		return;
	}
	racer_note(r, owner, "dontneed", page * PAGE, PAGE, 0);
	must(r, page, "MADV_DONTNEED", !madvise(at(r, page), PAGE, MADV_DONTNEED));
	model_discard(&r->d.m, page, 1);
}

static void change(struct racer *r, unsigned int page)
{
	static const char *const names[] = { "dontneed", "free",  "mprotect",
					     "mmap",     "mlock", "mremap-move" };
	unsigned int what = below(&r->d, 6);

	if (left_out(names[what]))
		return;
	if (what < 2)
		give_up(r, page, what == 1);
	else if (what == 2)
		protect(r, page);
	else if (what == 3)
		map_again(r, page);
	else if (what == 4)
		lock(r, page);
	else
		move(r, page);
}

static void step(struct racer *r)
{
	unsigned int page = random_page(r), what = below(&r->d, 16);

	if (what < 7)
		store(r, page, random_way(r));
	else if (what < 11)
		load(r, page, random_way(r));
	else if (r->client->file < 0)
		change(r, page);
	else if (what < 12 && on_driver())
		protect(r, page);
	else
		change_file_page(r, page);
}

void *race_page_owner(void *racer)
{
	struct racer *r = racer;

	while (!is_over(r)) {
		step(r);
		racer_did(r, RACE_OWNERS, 1);
	}
	return NULL;
}

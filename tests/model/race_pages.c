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
	unsigned int n = r->d.m.pages / (5 * PAGE_OWNERS);

	return (below(&r->d, n) * PAGE_OWNERS + r->id) * 5 + 4;
}

static char *at(const struct racer *r, unsigned int page)
{
	return r->d.m.base + page * PAGE;
}

static void check(struct racer *r, unsigned int page, const char *who)
{
	long bad = model_compare(&r->d.m, page * PAGE, r->d.plain, PAGE, true);

	if (bad >= 0)
		racer_wrong(r, who, (size_t)bad, "byte",
			    (unsigned char)r->d.plain[(size_t)bad % PAGE],
			    model_byte(&r->d.m, (size_t)bad));
}

static void load(struct racer *r, unsigned int page)
{
	racer_note(r, owner, "cpu-load", page * PAGE, PAGE, 0);
	memcpy(r->d.plain, at(r, page), PAGE);
	check(r, page, "page owner");
}

static void device_load(struct racer *r, unsigned int page)
{
	int device = (int)below(&r->d, r->d.m.devices);
	long got;

	racer_note(r, owner, "device-load", page * PAGE, PAGE, device);
	got = hmm_device_read(r->d.h, device, at(r, page), r->d.plain, PAGE);
	if (got != (long)PAGE)
		racer_wrong(r, "page owner's device", page * PAGE, "count", got, (long)PAGE);
	else
		check(r, page, "page owner's device");
}

static void store(struct racer *r, unsigned int page, bool by_device)
{
	size_t from = below(&r->d, PAGE), n = 1 + below(&r->d, (unsigned int)(PAGE - from));
	int device = (int)below(&r->d, r->d.m.devices);
	long got = (long)n;

	racer_note(r, owner, by_device ? "device-store" : "cpu-store", page * PAGE + from, n,
		   device);
	memset(r->d.plain, (int)below(&r->d, 256), n);
	if (by_device)
		got = hmm_device_write(r->d.h, device, at(r, page) + from, r->d.plain, n);
	else
		memcpy(at(r, page) + from, r->d.plain, n);
	if (got != (long)n)
		racer_wrong(r, "page owner's device", page * PAGE + from, "count", got, (long)n);
	if (got > 0)
		model_store(&r->d.m, page * PAGE + from, r->d.plain, (size_t)got);
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
		below(&r->d, 2) ? load(r, page) : device_load(r, page);
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
		store(r, page, below(&r->d, 2));
		below(&r->d, 2) ? load(r, page) : device_load(r, page);
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
		load(r, page); /* what an earlier one did is known */
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

	if (what < 4)
		store(r, page, false);
	else if (what < 7)
		store(r, page, true);
	else if (what < 9)
		load(r, page);
	else if (what < 11)
		device_load(r, page);
	else
		change(r, page);
}

void *race_page_owner(void *racer)
{
	struct racer *r = racer;

	for (long i = 0; i < r->race->steps; i++)
		step(r);
	atomic_fetch_add(&r->race->count[RACE_OWNER_OPS], r->race->steps);
	return NULL;
}

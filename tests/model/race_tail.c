// SPDX-License-Identifier: MIT
/* The end of a file: one thread makes it shorter and longer while others migrate there. */
#include "model/racing.h"

#include <errno.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

static const char owner[] = "tail owner";

#define BEGIN (BODY * PAGE)
#define END ((BODY + TAIL) * PAGE)

static void set_size(struct racer *r, size_t size)
{
	struct stat st;

	racer_note(r, owner, "ftruncate", BEGIN, TAIL * PAGE, (long)size);
	if (ftruncate(r->client->file, (off_t)size))
		racer_wrong(r, owner, BEGIN, "ftruncate()", errno, 0);
	if (fstat(r->client->file, &st) || st.st_size != (off_t)size)
		racer_wrong(r, owner, BEGIN, "size", st.st_size, (long)size);
}

static void load(struct racer *r)
{
	size_t offset = BEGIN + below(&r->d, TAIL) * PAGE;
	enum way way = random_way(r);
	long bad = -1;

	racer_note(r, owner, "load", offset, PAGE, way);
	if (load_by(r, way, offset, PAGE))
		bad = model_compare(&r->d.m, offset, r->d.plain, PAGE, false);
	if (bad >= 0)
		racer_wrong(r, owner, (size_t)bad, "byte",
			    (unsigned char)r->d.plain[(size_t)bad % PAGE],
			    model_byte(&r->d.m, (size_t)bad));
}

static void store(struct racer *r, size_t from, size_t most, enum way way)
{
	size_t n = 1 + below(&r->d, (unsigned int)(most < PAGE ? most : PAGE));

	racer_note(r, owner, "store", from, n, way);
	memset(r->d.plain, 1 + (int)below(&r->d, 255), n);
	if (store_by(r, way, from, n))
		model_store(&r->d.m, from, r->d.plain, n);
}

/* What is cut is zeros when it comes back, by whatever. */
static void cut(struct racer *r)
{
	size_t size = BEGIN + below(&r->d, TAIL * PAGE), more = size + below(&r->d, 3 * PAGE);

	if (more > END - 1)
		more = END - 1;
	set_size(r, size);
	memset(r->d.m.now + size, 0, END - size);
	if (pread(r->client->file, r->d.plain, 1, (off_t)size))
		racer_wrong(r, owner, size, "read() at the end", 1, 0);
	sched_yield();
	if (below(&r->d, 2))
		store(r, more, END - more, BY_CALL);
	else if (below(&r->d, 2))
		set_size(r, more);
	sched_yield();
	set_size(r, END);
	racer_did(r, RACE_TRUNCATIONS, 1);
}

void *race_tail_owner(void *racer)
{
	struct racer *r = racer;

	while (!is_over(r)) {
		unsigned int what = below(&r->d, 8);
		size_t at = BEGIN + below(&r->d, TAIL * PAGE);

		if (what < 2)
			cut(r);
		else if (what < 4)
			load(r);
		else if (what < 7)
			store(r, at, END - at, random_way(r));
		else
			sync_and_look(r, BODY + below(&r->d, TAIL));
		racer_did(r, RACE_OWNERS, what >= 2 && what < 7);
	}
	return NULL;
}

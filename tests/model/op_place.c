// SPDX-License-Identifier: MIT
/* Where pages are: migrations, queries, and memory pressure. */
#include "model/drive.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHECKED_BELOW 16 /* pages of a query */

static void note(struct drive *d, unsigned int first, unsigned int n, long detail, long result)
{
	d->now.offset = first * PAGE;
	d->now.length = n * PAGE;
	d->now.detail = detail;
	d->now.result = result;
}

/* Does the background move it? Then it may be anywhere. */
static bool is_pending(const struct drive *d, unsigned int page)
{
	for (unsigned int i = 0; i < d->n_pending; i++)
		if (page >= d->pending[i].first && page < d->pending[i].first + d->pending[i].n)
			return true;
	return false;
}

/* Does something in the background evict? */
static bool evicts(const struct drive *d)
{
	for (unsigned int i = 0; i < d->n_pending; i++)
		if (d->pending[i].target >= 0)
			return true;
	return false;
}

/* Is it surely populated, by more than the kernel's page of zeros? */
static bool is_populated(const struct model *m, unsigned int page)
{
	static const char zeros[PAGE];

	return !(model_where(m, page) & AT_NOWHERE) && !m->page[page].lazy &&
	       memcmp(model_bytes(m, page), zeros, PAGE);
}

/*
 * How many pages of the range must be on the target: all of it on a device, else what is populated.
 * A file's page moves between nodes only when one process alone maps it.
 */
static long least(const struct drive *d, unsigned int first, unsigned int n, int target)
{
	const struct model *m = &d->m;
	long count = 0;

	for (unsigned int i = first; i < first + n; i++)
		if (!is_pending(d, i) && !(target < HMM_SYSTEM && m->page[i].shared))
			count += target >= 0 || is_populated(m, i);
	return count;
}

static uint32_t places(int target)
{
	return target >= 0 ? AT_DEVICE(target) : AT_SYSTEM;
}

/* What a migration may do beyond its range: make room. */
static void made_room(struct drive *d, int target)
{
	if (target >= 0)
		model_evicted(&d->m, (unsigned int)target);
}

/* What the range has that may be refused, or skipped. */
struct obstacles {
	bool hole;      /* nothing mapped, or no access to what is no shared file's */
	bool skipped;   /* beyond the end of the file, or of a shared file and without access */
	bool read_only; /* a private mapping of a file: cannot be made a copy */
};

static struct obstacles obstacles(const struct drive *d, unsigned int first, unsigned int n,
				  int target)
{
	struct obstacles o = { 0 };

	for (unsigned int i = first; i < first + n; i++) {
		const struct model_page *p = &d->m.page[i];
		bool no_access = !p->mapped || !(p->prot & PROT_READ);

		o.skipped |= model_beyond(&d->m, i) || (no_access && p->shared);
		o.hole |= no_access && !p->shared;
		o.read_only |= target >= 0 && p->file && !p->shared && !(p->prot & PROT_WRITE);
	}
	return o;
}

static int expect_refusal(struct drive *d, unsigned int first, unsigned int n, int target, long got,
			  const struct obstacles *o)
{
	bool mapped = model_run(&d->m, first, n, true) == n;

	model_may_be(&d->m, first, n, places(target));
	/* Home may pages go that have no access, if the backend knows how. */
	if (got == -EFAULT || (target < 0 && mapped) || (got == -EOPNOTSUPP && o->read_only))
		return 0;
	if (got >= 0 && got <= (long)n && !o->hole && !o->read_only)
		return 0;
	return wrong(d, first * PAGE + model_accessible(&d->m, first * PAGE, n * PAGE, PROT_READ),
		     "%ld instead of -EFAULT", got);
}

/* Private pages of a file are copied to leave; where it is not known which were, none is. */
static void settle_copies(struct drive *d, unsigned int first, unsigned int n, bool all)
{
	for (unsigned int i = first; i < first + n; i++) {
		if (!d->m.page[i].file || d->m.page[i].shared)
			continue;
		if (all) {
			model_own(&d->m, i);
			continue;
		}
		madvise(d->m.base + i * PAGE, PAGE, MADV_DONTNEED);
		model_discard(&d->m, i, 1);
	}
}

/* The first page that did not go. */
static int too_few(struct drive *d, unsigned int first, unsigned int n, int target, long got,
		   long sure)
{
	struct hmm_page_status s = { .location = target };
	unsigned int i = first;

	while (i < first + n &&
	       (is_pending(d, i) || (hmm_query(d->h, d->m.base + i * PAGE, 1, &s) == 1 &&
				     (target >= 0 ? s.location == target : s.location < 0))))
		i++;
	i = i < first + n ? i : first;
	return wrong(d, i * PAGE,
		     "%ld pages on target %d, expected %ld to %u; this one is at %d, flags %#x",
		     got, target, sure, n, s.location, s.flags);
}

static int migrate_range(struct drive *d, unsigned int first, unsigned int n, int target)
{
	struct obstacles o = obstacles(d, first, n, target);
	bool valid = !o.hole && !o.skipped && !o.read_only;
	long sure = least(d, first, n, target);
	long got = hmm_migrate(d->h, d->m.base + first * PAGE, n * PAGE, target, 0);

	note(d, first, n, target, got);
	made_room(d, target);
	if (target >= 0)
		settle_copies(d, first, n, valid);
	if (!valid)
		return expect_refusal(d, first, n, target, got, &o);
	if (got < sure || got > (long)n)
		return too_few(d, first, n, target, got, sure);
	for (unsigned int i = first; i < first + n; i++)
		if (is_pending(d, i))
			model_may_be(&d->m, i, 1, places(target) | AT_SYSTEM | AT_NOWHERE);
		else
			model_only(&d->m, i, 1, places(target) | (target < 0 ? AT_NOWHERE : 0));
	return 0;
}

static int migrate_to_device(struct drive *d)
{
	unsigned int first, n, target = below(d, d->m.devices);

	random_pages(d, below(d, 8) ? 16 : 700, &first, &n);
	return migrate_range(d, first, n, (int)target);
}

static int migrate_home(struct drive *d)
{
	unsigned int first, n;

	random_pages(d, below(d, 8) ? 16 : 700, &first, &n);
	return migrate_range(d, first, n, HMM_SYSTEM);
}

static int migrate_to_node(struct drive *d)
{
	unsigned int first, n;

	random_pages(d, 64, &first, &n);
	return migrate_range(d, first, n, HMM_NUMA_NODE(0));
}

static void finish(struct drive *d)
{
	struct pending *p = &d->pending[0];
	struct pollfd fd = { .fd = p->fence, .events = POLLIN };

	poll(&fd, 1, -1);
	close(p->fence);
	model_may_be(&d->m, p->first, p->n, AT_SYSTEM | places(p->target));
	made_room(d, p->target);
	for (unsigned int i = 1; i < d->n_pending; i++)
		d->pending[i - 1] = d->pending[i];
	d->n_pending--;
}

void finish_pending(struct drive *d)
{
	while (d->n_pending)
		finish(d);
}

static int migrate_async(struct drive *d)
{
	int target = below(d, 2) ? (int)below(d, d->m.devices) : HMM_SYSTEM, err;
	bool wait = below(d, 2) || settings.file;
	unsigned int first, n;
	struct obstacles o;
	struct pending *p;

	if (d->n_pending == MAX_PENDING)
		finish(d);
	p = &d->pending[d->n_pending];
	random_pages(d, 64, &first, &n);
	note(d, first, n, target, 0);
	*p = (struct pending){ .first = first, .n = n, .target = target };
	err = hmm_migrate_async(d->h, d->m.base + first * PAGE, n * PAGE, target, 0, &p->fence);
	if (err)
		return wrong(d, first * PAGE, "hmm_migrate_async() is %d", err);
	d->n_pending++;
	if (wait)
		finish_pending(d);
	if (settings.file && target >= 0) {
		o = obstacles(d, first, n, target);
		settle_copies(d, first, n, !o.hole && !o.skipped && !o.read_only);
		model_may_be(&d->m, first, n, AT_SYSTEM | places(target));
	}
	return 0;
}

static int check_status(struct drive *d, unsigned int page, const struct hmm_page_status *s)
{
	uint32_t at = s->location == HMM_NOT_POPULATED ? AT_NOWHERE : AT_SYSTEM;
	uint32_t expected = model_where(&d->m, page);

	/* The driver does not look into mappings without access. */
	if (on_driver() && !(d->m.page[page].prot & PROT_READ) && at == AT_NOWHERE)
		return 0;
	if (expected & AT_NOWHERE)
		expected |= AT_SYSTEM; /* the kernel may make a huge page around it */
	if (d->m.page[page].lazy && (expected & AT_SYSTEM))
		expected |= AT_NOWHERE;
	if (s->location >= (int)d->m.devices || s->location < HMM_NOT_POPULATED)
		return wrong(d, page * PAGE, "location %d", s->location);
	if (s->location >= 0)
		at = AT_DEVICE(s->location);
	if (!(expected & at) && !is_pending(d, page) && !(at == AT_SYSTEM && evicts(d)))
		return wrong(d, page * PAGE, "hmm_query(): at %d, expected in set %#x", s->location,
			     expected);
	if (s->location != HMM_SYSTEM && s->node != -1)
		return wrong(d, page * PAGE, "node %d at %d", s->node, s->location);
	if (!(s->flags & HMM_PAGE_SHARED) == d->m.page[page].shared)
		return wrong(d, page * PAGE, "flags %#x", s->flags);
	/* With the driver a device may have a page where it is: one that will not leave. */
	if ((s->flags & HMM_PAGE_REMOTE) && !on_driver())
		return wrong(d, page * PAGE, "flags %#x of private memory", s->flags);
	if ((s->flags & HMM_PAGE_COPIED) &&
	    (at != AT_SYSTEM || !(d->m.mostly[page] || d->m.page[page].copied)) &&
	    !is_pending(d, page))
		return wrong(d, page * PAGE, "at %d a device has a copy", s->location);
	if (!d->n_pending)
		model_known(&d->m, page, at);
	return 0;
}

/* What is clean, or not in memory, is in the lower file. */
static int check_clean(struct drive *d, unsigned int page, const struct hmm_page_status *s)
{
	if (!d->m.page[page].shared || (s->flags & HMM_PAGE_DIRTY) || model_beyond(&d->m, page))
		return 0;
	return check_below(d, (d->m.page[page].file - 1) * PAGE, PAGE, false);
}

static int query(struct drive *d)
{
	struct hmm_page_status *s = (void *)d->plain;
	unsigned int first, n;
	int got, bad = 0;

	random_pages(d, MAX_THREADS * MAX_BYTES / sizeof(*s), &first, &n);
	got = hmm_query(d->h, d->m.base + first * PAGE, n * PAGE, s);
	note(d, first, n, 0, got);
	if (got != (model_run(&d->m, first, n, true) == n ? (int)n : -EFAULT))
		return wrong(d, first * PAGE, "hmm_query() is %d", got);
	for (int i = 0; i < got && !bad; i++)
		bad = check_status(d, first + (unsigned int)i, &s[i]);
	for (int i = 0; i < got && i < CHECKED_BELOW && !bad; i++)
		bad = check_clean(d, first + (unsigned int)i, &s[i]);
	return bad;
}

/* Read mostly, or not. */
static int advise(struct drive *d)
{
	unsigned int first, n;
	bool mostly = below(d, 2), mapped;
	int err;

	random_pages(d, below(d, 2) ? 16 : 300, &first, &n);
	mapped = model_run(&d->m, first, n, true) == n;
	err = hmm_advise(d->h, d->m.base + first * PAGE, n * PAGE,
			 mostly ? HMM_ADVICE_READ_MOSTLY : HMM_ADVICE_NOT_READ_MOSTLY, 0);
	note(d, first, n, mostly, err);
	if (err != (mapped ? 0 : -EFAULT))
		return wrong(d, first * PAGE, "hmm_advise() is %d", err);
	for (unsigned int i = first; !err && i < first + n; i++)
		d->m.mostly[i] = mostly;
	if (!err && !mostly)
		model_no_copies(&d->m, first, n);
	return 0;
}

/* Other memory takes all of a device. */
static int evict(struct drive *d)
{
	unsigned int device = below(d, d->m.devices);
	size_t bytes = settings.open.device_bytes;
	long got = hmm_migrate(d->h, d->filler, bytes, (int)device, 0);

	d->now.detail = (long)device;
	d->now.result = got;
	model_evicted(&d->m, device);
	if (got < 0)
		return wrong(d, 0, "eviction: %ld", got);
	if (below(d, 2))
		hmm_migrate(d->h, d->filler, bytes, HMM_SYSTEM, 0);
	return 0;
}

const struct op place_ops[] = {
	{ "to-device", 80, migrate_to_device },
	{ "home", 30, migrate_home },
	{ "to-node", 10, migrate_to_node },
	{ "async", 20, migrate_async },
	{ "query", 60, query },
	{ "evict", 2, evict },
	{ "advise", 20, advise },
	{ 0 },
};

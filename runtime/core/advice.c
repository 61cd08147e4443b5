// SPDX-License-Identifier: MIT
#include "core/advice.h"
#include "os/arena.h"
#include "os/lock.h"

#include <errno.h>
#include <hmm/hmm.h>
#include <stddef.h>

struct range {
	uintptr_t start, end;
	struct hmm_advice advice;
};

/*
 * Sorted, not overlapping, neighbours differ, none is without advice. A change makes a new array:
 * programs advise seldom, faults ask often.
 */
static struct {
	struct os_mutex lock; /* leaf */
	struct range *range;
	size_t room;
	_Atomic size_t n;
} table;

static int apply(struct hmm_advice *a, int advice, int target)
{
	switch (advice) {
	case HMM_ADVICE_PREFERRED:
	case HMM_ADVICE_NOT_PREFERRED:
		a->has_preferred = advice == HMM_ADVICE_PREFERRED;
		a->preferred = a->has_preferred ? target : 0;
		return 0;
	case HMM_ADVICE_READ_MOSTLY:
	case HMM_ADVICE_NOT_READ_MOSTLY:
		a->read_mostly = advice == HMM_ADVICE_READ_MOSTLY;
		return 0;
	case HMM_ADVICE_ACCESSED_BY:
		a->accessed_by |= (uint8_t)(1u << target);
		return 0;
	case HMM_ADVICE_NOT_ACCESSED_BY:
		a->accessed_by &= (uint8_t) ~(1u << target);
		return 0;
	case HMM_ADVICE_NORMAL:
	case HMM_ADVICE_SEQUENTIAL:
	case HMM_ADVICE_RANDOM:
		a->pattern = advice == HMM_ADVICE_NORMAL ? 0 : (uint8_t)advice;
		return 0;
	case HMM_ADVICE_EVICT_FIRST:
	case HMM_ADVICE_NOT_EVICT_FIRST:
		a->evict_first = advice == HMM_ADVICE_EVICT_FIRST;
		return 0;
	case HMM_ADVICE_NO_MIGRATE:
	case HMM_ADVICE_MAY_MIGRATE:
		a->no_migrate = advice == HMM_ADVICE_NO_MIGRATE;
		return 0;
	}
	return -EINVAL;
}

static bool is_same(const struct hmm_advice *a, const struct hmm_advice *b)
{
	return a->has_preferred == b->has_preferred && a->read_mostly == b->read_mostly &&
	       a->evict_first == b->evict_first && a->no_migrate == b->no_migrate &&
	       a->pattern == b->pattern && a->accessed_by == b->accessed_by &&
	       a->preferred == b->preferred;
}

/* Behind the last one, of which it may be a part. */
static void append(struct range *to, size_t *n, uintptr_t start, uintptr_t end, struct hmm_advice a)
{
	static const struct hmm_advice none;
	struct range *last = *n ? &to[*n - 1] : NULL;

	if (start >= end || is_same(&a, &none))
		return;
	if (last && last->end == start && is_same(&last->advice, &a))
		last->end = end;
	else
		to[(*n)++] = (struct range){ start, end, a };
}

static uintptr_t lower(uintptr_t a, uintptr_t b)
{
	return a < b ? a : b;
}

static uintptr_t higher(uintptr_t a, uintptr_t b)
{
	return a > b ? a : b;
}

/* What is within [start, end): the old ranges changed, and the gaps between them. */
static void rebuild_within(struct range *to, size_t *n, uintptr_t start, uintptr_t end, int advice,
			   int target)
{
	struct hmm_advice fresh = { 0 };
	uintptr_t at = start;

	apply(&fresh, advice, target);
	for (size_t i = 0; i < table.n; i++) {
		const struct range *r = &table.range[i];
		struct hmm_advice changed = r->advice;

		if (r->end <= start || r->start >= end)
			continue;
		apply(&changed, advice, target);
		append(to, n, at, higher(r->start, start), fresh);
		append(to, n, higher(r->start, start), lower(r->end, end), changed);
		at = lower(r->end, end);
	}
	append(to, n, at, end, fresh);
}

/* Locking: table.lock. Each old range may become three, with a gap before it, and one at the end. */
static size_t rebuild(struct range *to, uintptr_t start, uintptr_t end, int advice, int target)
{
	size_t n = 0;

	for (size_t i = 0; i < table.n; i++)
		append(to, &n, table.range[i].start, lower(table.range[i].end, start),
		       table.range[i].advice);
	rebuild_within(to, &n, start, end, advice, target);
	for (size_t i = 0; i < table.n; i++)
		append(to, &n, higher(table.range[i].start, end), table.range[i].end,
		       table.range[i].advice);
	return n;
}

int hmm_advice_set(uintptr_t start, uintptr_t end, int advice, int target)
{
	struct hmm_advice probe = { 0 };
	struct range *more;
	size_t room;

	if (apply(&probe, advice, target))
		return -EINVAL;
	os_mutex_lock(&table.lock);
	room = 2 * table.n + 3; /* two ranges are cut at most, and each may have a gap before it */
	more = os_alloc(room * sizeof(*more));
	if (more) {
		size_t n = rebuild(more, start, end, advice, target);

		os_free(table.range, table.room * sizeof(*more));
		table.range = more;
		table.room = room;
		table.n = n;
	}
	os_mutex_unlock(&table.lock);
	return more ? 0 : -ENOMEM;
}

/* The first that ends behind @at. Locking: table.lock. */
static size_t find(uintptr_t at)
{
	size_t low = 0, high = table.n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (table.range[mid].end <= at)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct hmm_advice hmm_advice_at(uintptr_t addr, uintptr_t *end)
{
	struct hmm_advice a = { 0 };
	size_t i;

	*end = UINTPTR_MAX;
	if (!table.n)
		return a;
	os_mutex_lock(&table.lock);
	i = find(addr);
	if (i < table.n && table.range[i].start <= addr) {
		a = table.range[i].advice;
		*end = table.range[i].end;
	} else if (i < table.n) {
		*end = table.range[i].start;
	}
	os_mutex_unlock(&table.lock);
	return a;
}

bool hmm_advice_next_victim(uintptr_t at, uintptr_t *start, uintptr_t *end)
{
	bool found = false;

	if (!table.n)
		return false;
	os_mutex_lock(&table.lock);
	for (size_t i = find(at); i < table.n && !found; i++) {
		found = table.range[i].advice.evict_first;
		*start = table.range[i].start;
		*end = table.range[i].end;
	}
	os_mutex_unlock(&table.lock);
	return found;
}

bool hmm_advice_prefers(uintptr_t start, uintptr_t end, int device)
{
	bool found = false;

	if (!table.n)
		return false;
	os_mutex_lock(&table.lock);
	for (size_t i = find(start); i < table.n && table.range[i].start < end && !found; i++)
		found = table.range[i].advice.has_preferred &&
			table.range[i].advice.preferred == device;
	os_mutex_unlock(&table.lock);
	return found;
}

void hmm_advice_clear(void)
{
	os_mutex_lock(&table.lock);
	os_free(table.range, table.room * sizeof(*table.range));
	table.range = NULL;
	table.n = table.room = 0;
	os_mutex_unlock(&table.lock);
}

void hmm_advice_forget(void)
{
	table.lock = (struct os_mutex){ 0 };
	table.range = NULL;
	table.n = table.room = 0;
}

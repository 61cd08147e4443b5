// SPDX-License-Identifier: MIT
#include "core/filemap.h"
#include "os/arena.h"
#include "os/lock.h"
#include "os/sys.h"

#include <errno.h>
#include <stddef.h>

struct range {
	uintptr_t start, end;
};

/* Sorted, not overlapping. Programs map few files: insertion moves what follows. */
static struct {
	struct os_mutex lock; /* leaf */
	struct range *range;
	size_t n, room;
} maps;

#define FIRST_ROOM 256

/* Locking: maps.lock. */
static int make_room(void)
{
	size_t room = maps.room ? 2 * maps.room : FIRST_ROOM;
	struct range *more;

	if (maps.n < maps.room)
		return 0;
	more = os_alloc(room * sizeof(*more));
	if (!more)
		return -ENOMEM;
	if (maps.n)
		os_copy(more, maps.range, maps.n * sizeof(*more));
	os_free(maps.range, maps.room * sizeof(*more));
	maps.range = more;
	maps.room = room;
	return 0;
}

static void insert(size_t at, struct range r)
{
	for (size_t i = maps.n++; i > at; i--)
		maps.range[i] = maps.range[i - 1];
	maps.range[at] = r;
}

static void erase(size_t at)
{
	maps.n--;
	for (size_t i = at; i < maps.n; i++)
		maps.range[i] = maps.range[i + 1];
}

/* The first that ends behind @at. */
static size_t find(uintptr_t at)
{
	size_t low = 0, high = maps.n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (maps.range[mid].end <= at)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Locking: maps.lock, and room for one more. */
static void cut(uintptr_t start, uintptr_t end)
{
	size_t i = find(start);

	if (i < maps.n && maps.range[i].start < start && maps.range[i].end > end) {
		insert(i + 1, (struct range){ end, maps.range[i].end });
		maps.range[i].end = start;
		return;
	}
	if (i < maps.n && maps.range[i].start < start)
		maps.range[i++].end = start;
	while (i < maps.n && maps.range[i].end <= end)
		erase(i);
	if (i < maps.n && maps.range[i].start < end)
		maps.range[i].start = end;
}

int hmm_filemap_add(uintptr_t start, uintptr_t end)
{
	int err;

	os_mutex_lock(&maps.lock);
	err = make_room();
	if (!err)
		cut(start, end);
	if (!err)
		err = make_room();
	if (!err)
		insert(find(start), (struct range){ start, end });
	os_mutex_unlock(&maps.lock);
	return err;
}

bool hmm_filemap_covers(uintptr_t start, uintptr_t end)
{
	os_mutex_lock(&maps.lock);
	for (size_t i = find(start); i < maps.n && start < end; i++) {
		if (maps.range[i].start > start)
			break;
		start = maps.range[i].end;
	}
	os_mutex_unlock(&maps.lock);
	return start >= end;
}

int hmm_filemap_remove(uintptr_t start, uintptr_t end)
{
	int err;

	os_mutex_lock(&maps.lock);
	err = make_room();
	if (!err)
		cut(start, end);
	os_mutex_unlock(&maps.lock);
	return err;
}

void hmm_filemap_forget(void)
{
	maps.range = NULL;
	maps.n = maps.room = 0;
	maps.lock = (struct os_mutex){ 0 };
}

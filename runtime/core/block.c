// SPDX-License-Identifier: MIT
#include "core/block.h"
#include "os/arena.h"
#include "os/sys.h"

#include <errno.h>
#include <sys/mman.h>

#define TOP_ENTRIES (1ul << (HMM_VA_BITS - HMM_SPAN_SHIFT))

int hmm_table_init(struct hmm_table *t)
{
	uintptr_t top = os_mmap(0, TOP_ENTRIES * sizeof(*t->top), PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (os_is_error(top))
		return -ENOMEM;
	*t = (struct hmm_table){ .top = (struct hmm_span **)top };
	return 0;
}

void hmm_table_exit(struct hmm_table *t)
{
	struct hmm_span *s, *next;

	for (s = t->spans; s; s = next) {
		next = s->next;
		for (unsigned int i = 0; i < HMM_SPAN_BLOCKS; i++)
			os_free(s->block[i], sizeof(*s->block[i]));
		os_free(s, sizeof(*s));
	}
	os_munmap(t->top, TOP_ENTRIES * sizeof(*t->top));
	*t = (struct hmm_table){ 0 };
}

static struct hmm_span *span_find(struct hmm_table *t, uintptr_t addr)
{
	if (addr >> HMM_VA_BITS)
		return NULL;
	return __atomic_load_n(&t->top[addr >> HMM_SPAN_SHIFT], __ATOMIC_ACQUIRE);
}

static unsigned int slot_of(uintptr_t addr)
{
	return (unsigned int)(addr >> HMM_BLOCK_SHIFT) & (HMM_SPAN_BLOCKS - 1);
}

struct hmm_block *hmm_block_find(struct hmm_table *t, uintptr_t addr)
{
	struct hmm_span *s = span_find(t, addr);

	return s ? __atomic_load_n(&s->block[slot_of(addr)], __ATOMIC_ACQUIRE) : NULL;
}

/* Locking: t->lock. */
static struct hmm_span *span_make(struct hmm_table *t, uintptr_t addr)
{
	struct hmm_span *s = span_find(t, addr);

	if (s)
		return s;
	s = os_alloc(sizeof(*s));
	if (!s)
		return NULL;
	s->start = addr & ~(HMM_SPAN_BYTES - 1);
	__atomic_store_n(&t->used[addr >> HMM_REGION_SHIFT], 1, __ATOMIC_RELEASE);
	s->next = t->spans;
	__atomic_store_n(&t->spans, s, __ATOMIC_RELEASE);
	__atomic_store_n(&t->top[addr >> HMM_SPAN_SHIFT], s, __ATOMIC_RELEASE);
	return s;
}

struct hmm_block *hmm_block_get(struct hmm_table *t, uintptr_t addr)
{
	struct hmm_block *b = hmm_block_find(t, addr);
	struct hmm_span *s;

	if (b || addr >> HMM_VA_BITS)
		return b;
	os_mutex_lock(&t->lock);
	s = span_make(t, addr);
	b = s ? s->block[slot_of(addr)] : NULL;
	if (s && !b) {
		b = os_alloc(sizeof(*b));
		if (b) {
			b->start = addr & ~(HMM_BLOCK_BYTES - 1);
			b->span = s;
			__atomic_store_n(&s->block[slot_of(addr)], b, __ATOMIC_RELEASE);
		}
	}
	os_mutex_unlock(&t->lock);
	return b;
}

struct hmm_block *hmm_block_next(struct hmm_table *t, uintptr_t addr, uintptr_t end)
{
	const uintptr_t limit = 1ul << HMM_VA_BITS;

	if (end > limit)
		end = limit;
	addr &= ~(HMM_BLOCK_BYTES - 1);
	while (addr < end) {
		struct hmm_block *b;

		if (!__atomic_load_n(&t->used[addr >> HMM_REGION_SHIFT], __ATOMIC_ACQUIRE)) {
			addr = ((addr >> HMM_REGION_SHIFT) + 1) << HMM_REGION_SHIFT;
			continue;
		}
		if (!span_find(t, addr)) {
			addr = (addr & ~(HMM_SPAN_BYTES - 1)) + HMM_SPAN_BYTES;
			continue;
		}
		b = hmm_block_find(t, addr);
		if (b)
			return b;
		addr += HMM_BLOCK_BYTES;
	}
	return NULL;
}

/* Of a number that is read without the lock that we hold. */
static void add(unsigned int *n, unsigned int by)
{
	__atomic_store_n(n, *n + by, __ATOMIC_RELAXED);
}

void hmm_block_set_owner(struct hmm_block *b, unsigned int i, uint8_t owner)
{
	if (b->owner[i] == owner)
		return;
	if (b->owner[i])
		add(&b->dev[b->owner[i] - 1].resident, -1u);
	if (owner)
		add(&b->dev[owner - 1].resident, 1);
	else
		__atomic_store_n(&b->homes[i], (uint8_t)(b->homes[i] + 1), __ATOMIC_RELAXED);
	__atomic_store_n(&b->moves[i], (uint8_t)(b->moves[i] + 1), __ATOMIC_RELEASE);
	__atomic_store_n(&b->owner[i], owner, __ATOMIC_RELAXED);
}

unsigned int hmm_block_resident(const struct hmm_block *b)
{
	unsigned int n = 0;

	for (unsigned int d = 0; d < HMM_MAX_DEVICES; d++)
		n += __atomic_load_n(&b->dev[d].resident, __ATOMIC_RELAXED);
	return n;
}

unsigned int hmm_block_owner_run(const struct hmm_block *b, unsigned int i, unsigned int end,
				 uint8_t owner)
{
	while (i < end && b->owner[i] == owner)
		i++;
	return i;
}

/* Locking: lru->lock. */
static void lru_unlink(struct hmm_lru *lru, struct hmm_block *b, unsigned int dev)
{
	struct hmm_block_device *n = &b->dev[dev];

	if (n->older)
		n->older->dev[dev].newer = n->newer;
	else
		lru->oldest = n->newer;
	if (n->newer)
		n->newer->dev[dev].older = n->older;
	else
		lru->newest = n->older;
	n->older = n->newer = NULL;
	n->on_lru = false;
}

void hmm_lru_touch(struct hmm_table *t, struct hmm_block *b, unsigned int dev)
{
	struct hmm_lru *lru = &t->lru[dev];
	struct hmm_block_device *n = &b->dev[dev];

	os_mutex_lock(&lru->lock);
	if (lru->newest != b) {
		if (n->on_lru)
			lru_unlink(lru, b, dev);
		n->older = lru->newest;
		if (lru->newest)
			lru->newest->dev[dev].newer = b;
		else
			lru->oldest = b;
		lru->newest = b;
		n->on_lru = true;
	}
	os_mutex_unlock(&lru->lock);
}

void hmm_lru_remove(struct hmm_table *t, struct hmm_block *b, unsigned int dev)
{
	struct hmm_lru *lru = &t->lru[dev];

	os_mutex_lock(&lru->lock);
	if (b->dev[dev].on_lru)
		lru_unlink(lru, b, dev);
	os_mutex_unlock(&lru->lock);
}

struct hmm_block *hmm_lru_victim(struct hmm_table *t, unsigned int dev, bool recycled,
				 unsigned int skip)
{
	struct hmm_lru *lru = &t->lru[dev];
	struct hmm_block *b;

	os_mutex_lock(&lru->lock);
	for (b = lru->oldest; b; b = b->dev[dev].newer) {
		if (!os_mutex_trylock(&b->lock))
			continue;
		if ((!recycled || hmm_bits_count(&b->dev[dev].frames) > b->dev[dev].resident) &&
		    !skip--)
			break;
		os_mutex_unlock(&b->lock);
	}
	os_mutex_unlock(&lru->lock);
	return b;
}

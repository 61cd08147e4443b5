// SPDX-License-Identifier: MIT
#include "os/arena.h"
#include "os/lock.h"
#include "os/sys.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>

/* A stack whose thread never returned leaves its redzones marked. */
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
#else
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

#define MIN_SHIFT 6   /* smallest piece: a cache line */
#define CLASSES 25    /* largest: 1 GiB */
#define TRIM_SHIFT 16 /* freed pieces from here up give their frames back */

/*
 * Without a lock: threads of the application call here with their own stacks, whose pages may be
 * on a device, and who brings those home must not wait for them.
 */
static struct {
	struct os_mutex init_lock; /* taken by threads that open the library only */
	_Atomic uintptr_t base;
	uintptr_t end, limit; /* of the mapping; of its pieces */
	_Atomic uintptr_t next;
	/* Lists: the first piece, as link_of() says, and above it how often the list changed. */
	_Atomic uint64_t freed[CLASSES];
	/*
	 * The next one of each that is in a list. Beside the pieces: who takes one from a list may
	 * still read here what is another's by then, and then finds that the list has changed.
	 */
	_Atomic uint32_t *link;
} arena;

/* Locking: init_lock. */
static bool map_arena(size_t size)
{
	const size_t links = (size >> MIN_SHIFT) * sizeof(*arena.link);
	uintptr_t p = os_mmap(0, size + links, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (os_is_error(p))
		return false;
	/* Huge pages would make every stack cost 2 MiB. */
	os_madvise(p, size + links, MADV_NOHUGEPAGE);
	arena.limit = p + size;
	arena.end = arena.limit + links;
	arena.link = (_Atomic uint32_t *)arena.limit;
	atomic_store(&arena.next, p);
	atomic_store(&arena.base, p);
	return true;
}

int os_arena_init(void)
{
	static const size_t sizes[] = { 1ul << 30, 256ul << 20, 64ul << 20 };

	if (atomic_load(&arena.base))
		return 0;
	os_mutex_lock(&arena.init_lock);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]) && !atomic_load(&arena.base); i++)
		map_arena(sizes[i]);
	os_mutex_unlock(&arena.init_lock);
	return atomic_load(&arena.base) ? 0 : -ENOMEM;
}

/* CLASSES when no piece is that large. */
static unsigned int class_of(size_t bytes)
{
	unsigned int c = 0;

	while (c < CLASSES && ((size_t)1 << (c + MIN_SHIFT)) < bytes)
		c++;
	return c;
}

static void *carve(size_t size)
{
	uintptr_t align = size < 4096 ? size : 4096, next = atomic_load(&arena.next), p;

	do {
		p = (next + align - 1) & ~(align - 1);
		if (!next || p > arena.limit || size > arena.limit - p)
			return NULL;
	} while (!atomic_compare_exchange_weak(&arena.next, &next, p + size));
	return (void *)p;
}

/* Never 0, which ends a list. */
static uint32_t link_of(const void *piece)
{
	return (uint32_t)(((uintptr_t)piece - arena.base) >> MIN_SHIFT) + 1;
}

static uint64_t changed(uint64_t head, uint32_t first)
{
	return ((head >> 32) + 1) << 32 | first;
}

static void *take(unsigned int c)
{
	uint64_t head = atomic_load(&arena.freed[c]);
	uint32_t first, next;

	do {
		first = (uint32_t)head;
		if (!first)
			return NULL;
		next = atomic_load_explicit(&arena.link[first - 1], memory_order_relaxed);
	} while (!atomic_compare_exchange_weak(&arena.freed[c], &head, changed(head, next)));
	return (void *)(arena.base + ((uintptr_t)(first - 1) << MIN_SHIFT));
}

void *os_alloc(size_t bytes)
{
	unsigned int c = class_of(bytes);
	void *p;

	if (!bytes || c >= CLASSES)
		return NULL;
	p = take(c);
	if (!p)
		p = carve((size_t)1 << (c + MIN_SHIFT));
	if (!p)
		return NULL;
	UNPOISON(p, (size_t)1 << (c + MIN_SHIFT));
	/* What is larger was given back when it was freed. */
	if (c + MIN_SHIFT < TRIM_SHIFT)
		os_zero(p, (size_t)1 << (c + MIN_SHIFT));
	return p;
}

void os_free(void *p, size_t bytes)
{
	unsigned int c = class_of(bytes);
	uint64_t head;

	/* A forked child does not reuse what its parent had. */
	if (!p || !os_arena_contains((uintptr_t)p, (uintptr_t)p + 1))
		return;
	if (c + MIN_SHIFT >= TRIM_SHIFT)
		os_madvise((uintptr_t)p, (size_t)1 << (c + MIN_SHIFT), MADV_DONTNEED);
	head = atomic_load(&arena.freed[c]);
	do {
		atomic_store_explicit(&arena.link[link_of(p) - 1], (uint32_t)head,
				      memory_order_relaxed);
	} while (!atomic_compare_exchange_weak(&arena.freed[c], &head, changed(head, link_of(p))));
}

bool os_arena_contains(uintptr_t start, uintptr_t end)
{
	return start < arena.end && end > arena.base;
}

void os_arena_forget(void)
{
	for (unsigned int i = 0; i < CLASSES; i++)
		arena.freed[i] = 0;
	arena.base = 0;
	arena.next = 0;
	arena.end = arena.limit = 0;
	arena.init_lock = (struct os_mutex){ 0 };
}

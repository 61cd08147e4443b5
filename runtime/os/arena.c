// SPDX-License-Identifier: MIT
#include "os/arena.h"
#include "os/lock.h"
#include "os/sys.h"

#include <errno.h>
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

struct piece {
	struct piece *next;
};

static struct {
	struct os_mutex lock;
	uintptr_t base, end, next;
	struct piece *freed[CLASSES];
} arena;

int os_arena_init(void)
{
	static const size_t sizes[] = { 1ul << 30, 256ul << 20, 64ul << 20 };
	uintptr_t p = (uintptr_t)-ENOMEM;
	size_t i;

	os_mutex_lock(&arena.lock);
	if (arena.base)
		goto out;
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]) && os_is_error(p); i++) {
		p = os_mmap(0, sizes[i], PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (!os_is_error(p))
			arena.end = p + sizes[i];
	}
	if (!os_is_error(p)) {
		/* Huge pages would make every stack cost 2 MiB. */
		os_madvise(p, arena.end - p, MADV_NOHUGEPAGE);
		arena.next = p;
		arena.base = p;
	}
out:
	os_mutex_unlock(&arena.lock);
	return arena.base ? 0 : -ENOMEM;
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
	uintptr_t align = size < 4096 ? size : 4096;
	uintptr_t p = (arena.next + align - 1) & ~(align - 1);

	if (!arena.base || size > arena.end - p || p > arena.end)
		return NULL;
	arena.next = p + size;
	return (void *)p;
}

void *os_alloc(size_t bytes)
{
	unsigned int c = class_of(bytes);
	struct piece *p;

	if (!bytes || c >= CLASSES)
		return NULL;
	os_mutex_lock(&arena.lock);
	p = arena.freed[c];
	if (p)
		arena.freed[c] = p->next;
	else
		p = carve((size_t)1 << (c + MIN_SHIFT));
	os_mutex_unlock(&arena.lock);
	if (!p)
		return NULL;
	UNPOISON(p, (size_t)1 << (c + MIN_SHIFT));
	if (c + MIN_SHIFT >= TRIM_SHIFT)
		p->next = NULL; /* the rest was given back when it was freed */
	else
		os_zero(p, (size_t)1 << (c + MIN_SHIFT));
	return p;
}

void os_free(void *mem, size_t bytes)
{
	unsigned int c = class_of(bytes);
	struct piece *p = mem;

	if (!p)
		return;
	if (c + MIN_SHIFT >= TRIM_SHIFT)
		os_madvise((uintptr_t)p, (size_t)1 << (c + MIN_SHIFT), MADV_DONTNEED);
	os_mutex_lock(&arena.lock);
	p->next = arena.freed[c];
	arena.freed[c] = p;
	os_mutex_unlock(&arena.lock);
}

bool os_arena_contains(uintptr_t start, uintptr_t end)
{
	return start < arena.end && end > arena.base;
}

void os_arena_forget(void)
{
	for (unsigned int i = 0; i < CLASSES; i++)
		arena.freed[i] = NULL;
	arena.base = arena.end = arena.next = 0;
	arena.lock = (struct os_mutex){ 0 };
}

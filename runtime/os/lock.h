/* SPDX-License-Identifier: MIT */
/*
 * Futex locks in the runtime's own memory. They touch neither libc nor thread
 * local storage, so that a thread whose stack is on the device can hold one.
 * Order: docs/locking.md.
 */
#ifndef HMM_OS_LOCK_H
#define HMM_OS_LOCK_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Whoever is there first gets it, until a waiter was woken in vain: then who comes later waits until
 * no such waiter is left. So threads that let go of a lock only to take it again keep nobody out.
 */
struct os_mutex {
	uint32_t word;    /* 0 free, 1 held, 2 held with waiters */
	uint32_t seniors; /* waiters that were woken in vain */
};

extern bool os_mutex_barging; /* without seniors: a negative control. Set before threads start */

void os_mutex_lock(struct os_mutex *m);
bool os_mutex_trylock(struct os_mutex *m);
void os_mutex_unlock(struct os_mutex *m);

/* A writer that waits holds new readers back. */
struct os_rwlock {
	uint32_t state;    /* readers, or OS_RW_WRITER */
	uint32_t writers;  /* waiting */
	uint32_t gate;     /* futex: bumped when waiters should look again */
	uint32_t sleepers; /* at the gate */
};

void os_read_lock(struct os_rwlock *l);
void os_read_unlock(struct os_rwlock *l);
void os_write_lock(struct os_rwlock *l);
void os_write_unlock(struct os_rwlock *l);

/* Wait while *word is @value, @ns at the most (0: no limit). 0 or -errno. */
int os_futex_wait(uint32_t *word, uint32_t value, uint64_t ns, bool shared);
void os_futex_wake(uint32_t *word, int n, bool shared);

#endif /* HMM_OS_LOCK_H */

// SPDX-License-Identifier: MIT
#include "os/lock.h"
#include "os/sys.h"

#include <limits.h>
#include <linux/futex.h>
#include <time.h>

#define OS_RW_WRITER 0x80000000u
#define SPINS 256

int os_futex_wait(uint32_t *word, uint32_t value, uint64_t ns, bool shared)
{
	struct timespec ts = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };
	int op = FUTEX_WAIT | (shared ? 0 : FUTEX_PRIVATE_FLAG);

	return (int)os_syscall4(SYS_futex, word, op, value, ns ? &ts : NULL);
}

void os_futex_wake(uint32_t *word, int n, bool shared)
{
	os_syscall3(SYS_futex, word, FUTEX_WAKE | (shared ? 0 : FUTEX_PRIVATE_FLAG), n);
}

static bool cas(uint32_t *p, uint32_t old, uint32_t new)
{
	return __atomic_compare_exchange_n(p, &old, new, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/*
 * Who holds one of these locks mostly lets go of it within microseconds, and to sleep and be woken
 * costs more than that, on a halted virtual CPU ten times as much.
 */
static inline void relax(void)
{
#if defined(__x86_64__)
	__asm__ volatile("pause");
#else
	__asm__ volatile("yield");
#endif
}

bool os_mutex_barging;

bool os_mutex_trylock(struct os_mutex *m)
{
	return !__atomic_load_n(&m->seniors, __ATOMIC_RELAXED) && cas(&m->word, 0, 1);
}

/* Who comes now lets those by who have waited for long. */
static void let_seniors_by(struct os_mutex *m)
{
	uint32_t n;

	while ((n = __atomic_load_n(&m->seniors, __ATOMIC_RELAXED)))
		os_futex_wait(&m->seniors, n, 0, false);
}

static void lock_slowly(struct os_mutex *m)
{
	unsigned int lost = 0;

	let_seniors_by(m);
	while (__atomic_exchange_n(&m->word, 2, __ATOMIC_ACQUIRE)) {
		/* Woken in vain: somebody who came later was faster. */
		if (lost++ == 1 && !os_mutex_barging)
			__atomic_add_fetch(&m->seniors, 1, __ATOMIC_RELAXED);
		os_futex_wait(&m->word, 2, 0, false);
	}
	if (lost > 1 && !os_mutex_barging && !__atomic_sub_fetch(&m->seniors, 1, __ATOMIC_RELAXED))
		os_futex_wake(&m->seniors, INT_MAX, false);
}

void os_mutex_lock(struct os_mutex *m)
{
	for (unsigned int i = 0; i < SPINS; i++) {
		if (!__atomic_load_n(&m->word, __ATOMIC_RELAXED) && os_mutex_trylock(m))
			return;
		relax();
	}
	lock_slowly(m);
}

void os_mutex_unlock(struct os_mutex *m)
{
	if (__atomic_exchange_n(&m->word, 0, __ATOMIC_RELEASE) == 2)
		os_futex_wake(&m->word, 1, false);
}

/* Who let go of the lock bumps the gate, then looks for sleepers; who sleeps is counted before. */
static void wait_at_gate(struct os_rwlock *l, uint32_t gate)
{
	__atomic_add_fetch(&l->sleepers, 1, __ATOMIC_SEQ_CST);
	os_futex_wait(&l->gate, gate, 0, false);
	__atomic_sub_fetch(&l->sleepers, 1, __ATOMIC_RELAXED);
}

static void open_gate(struct os_rwlock *l)
{
	__atomic_add_fetch(&l->gate, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&l->sleepers, __ATOMIC_SEQ_CST))
		os_futex_wake(&l->gate, INT_MAX, false);
}

void os_read_lock(struct os_rwlock *l)
{
	for (unsigned int tries = 0;; tries++) {
		uint32_t gate = __atomic_load_n(&l->gate, __ATOMIC_ACQUIRE);
		uint32_t s = __atomic_load_n(&l->state, __ATOMIC_RELAXED);

		if (!(s & OS_RW_WRITER) && !__atomic_load_n(&l->writers, __ATOMIC_ACQUIRE)) {
			if (cas(&l->state, s, s + 1))
				return;
		} else if (tries < SPINS) {
			relax();
		} else {
			wait_at_gate(l, gate);
		}
	}
}

void os_read_unlock(struct os_rwlock *l)
{
	if (__atomic_sub_fetch(&l->state, 1, __ATOMIC_SEQ_CST) == 0 &&
	    __atomic_load_n(&l->writers, __ATOMIC_SEQ_CST))
		open_gate(l);
}

void os_write_lock(struct os_rwlock *l)
{
	__atomic_add_fetch(&l->writers, 1, __ATOMIC_SEQ_CST);
	for (unsigned int tries = 0;; tries++) {
		uint32_t gate = __atomic_load_n(&l->gate, __ATOMIC_ACQUIRE);

		if (cas(&l->state, 0, OS_RW_WRITER))
			break;
		if (tries < SPINS)
			relax();
		else
			wait_at_gate(l, gate);
	}
	__atomic_sub_fetch(&l->writers, 1, __ATOMIC_SEQ_CST);
}

void os_write_unlock(struct os_rwlock *l)
{
	__atomic_store_n(&l->state, 0, __ATOMIC_SEQ_CST);
	open_gate(l);
}

// SPDX-License-Identifier: MIT
#include "os/lock.h"
#include "os/sys.h"

#include <limits.h>
#include <linux/futex.h>
#include <time.h>

#define OS_RW_WRITER 0x80000000u

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

bool os_mutex_trylock(struct os_mutex *m)
{
	return cas(&m->word, 0, 1);
}

void os_mutex_lock(struct os_mutex *m)
{
	if (os_mutex_trylock(m))
		return;
	while (__atomic_exchange_n(&m->word, 2, __ATOMIC_ACQUIRE))
		os_futex_wait(&m->word, 2, 0, false);
}

void os_mutex_unlock(struct os_mutex *m)
{
	if (__atomic_exchange_n(&m->word, 0, __ATOMIC_RELEASE) == 2)
		os_futex_wake(&m->word, 1, false);
}

void os_read_lock(struct os_rwlock *l)
{
	for (;;) {
		uint32_t gate = __atomic_load_n(&l->gate, __ATOMIC_ACQUIRE);
		uint32_t s = __atomic_load_n(&l->state, __ATOMIC_RELAXED);

		if (!(s & OS_RW_WRITER) && !__atomic_load_n(&l->writers, __ATOMIC_ACQUIRE)) {
			if (cas(&l->state, s, s + 1))
				return;
			continue;
		}
		os_futex_wait(&l->gate, gate, 0, false);
	}
}

static void open_gate(struct os_rwlock *l)
{
	__atomic_add_fetch(&l->gate, 1, __ATOMIC_RELEASE);
	os_futex_wake(&l->gate, INT_MAX, false);
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
	for (;;) {
		uint32_t gate = __atomic_load_n(&l->gate, __ATOMIC_ACQUIRE);

		if (cas(&l->state, 0, OS_RW_WRITER))
			break;
		os_futex_wait(&l->gate, gate, 0, false);
	}
	__atomic_sub_fetch(&l->writers, 1, __ATOMIC_SEQ_CST);
}

void os_write_unlock(struct os_rwlock *l)
{
	__atomic_store_n(&l->state, 0, __ATOMIC_RELEASE);
	open_gate(l);
}

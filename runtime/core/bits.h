/* SPDX-License-Identifier: MIT */
/*
 * A bitmap with one bit for each page of a block. Those who change it hold a lock; some read it
 * without, and know that what they see may be old.
 */
#ifndef HMM_CORE_BITS_H
#define HMM_CORE_BITS_H

#include <stdbool.h>
#include <stdint.h>

#define HMM_BLOCK_PAGES 512u

struct hmm_bits {
	uint64_t word[HMM_BLOCK_PAGES / 64];
};

static inline bool hmm_bits_test(const struct hmm_bits *b, unsigned int i)
{
	return __atomic_load_n(&b->word[i / 64], __ATOMIC_RELAXED) >> (i % 64) & 1;
}

static inline void hmm_bits_set(struct hmm_bits *b, unsigned int i)
{
	uint64_t *word = &b->word[i / 64];

	__atomic_store_n(word, *word | 1ull << (i % 64), __ATOMIC_RELAXED);
}

static inline void hmm_bits_clear(struct hmm_bits *b, unsigned int i)
{
	uint64_t *word = &b->word[i / 64];

	__atomic_store_n(word, *word & ~(1ull << (i % 64)), __ATOMIC_RELAXED);
}

static inline void hmm_bits_set_range(struct hmm_bits *b, unsigned int i, unsigned int end)
{
	for (; i < end; i++)
		hmm_bits_set(b, i);
}

static inline void hmm_bits_clear_range(struct hmm_bits *b, unsigned int i, unsigned int end)
{
	for (; i < end; i++)
		hmm_bits_clear(b, i);
}

/* First page in [i, end) whose bit is @value, else @end. */
static inline unsigned int hmm_bits_find(const struct hmm_bits *b, unsigned int i, unsigned int end,
					 bool value)
{
	while (i < end && hmm_bits_test(b, i) != value)
		i++;
	return i;
}

static inline unsigned int hmm_bits_count(const struct hmm_bits *b)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < HMM_BLOCK_PAGES / 64; i++)
		n += (unsigned int)__builtin_popcountll(b->word[i]);
	return n;
}

#endif /* HMM_CORE_BITS_H */

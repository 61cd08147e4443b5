// SPDX-License-Identifier: MIT
/* The table of advice against one entry a page: ranges split and merged. */
#include "core/advice.h"
#include "os/arena.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <hmm/hmm.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096ul
#define BASE 0x100000ul
#define PAGES 64u
#define ROUNDS 3000

static struct hmm_advice model[PAGES];

static bool same(const struct hmm_advice *a, const struct hmm_advice *b)
{
	return a->has_preferred == b->has_preferred && a->preferred == b->preferred &&
	       a->read_mostly == b->read_mostly && a->evict_first == b->evict_first &&
	       a->no_migrate == b->no_migrate && a->pattern == b->pattern &&
	       a->accessed_by == b->accessed_by;
}

static void apply(struct hmm_advice *m, int advice, int target)
{
	bool given = advice % 2; /* of pairs, the first is odd */

	if (advice == HMM_ADVICE_PREFERRED || advice == HMM_ADVICE_NOT_PREFERRED) {
		m->has_preferred = given;
		m->preferred = given ? target : 0;
	} else if (advice <= HMM_ADVICE_NOT_READ_MOSTLY) {
		m->read_mostly = given;
	} else if (advice <= HMM_ADVICE_NOT_ACCESSED_BY) {
		m->accessed_by = (uint8_t)(given ? m->accessed_by | 1u << target :
						   m->accessed_by & ~(1u << target));
	} else if (advice <= HMM_ADVICE_RANDOM) {
		m->pattern = advice == HMM_ADVICE_NORMAL ? 0 : (uint8_t)advice;
	} else if (advice <= HMM_ADVICE_NOT_EVICT_FIRST) {
		m->evict_first = advice == HMM_ADVICE_EVICT_FIRST;
	} else {
		m->no_migrate = advice == HMM_ADVICE_NO_MIGRATE;
	}
}

/* Each page's advice, and that a range ends where the next page differs, not before. */
static bool is_right(void)
{
	for (unsigned int i = 0; i < PAGES; i++) {
		uintptr_t end;
		struct hmm_advice a = hmm_advice_at(BASE + i * PAGE, &end);
		unsigned int stop = i;

		while (stop < PAGES && same(&model[stop], &model[i]))
			stop++;
		if (!same(&a, &model[i]) || (stop < PAGES && end != BASE + stop * PAGE))
			return false;
	}
	return true;
}

static void random_ranges(void)
{
	CU_ASSERT_EQUAL_FATAL(os_arena_init(), 0);
	srand(1);
	for (int i = 0; i < ROUNDS; i++) {
		unsigned int first = (unsigned int)rand() % PAGES;
		unsigned int n = 1 + (unsigned int)rand() % (PAGES - first);
		int advice = 1 + rand() % HMM_ADVICE_MAY_MIGRATE, target = rand() % 3;

		CU_ASSERT_EQUAL(hmm_advice_set(BASE + first * PAGE, BASE + (first + n) * PAGE,
					       advice, target),
				0);
		for (unsigned int p = first; p < first + n; p++)
			apply(&model[p], advice, target);
		if (!is_right())
			CU_FAIL_FATAL("not the advice that was given");
	}
	hmm_advice_clear();
	memset(model, 0, sizeof(model));
	CU_ASSERT(is_right());
}

static void lookups(void)
{
	uintptr_t start = 0, end = 0;

	CU_ASSERT_EQUAL(hmm_advice_set(BASE, BASE + PAGE, 0, 0), -EINVAL);
	CU_ASSERT_FALSE(hmm_advice_next_victim(0, &start, &end));
	hmm_advice_set(BASE + 2 * PAGE, BASE + 4 * PAGE, HMM_ADVICE_EVICT_FIRST, 0);
	hmm_advice_set(BASE + 6 * PAGE, BASE + 7 * PAGE, HMM_ADVICE_PREFERRED, 3);
	CU_ASSERT(hmm_advice_next_victim(BASE + 3 * PAGE, &start, &end));
	CU_ASSERT(start == BASE + 2 * PAGE && end == BASE + 4 * PAGE);
	CU_ASSERT_FALSE(hmm_advice_next_victim(end, &start, &end));
	CU_ASSERT(hmm_advice_prefers(BASE, BASE + 7 * PAGE, 3));
	CU_ASSERT_FALSE(hmm_advice_prefers(BASE, BASE + 7 * PAGE, 2));
	CU_ASSERT_FALSE(hmm_advice_prefers(BASE, BASE + 6 * PAGE, 3));
	hmm_advice_set(0, 1ul << 47, HMM_ADVICE_NOT_EVICT_FIRST, 0);
	CU_ASSERT_FALSE(hmm_advice_next_victim(0, &start, &end));
	hmm_advice_clear();
}

int main(void)
{
	CU_pSuite s;
	unsigned int failures;

	CU_initialize_registry();
	s = CU_add_suite("advice", NULL, NULL);
	CU_add_test(s, "random ranges", random_ranges);
	CU_add_test(s, "look-ups", lookups);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
	CU_cleanup_registry();
	return failures ? 1 : 0;
}

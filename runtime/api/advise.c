// SPDX-License-Identifier: MIT
/* hmm_advise(): the core keeps what was said, and backends do something about it. */
#include "api/range.h"
#include "core/advice.h"
#include "core/process.h"
#include "os/enter.h"
#include "os/maps.h"

#include <errno.h>
#include <hmm/hmm.h>

#define HMM_EXPORT __attribute__((visibility("default")))

struct advise_args {
	uintptr_t start, end;
	int advice, target;
};

static bool is_mapped(uintptr_t start, uintptr_t end)
{
	struct os_vma v;

	while (start < end) {
		if (os_vma_find(start, &v) || v.start > start)
			return false;
		start = v.end;
	}
	return true;
}

static long set_on_stack(void *arg)
{
	const struct advise_args *a = arg;

	if (!is_mapped(a->start, a->end))
		return -EFAULT;
	return hmm_advice_set(a->start, a->end, a->advice, a->target);
}

/* Advice without a target ignores it. */
static bool fits(const struct hmm_backend_ops *ops, int advice, int target)
{
	if (advice == HMM_ADVICE_PREFERRED)
		return hmm_is_target(ops, target);
	if (advice == HMM_ADVICE_ACCESSED_BY || advice == HMM_ADVICE_NOT_ACCESSED_BY)
		return target >= 0 && hmm_is_target(ops, target);
	return advice >= HMM_ADVICE_PREFERRED && advice <= HMM_ADVICE_MAY_MIGRATE;
}

HMM_EXPORT int hmm_advise(struct hmm *h, void *addr, size_t length, int advice, int target)
{
	const struct hmm_backend_ops *ops;
	struct advise_args a = { .advice = advice, .target = target };
	int err;

	ops = hmm_backend_of(h, &err);
	if (!ops)
		return err;
	err = hmm_range_widen(addr, length, &a.start, &a.end);
	if (err)
		return err;
	if (!fits(ops, advice, target))
		return -EINVAL;
	err = (int)os_enter(set_on_stack, &a, sizeof(a));
	if (!err && advice == HMM_ADVICE_NO_MIGRATE) {
		long n = ops->migrate(a.start, a.end, HMM_SYSTEM);

		err = n < 0 ? (int)n : 0;
	}
	if (!err && ops->advised)
		err = ops->advised(a.start, a.end, advice, target);
	return err;
}

// SPDX-License-Identifier: MIT
/* The public functions: arguments are checked here, once, for every backend. */
#include "api/range.h"
#include "core/advice.h"
#include "core/async.h"
#include "core/block.h"
#include "core/process.h"
#include "core/trace.h"
#include "os/arena.h"
#include "os/enter.h"
#include "os/log.h"

#include <errno.h>
#include <hmm/hmm.h>
#include <numa.h>
#include <string.h>

#define HMM_EXPORT __attribute__((visibility("default")))
#define STRINGIFY_(x) #x
#define STRINGIFY(x) STRINGIFY_(x)

int hmm_range_widen(const void *addr, size_t length, uintptr_t *start, uintptr_t *end)
{
	uintptr_t a = (uintptr_t)addr;

	if (!length || a + length < a || a + length > UINTPTR_MAX - HMM_PAGE_BYTES)
		return -EINVAL;
	*start = a & ~(HMM_PAGE_BYTES - 1);
	*end = (a + length + HMM_PAGE_BYTES - 1) & ~(HMM_PAGE_BYTES - 1);
	return *end > 1ul << HMM_VA_BITS ? -EFAULT : 0;
}

static bool is_node(int target)
{
	return target <= HMM_NUMA_NODE(0) && numa_available() >= 0 &&
	       HMM_NUMA_NODE(0) - target <= numa_max_node() &&
	       numa_bitmask_isbitset(numa_all_nodes_ptr, (unsigned int)(HMM_NUMA_NODE(0) - target));
}

bool hmm_is_target(const struct hmm_backend_ops *ops, int target)
{
	if (target >= 0)
		return (unsigned int)target < ops->device_count();
	return target == HMM_SYSTEM || is_node(target);
}

/* What move_pages(2) reads and writes: never on a device, as the caller's stack may be. */
struct node_batch {
	void *page[HMM_BLOCK_PAGES];
	int node[HMM_BLOCK_PAGES], status[HMM_BLOCK_PAGES];
};

static unsigned long fill_batch(struct node_batch *b, uintptr_t start, uintptr_t end, int node)
{
	unsigned long n = 0;

	for (; n < HMM_BLOCK_PAGES && start < end; n++, start += HMM_PAGE_BYTES) {
		b->page[n] = (void *)start;
		b->node[n] = node;
		b->status[n] = -1;
	}
	return n;
}

/* Pages of the system to one node; returns how many of the range are there then. */
static long to_node(uintptr_t start, uintptr_t end, int node)
{
	struct node_batch *b = os_alloc(sizeof(*b));
	unsigned long n;
	long on = 0;

	if (!b)
		return -ENOMEM;
	for (; on >= 0 && start < end; start += n * HMM_PAGE_BYTES) {
		n = fill_batch(b, start, end, node);
		if (numa_move_pages(0, n, b->page, b->node, b->status, 2 /* MPOL_MF_MOVE */) < 0)
			on = -errno;
		for (unsigned long i = 0; on >= 0 && i < n; i++)
			on += b->status[i] == node;
	}
	os_free(b, sizeof(*b));
	return on;
}

struct preferred_args {
	uintptr_t at, end;
	int target; /* HMM_SYSTEM: of no node */
};

/* What is preferred at @at, and how far. */
static long preferred_on_stack(void *arg)
{
	struct preferred_args *p = arg;
	uintptr_t end;
	struct hmm_advice a = hmm_advice_at(p->at, &end);

	if (end < p->end)
		p->end = end;
	p->target = a.has_preferred && a.preferred < HMM_SYSTEM ? a.preferred : HMM_SYSTEM;
	return 0;
}

/* Pages of the system to the nodes that they were advised to prefer; as far as that goes. */
static void to_preferred_nodes(uintptr_t start, uintptr_t end)
{
	while (start < end) {
		struct preferred_args p = { start, end, HMM_SYSTEM };

		if (os_enter(preferred_on_stack, &p, sizeof(p)))
			return;
		if (p.target != HMM_SYSTEM)
			to_node(start, p.end, HMM_NUMA_NODE(0) - p.target);
		start = p.end;
	}
}

static long migrate(const struct hmm_backend_ops *ops, uintptr_t start, uintptr_t end, int target)
{
	uint64_t began = hmm_trace_begin();
	long n = ops->migrate(start, end, target >= 0 ? target : HMM_SYSTEM);

	HMM_TRACE(HMM_TRACE_MIGRATE, migrate, began, target, start, n > 0 ? n : 0);
	if (n >= 0 && target == HMM_SYSTEM)
		to_preferred_nodes(start, end);
	if (n < 0 || target >= HMM_SYSTEM)
		return n;
	return to_node(start, end, HMM_NUMA_NODE(0) - target);
}

HMM_EXPORT long hmm_migrate(struct hmm *h, void *addr, size_t length, int target,
			    unsigned int flags)
{
	const struct hmm_backend_ops *ops;
	uintptr_t start, end;
	int err;

	ops = hmm_backend_of(h, &err);
	if (!ops)
		return err;
	err = hmm_range_widen(addr, length, &start, &end);
	if (err)
		return err;
	if (flags || !hmm_is_target(ops, target))
		return -EINVAL;
	return migrate(ops, start, end, target);
}

static long migrate_later(uintptr_t start, uintptr_t end, int target)
{
	return migrate(hmm_backend_running(), start, end, target);
}

HMM_EXPORT int hmm_migrate_async(struct hmm *h, void *addr, size_t length, int target,
				 unsigned int flags, int *fence_fd)
{
	const struct hmm_backend_ops *ops;
	uintptr_t start, end;
	int err;

	ops = hmm_backend_of(h, &err);
	if (!ops)
		return err;
	err = hmm_range_widen(addr, length, &start, &end);
	if (err)
		return err;
	if (flags || !fence_fd || !hmm_is_target(ops, target))
		return -EINVAL;
	return hmm_async_submit(migrate_later, start, end, target, fence_fd);
}

/* Which node a system page is on; the kernel answers for a batch at a time. */
static void fill_nodes(uintptr_t start, uintptr_t end, struct hmm_page_status *s)
{
	struct node_batch *b = os_alloc(sizeof(*b));
	unsigned long n;

	for (; b && start < end; start += n * HMM_PAGE_BYTES, s += n) {
		n = fill_batch(b, start, end, -1);
		if (numa_move_pages(0, n, b->page, NULL, b->status, 0) < 0)
			break;
		for (unsigned long i = 0; i < n; i++)
			if (s[i].location == HMM_SYSTEM && b->status[i] >= 0)
				s[i].node = b->status[i];
	}
	os_free(b, sizeof(*b));
}

HMM_EXPORT int hmm_query(struct hmm *h, const void *addr, size_t length,
			 struct hmm_page_status *status)
{
	const struct hmm_backend_ops *ops;
	uintptr_t start, end;
	int err;

	ops = hmm_backend_of(h, &err);
	if (!ops)
		return err;
	err = hmm_range_widen(addr, length, &start, &end);
	if (err)
		return err;
	if (!status)
		return -EINVAL;
	err = ops->query(start, end, status);
	if (err)
		return err;
	fill_nodes(start, end, status);
	return (int)((end - start) >> HMM_PAGE_SHIFT);
}

static long device_io(struct hmm *h, int device, const void *addr, void *buffer, size_t length,
		      bool write)
{
	const struct hmm_backend_ops *ops;
	uintptr_t a = (uintptr_t)addr;
	int err;

	ops = hmm_backend_of(h, &err);
	if (!ops)
		return err;
	if (!length || a + length < a || !buffer || device < 0 ||
	    (unsigned int)device >= ops->device_count())
		return -EINVAL;
	return ops->device_io((unsigned int)device, a, buffer, length, write);
}

HMM_EXPORT long hmm_device_read(struct hmm *h, int device, const void *addr, void *buffer,
				size_t length)
{
	return device_io(h, device, addr, buffer, length, false);
}

HMM_EXPORT long hmm_device_write(struct hmm *h, int device, void *addr, const void *buffer,
				 size_t length)
{
	return device_io(h, device, addr, (void *)(uintptr_t)buffer, length, true);
}

HMM_EXPORT const char *hmm_version(void)
{
	return STRINGIFY(HMM_VERSION_MAJOR) "." STRINGIFY(HMM_VERSION_MINOR) "." STRINGIFY(
		HMM_VERSION_PATCH);
}

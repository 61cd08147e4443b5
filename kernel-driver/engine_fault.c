// SPDX-License-Identifier: GPL-2.0
/*
 * A device page fault: an engine touches an address of its client that it does not map. The
 * page migrates, or, where it cannot, is mapped where it is. Either entry is made under
 * client->lock, and only if no change of the page was announced since it was looked up.
 */
#include <linux/delay.h>
#include <linux/hmm.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "engine_look.h"

#define MAX_TRIES 100 /* then signals are looked at, and the access is made again */
#define BUSY_NOW 4    /* of a page that others hold: at once, and then a wait before each */
#define BUSY_US 500

static vm_fault_t insert_one(struct vm_area_struct *vma, unsigned long addr, unsigned long pfn,
			     bool writable)
{
	vm_flags_t flags = writable ? vma->vm_flags : vma->vm_flags & ~VM_WRITE;

	return vmf_insert_pfn_prot(vma, addr, pfn, vm_get_page_prot(flags));
}

static bool is_changed(const struct hmmdrm_look *l, unsigned long addr)
{
	return hmmdrm_client_changed(l->engine->client, l->since, addr, addr + PAGE_SIZE);
}

/* Locking: client->lock. Takes a page away from the other engines, who fault for it again. */
static void zap_others(const struct hmmdrm_look *l)
{
	struct hmmdrm_engine *engine;

	list_for_each_entry (engine, &l->engine->client->engines, link)
		if (engine != l->engine)
			hmmdrm_engine_zap(engine, l->addr, l->addr + PAGE_SIZE);
}

/*
 * Locking: client->lock. An entry that is there (read-only, and this is a store) is replaced.
 * The neighbours share its page table, which is there. The kernel sees no store of an engine: a
 * page of the system is dirty before the first one, and to clean it is announced. The client has it
 * yet, and so the page has its mapping, for no change was announced.
 */
static vm_fault_t insert(struct vm_fault *vmf, const struct hmmdrm_look *l)
{
	struct vm_area_struct *vma = vmf->vma;

	if (l->write)
		hmmdrm_engine_zap(l->engine, l->addr, l->addr + PAGE_SIZE);
	if (l->alone && !(hmmdrm_skip_fence & HMMDRM_SKIP_OTHERS))
		zap_others(l);
	if (l->here && l->writable)
		folio_mark_dirty(pfn_folio(l->pfn));
	for (unsigned int i = 0; i < l->nr_around; i++) {
		unsigned long addr = l->first + (i << PAGE_SHIFT), entry = l->around[i];

		if (addr != l->addr && addr >= vma->vm_start && addr < vma->vm_end &&
		    hmmdrm_is_usable(l, entry, false) && !is_changed(l, addr))
			insert_one(vma, addr, hmmdrm_frame_pfn(hmm_pfn_to_page(entry)),
				   entry & HMM_PFN_WRITE);
	}
	return insert_one(vma, vmf->address & PAGE_MASK, l->pfn, l->writable);
}

static int nothing(pte_t *pte, unsigned long addr, void *data)
{
	return 0;
}

static vm_fault_t fault_of(int err)
{
	return err == -ENOMEM ? VM_FAULT_OOM : err == -EIO ? VM_FAULT_SIGBUS : VM_FAULT_SIGSEGV;
}

static vm_fault_t resolve(struct vm_fault *vmf, struct hmmdrm_look *l)
{
	struct hmmdrm_client *client = l->engine->client;
	vm_fault_t ret;

	for (int i = 0; i < MAX_TRIES && !signal_pending(current); i++) {
		int err = hmmdrm_look(l);

		if (err == -EAGAIN) {
			/* No lock is held but the engine's own. */
			if (l->tries + l->refused > BUSY_NOW)
				usleep_range(BUSY_US, 2 * BUSY_US);
			cond_resched();
			continue;
		}
		if (err)
			return fault_of(err);
		mutex_lock(&client->lock);
		if (is_changed(l, l->addr) && !(hmmdrm_skip_fence & HMMDRM_SKIP_SEQUENCE)) {
			mutex_unlock(&client->lock);
			hmmdrm_look_done(l);
			continue;
		}
		if (l->exclusive)
			hmmdrm_remote_taken(client, l->addr, l->pfn);
		ret = insert(vmf, l);
		mutex_unlock(&client->lock);
		hmmdrm_look_done(l);
		hmmdrm_count(l->engine->hd, HMMDRM_DEVICE_FAULTS, 1);
		return ret;
	}
	return VM_FAULT_NOPAGE;
}

static vm_fault_t engine_fault(struct vm_fault *vmf, bool write)
{
	struct hmmdrm_look l = {
		.engine = vmf->vma->vm_private_data,
		.addr = vmf->pgoff << PAGE_SHIFT,
		.write = write,
	};
	struct mm_struct *mm = l.engine->client->mm;
	vm_fault_t ret;

	/*
	 * Under client->lock no page table may be allocated: reclaim could come back to us
	 * through the notifier.
	 */
	if (apply_to_page_range(vmf->vma->vm_mm, vmf->address & PAGE_MASK, PAGE_SIZE, nothing,
				NULL))
		return VM_FAULT_OOM;
	if (!mmget_not_zero(mm))
		return VM_FAULT_SIGBUS;
	ret = resolve(vmf, &l);
	mmput_async(mm);
	return ret;
}

static vm_fault_t fault(struct vm_fault *vmf)
{
	return engine_fault(vmf, vmf->flags & FAULT_FLAG_WRITE);
}

static vm_fault_t pfn_mkwrite(struct vm_fault *vmf)
{
	vm_fault_t ret = engine_fault(vmf, true);

	return ret ? ret : VM_FAULT_NOPAGE;
}

/* The offset is the address. */
static int mremap(struct vm_area_struct *vma)
{
	return -EINVAL;
}

const struct vm_operations_struct hmmdrm_engine_vm_ops = {
	.fault = fault,
	.pfn_mkwrite = pfn_mkwrite,
	.mremap = mremap,
};

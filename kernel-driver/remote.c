// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of the system that an engine was given where they are. An entry of the CPU that a
 * device has taken looks like an empty one to hmm_range_fault(): what it was is noted here
 * when an engine gets its entry, and forgotten by the notifier when it changes.
 */
#include <linux/mm.h>
#include <linux/xarray.h>

#include "hmmdrm.h"

#define EXCLUSIVE 1ul

/* 0 or -ENOMEM. A note that turns out too early does no harm: see hmmdrm_remote_at(). */
int hmmdrm_remote_note(struct hmmdrm_client *client, unsigned long addr, unsigned long pfn)
{
	return xa_err(
		xa_store(&client->remote, addr >> PAGE_SHIFT, xa_mk_value(pfn << 1), GFP_KERNEL));
}

int hmmdrm_remote_reserve(struct hmmdrm_client *client, unsigned long addr)
{
	return xa_reserve(&client->remote, addr >> PAGE_SHIFT, GFP_KERNEL);
}

/* Locking: client->lock, so that it is there as long as the CPU's entry is the device's. */
void hmmdrm_remote_taken(struct hmmdrm_client *client, unsigned long addr, unsigned long pfn)
{
	/* Without a note the page is only taken anew by each who wants it. */
	xa_store(&client->remote, addr >> PAGE_SHIFT, xa_mk_value(pfn << 1 | EXCLUSIVE),
		 GFP_NOWAIT | __GFP_NOWARN);
}

bool hmmdrm_remote_is_taken(struct hmmdrm_client *client, unsigned long addr, unsigned long *pfn)
{
	void *note = xa_load(&client->remote, addr >> PAGE_SHIFT);

	if (!note || !(xa_to_value(note) & EXCLUSIVE))
		return false;
	*pfn = xa_to_value(note) >> 1;
	return true;
}

void hmmdrm_remote_forget(struct hmmdrm_client *client, unsigned long start, unsigned long end,
			  bool keep_exclusive)
{
	unsigned long index;
	void *note;

	xa_for_each_range (&client->remote, index, note, start >> PAGE_SHIFT,
			   (end - 1) >> PAGE_SHIFT)
		if (!keep_exclusive || !(xa_to_value(note) & EXCLUSIVE))
			xa_erase(&client->remote, index);
	xa_for_each_range (&client->refused, index, note, start >> PAGE_SHIFT,
			   (end - 1) >> PAGE_SHIFT)
		xa_erase(&client->refused, index);
}

/* A note that cannot be made is only missed by who asks. */
void hmmdrm_refused_note(struct hmmdrm_client *client, unsigned long addr, unsigned long pfn)
{
	struct folio *folio = pfn_folio(pfn);
	bool held;

	if (!folio_try_get(folio))
		return;
	held = folio_maybe_dma_pinned(folio) ||
	       folio_ref_count(folio) > 1 + folio_mapcount(folio) + folio_test_swapcache(folio);
	folio_put(folio);
	if (held)
		xa_store(&client->refused, addr >> PAGE_SHIFT, xa_mk_value(pfn), GFP_KERNEL);
}

bool hmmdrm_refused_at(struct hmmdrm_client *client, unsigned long addr, unsigned long pfn)
{
	void *note = xa_load(&client->refused, addr >> PAGE_SHIFT);

	return note && xa_to_value(note) == pfn;
}

/*
 * @present: what the CPU's page table says. Then a page is remote if both have it, else if it
 * was taken; its number goes to @pfn.
 */
bool hmmdrm_remote_at(struct hmmdrm_client *client, unsigned long addr, bool present,
		      unsigned long *pfn)
{
	void *note = xa_load(&client->remote, addr >> PAGE_SHIFT);

	if (!note || present == !!(xa_to_value(note) & EXCLUSIVE))
		return false;
	*pfn = xa_to_value(note) >> 1;
	return true;
}

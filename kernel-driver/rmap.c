// SPDX-License-Identifier: GPL-2.0
/*
 * Which engines map a frame of a file. The client's notifier knows of addresses, but a file's
 * page comes home without one being raised, and may be mapped by several clients' engines.
 *
 * Locking: the frame's folio lock, for all that is here.
 */
#include <linux/mm.h>
#include <linux/slab.h>

#include "hmmdrm.h"

struct hmmdrm_rmap {
	struct list_head link;
	struct hmmdrm_engine *engine; /* referenced */
	unsigned long addr;
};

int hmmdrm_rmap_add(struct page *dpage, struct hmmdrm_engine *engine, unsigned long addr)
{
	struct list_head *list = hmmdrm_frame_rmap(dpage);
	struct hmmdrm_rmap *r;

	list_for_each_entry (r, list, link)
		if (r->engine == engine && r->addr == addr)
			return 0;
	r = kmalloc(sizeof(*r), GFP_NOFS);
	if (!r)
		return -ENOMEM;
	kref_get(&engine->ref);
	r->engine = engine;
	r->addr = addr;
	list_add(&r->link, list);
	return 0;
}

void hmmdrm_frame_revoke(struct page *dpage)
{
	struct list_head *list = hmmdrm_frame_rmap(dpage);
	struct hmmdrm_rmap *r, *next;

	list_for_each_entry_safe (r, next, list, link) {
		struct hmmdrm_engine *engine = r->engine;

		mutex_lock(&engine->client->lock);
		hmmdrm_engine_zap(engine, r->addr, r->addr + PAGE_SIZE);
		mutex_unlock(&engine->client->lock);
		list_del(&r->link);
		kfree(r);
		hmmdrm_engine_put(engine);
	}
}

/* The next load makes an entry anew, a read-only one; the next store asks first. */
void hmmdrm_frame_write_protect(struct page *dpage)
{
	hmmdrm_frame_revoke(dpage);
}

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

#define SPANS 4 /* engines, more or less */

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

/* Consecutive addresses of one engine, which is referenced. */
struct span {
	struct hmmdrm_engine *engine;
	unsigned long start, end;
};

static void zap_span(struct span *s)
{
	if (!s->engine)
		return;
	mutex_lock(&s->engine->client->lock);
	hmmdrm_engine_zap(s->engine, s->start, s->end);
	mutex_unlock(&s->engine->client->lock);
	hmmdrm_engine_put(s->engine);
	s->engine = NULL;
}

/* The engine's reference goes to a span. */
static void add_to_spans(struct span *spans, const struct hmmdrm_rmap *r)
{
	struct span *s, *unused = NULL;

	for (s = spans; s < spans + SPANS; s++) {
		if (s->engine == r->engine && s->end == r->addr) {
			s->end += PAGE_SIZE;
			hmmdrm_engine_put(r->engine);
			return;
		}
		if (!s->engine)
			unused = s;
	}
	s = unused ? unused : spans;
	zap_span(s);
	*s = (struct span){ r->engine, r->addr, r->addr + PAGE_SIZE };
}

/*
 * To zap many pages at once costs little more than one. The next load makes an entry anew, a
 * read-only one; the next store asks first.
 */
void hmmdrm_frames_write_protect(struct page **dpage, unsigned int n)
{
	struct span spans[SPANS] = {};

	for (unsigned int i = 0; i < n; i++) {
		struct hmmdrm_rmap *r, *next;

		list_for_each_entry_safe (r, next, hmmdrm_frame_rmap(dpage[i]), link) {
			add_to_spans(spans, r);
			list_del(&r->link);
			kfree(r);
		}
	}
	for (unsigned int i = 0; i < SPANS; i++)
		zap_span(&spans[i]);
}

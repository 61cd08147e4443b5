// SPDX-License-Identifier: MIT
/* The model: where pages may be. */
#include "model/model.h"

/* A fault may bring what lies around it, as far as this. */
#define NEIGHBOURHOOD 512u

/* NULL: a private page of a file that is no copy: where the CPU has mapped what the file has. */
static uint32_t *where_of(const struct model *m, unsigned int page)
{
	struct model_page *p = &m->page[page];

	if (!p->file || p->own)
		return &p->where;
	return p->shared ? &m->file->where[p->file - 1] : NULL;
}

uint32_t model_where(const struct model *m, unsigned int page)
{
	const uint32_t *where = where_of(m, page);

	return where ? *where : AT_NOWHERE | AT_SYSTEM;
}

/* What is mapped so is the file's page, which comes home to be, and may be dropped from there. */
static void of_the_file(struct model *m, unsigned int page, uint32_t places)
{
	m->file->where[m->page[page].file - 1] |= places & (AT_NOWHERE | AT_SYSTEM);
}

void model_may_be(struct model *m, unsigned int first, unsigned int n, uint32_t places)
{
	for (unsigned int i = first; i < first + n && i < m->pages; i++) {
		uint32_t *where = where_of(m, i);

		if (!m->page[i].mapped)
			continue;
		if (where)
			*where |= places;
		else
			of_the_file(m, i, places);
	}
}

void model_known(struct model *m, unsigned int page, uint32_t place)
{
	uint32_t *where = where_of(m, page);

	if (where)
		*where = place;
	else
		of_the_file(m, page, place & AT_SYSTEM);
}

void model_only(struct model *m, unsigned int first, unsigned int n, uint32_t places)
{
	for (unsigned int i = first; i < first + n; i++)
		model_known(m, i, places);
	if (!(places & AT_SYSTEM))
		model_no_copies(m, first, n);
}

void model_no_copies(struct model *m, unsigned int first, unsigned int n)
{
	for (unsigned int i = first; i < first + n; i++)
		m->page[i].copied = false;
}

static void around(struct model *m, size_t offset, size_t n, uint32_t places, bool copied)
{
	unsigned int first = (unsigned int)(offset / PAGE);
	unsigned int begin = first > NEIGHBOURHOOD ? first - NEIGHBOURHOOD : 0;
	unsigned int end = begin + (unsigned int)(n / PAGE) + 2 * NEIGHBOURHOOD + 2;

	model_may_be(m, begin, end - begin, places);
	for (unsigned int i = begin; copied && i < end && i < m->pages; i++)
		m->page[i].copied = true;
}

void model_cpu_touched(struct model *m, size_t offset, size_t n, bool store)
{
	unsigned int first = (unsigned int)(offset / PAGE);

	if (!n)
		return;
	around(m, offset, n, AT_SYSTEM, m->copies && !store);
	for (unsigned int i = first; i <= (offset + n - 1) / PAGE; i++) {
		if (store)
			model_own(m, i);
		model_only(m, i, 1, AT_SYSTEM | (model_where(m, i) & AT_NOWHERE));
	}
	if (store)
		model_no_copies(m, first, (unsigned int)((offset + n - 1) / PAGE) + 1 - first);
}

/* What a device reads it may get a copy of, and of what lies around it. */
static void may_be_copied(struct model *m)
{
	for (unsigned int i = 0; i < m->pages; i++)
		if ((m->mostly[i] || m->page[i].copied) && m->page[i].mapped)
			model_may_be(m, i, 1, AT_SYSTEM);
}

void model_device_touched(struct model *m, size_t offset, size_t n, unsigned int device, bool store)
{
	if (!n)
		return;
	model_evicted(m, device);
	around(m, offset, n, AT_DEVICE(device), false);
	for (unsigned int i = (unsigned int)(offset / PAGE); i <= (offset + n - 1) / PAGE; i++) {
		bool stays;

		if (store)
			model_own(m, i);
		/* What a file has need not move: a private copy to be loaded, or who is busy. */
		stays = m->page[i].shared || (m->page[i].own && !store);
		model_known(m, i, AT_DEVICE(device) | (stays ? AT_SYSTEM : 0));
		if (store)
			model_no_copies(m, i, 1);
	}
	if (!store)
		may_be_copied(m);
}

void model_file_may_be(struct model *m, size_t at, size_t n, uint32_t places)
{
	for (size_t i = at / PAGE; n && i <= (at + n - 1) / PAGE && i < m->file->pages; i++)
		m->file->where[i] |= places;
}

void model_file_only(struct model *m, size_t at, size_t n, uint32_t places)
{
	for (size_t i = at / PAGE; n && i <= (at + n - 1) / PAGE && i < m->file->pages; i++)
		m->file->where[i] = places;
}

static void evicted(struct model *m, unsigned int device)
{
	for (unsigned int i = 0; i < m->pages; i++)
		if (m->page[i].where & AT_DEVICE(device))
			m->page[i].where |= AT_SYSTEM;
}

void model_evicted(struct model *m, unsigned int device)
{
	evicted(m, device);
	if (m->peer)
		evicted(m->peer, device);
	for (unsigned int i = 0; m->file && i < m->file->pages; i++)
		if (m->file->where[i] & AT_DEVICE(device))
			m->file->where[i] |= AT_SYSTEM;
}

// SPDX-License-Identifier: MIT
#include "model/model.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A fault may bring what lies around it, as far as this. */
#define NEIGHBOURHOOD 512u

void *shared_memory(size_t bytes)
{
	int fd = memfd_create("model", MFD_CLOEXEC);
	void *p = MAP_FAILED;

	if (fd >= 0 && !ftruncate(fd, (off_t)bytes))
		p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

int model_create(struct model *m, void *base, unsigned int pages, unsigned int devices)
{
	*m = (struct model){ .base = base, .pages = pages, .devices = devices };
	m->page = shared_memory(pages * sizeof(*m->page));
	m->now = shared_memory(pages * PAGE);
	m->zeroed = shared_memory(pages * PAGE);
	m->mostly = shared_memory(pages * sizeof(*m->mostly));
	return m->page && m->now && m->zeroed && m->mostly ? 0 : -ENOMEM;
}

void model_destroy(struct model *m)
{
	munmap(m->page, m->pages * sizeof(*m->page));
	munmap(m->now, m->pages * PAGE);
	munmap(m->zeroed, m->pages * PAGE);
	munmap(m->mostly, m->pages * sizeof(*m->mostly));
}

void model_map(struct model *m, unsigned int first, unsigned int n, int prot)
{
	for (unsigned int i = first; i < first + n; i++)
		m->page[i] = (struct model_page){ .mapped = true,
						  .prot = prot,
						  .where = AT_NOWHERE };
	memset(m->now + first * PAGE, 0, n * PAGE);
}

void model_unmap(struct model *m, unsigned int first, unsigned int n)
{
	memset(m->page + first, 0, n * sizeof(*m->page));
}

void model_protect(struct model *m, unsigned int first, unsigned int n, int prot)
{
	for (unsigned int i = first; i < first + n; i++)
		m->page[i].prot = prot;
}

void model_lock(struct model *m, unsigned int first, unsigned int n, bool locked)
{
	for (unsigned int i = first; i < first + n; i++)
		m->page[i].locked = locked;
}

void model_discard(struct model *m, unsigned int first, unsigned int n)
{
	for (unsigned int i = first; i < first + n; i++) {
		m->page[i].lazy = false;
		m->page[i].where = AT_NOWHERE | AT_SYSTEM;
	}
	memset(m->now + first * PAGE, 0, n * PAGE);
}

void model_free(struct model *m, unsigned int first, unsigned int n)
{
	for (unsigned int i = first; i < first + n; i++) {
		struct model_page *p = &m->page[i];

		p->lazy = true;
		p->dirtied = false;
		p->where |= AT_NOWHERE | AT_SYSTEM;
	}
	memset(m->zeroed + first * PAGE, 0, n * PAGE);
}

void model_move(struct model *m, unsigned int from, unsigned int to, unsigned int n)
{
	memmove(m->page + to, m->page + from, n * sizeof(*m->page));
	memmove(m->now + to * PAGE, m->now + from * PAGE, n * PAGE);
	memmove(m->zeroed + to * PAGE, m->zeroed + from * PAGE, n * PAGE);
	model_may_be(m, to, n, AT_SYSTEM); /* pages of a device come home */
	model_unmap(m, from, n);
}

void model_store(struct model *m, size_t offset, const void *bytes, size_t n)
{
	if (!n)
		return;
	memcpy(m->now + offset, bytes, n);
	for (size_t i = offset / PAGE; i <= (offset + n - 1) / PAGE; i++) {
		size_t from = i * PAGE > offset ? i * PAGE : offset;
		size_t to = (i + 1) * PAGE < offset + n ? (i + 1) * PAGE : offset + n;

		if (!m->page[i].lazy)
			continue;
		m->page[i].dirtied = true;
		memcpy(m->zeroed + from, (const char *)bytes + (from - offset), to - from);
	}
}

static size_t first_difference(const char *a, const char *b, size_t n)
{
	size_t i = 0;

	if (!memcmp(a, b, n))
		return n;
	while (a[i] == b[i])
		i++;
	return i;
}

/* The same for bytes of one page. */
static long compare_page(struct model *m, size_t offset, const char *seen, size_t n, bool learn)
{
	struct model_page *p = &m->page[offset / PAGE];
	size_t kept = first_difference(m->now + offset, seen, n), zeroed = 0;

	if (p->lazy)
		zeroed = first_difference(m->zeroed + offset, seen, n);
	if (kept < n && (!p->lazy || zeroed < n))
		return (long)(offset + (kept > zeroed ? kept : zeroed));
	if (!p->lazy || !learn || (kept == n && zeroed == n))
		return -1;
	if (kept < n)
		memcpy(m->now + offset / PAGE * PAGE, m->zeroed + offset / PAGE * PAGE, PAGE);
	if (kept < n || p->dirtied)
		p->lazy = false;
	return -1;
}

long model_compare(struct model *m, size_t offset, const void *seen, size_t n, bool learn)
{
	const char *s = seen;

	while (n) {
		size_t part = PAGE - offset % PAGE;
		long bad;

		if (part > n)
			part = n;
		bad = compare_page(m, offset, s, part, learn);
		if (bad >= 0)
			return bad;
		offset += part;
		s += part;
		n -= part;
	}
	return -1;
}

unsigned char model_byte(const struct model *m, size_t offset)
{
	return (unsigned char)m->now[offset];
}

size_t model_accessible(const struct model *m, size_t offset, size_t n, int prot)
{
	size_t end = offset;

	while (end < offset + n && end < m->pages * PAGE && m->page[end / PAGE].mapped &&
	       (m->page[end / PAGE].prot & prot))
		end = (end / PAGE + 1) * PAGE;
	return end > offset + n ? n : end - offset;
}

unsigned int model_alike(const struct model *m, unsigned int first, unsigned int n)
{
	unsigned int i = first;

	while (i < first + n && i < m->pages && m->page[i].mapped &&
	       m->page[i].prot == m->page[first].prot && m->page[i].locked == m->page[first].locked)
		i++;
	return i - first;
}

unsigned int model_run(const struct model *m, unsigned int first, unsigned int n, bool mapped)
{
	unsigned int i = first;

	while (i < first + n && i < m->pages && m->page[i].mapped == mapped)
		i++;
	return i - first;
}

void model_may_be(struct model *m, unsigned int first, unsigned int n, uint32_t places)
{
	for (unsigned int i = first; i < first + n && i < m->pages; i++)
		if (m->page[i].mapped)
			m->page[i].where |= places;
}

void model_only(struct model *m, unsigned int first, unsigned int n, uint32_t places)
{
	for (unsigned int i = first; i < first + n; i++)
		m->page[i].where = places;
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
	for (unsigned int i = first; i <= (offset + n - 1) / PAGE; i++)
		model_only(m, i, 1, AT_SYSTEM | (m->page[i].where & AT_NOWHERE));
	if (store)
		model_no_copies(m, first, (unsigned int)((offset + n - 1) / PAGE) + 1 - first);
}

/* What a device reads it may get a copy of, and of what lies around it. */
static void may_be_copied(struct model *m)
{
	for (unsigned int i = 0; i < m->pages; i++)
		if ((m->mostly[i] || m->page[i].copied) && m->page[i].mapped)
			m->page[i].where |= AT_SYSTEM;
}

void model_device_touched(struct model *m, size_t offset, size_t n, unsigned int device, bool store)
{
	if (!n)
		return;
	model_evicted(m, device);
	around(m, offset, n, AT_DEVICE(device), false);
	for (unsigned int i = (unsigned int)(offset / PAGE); i <= (offset + n - 1) / PAGE; i++) {
		m->page[i].where = AT_DEVICE(device);
		if (store)
			model_no_copies(m, i, 1);
	}
	if (!store)
		may_be_copied(m);
}

void model_evicted(struct model *m, unsigned int device)
{
	for (unsigned int i = 0; i < m->pages; i++)
		if (m->page[i].where & AT_DEVICE(device))
			m->page[i].where |= AT_SYSTEM;
}

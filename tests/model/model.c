// SPDX-License-Identifier: MIT
#include "model/model.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

struct model_file *model_file_create(unsigned int pages)
{
	struct model_file *f = shared_memory(sizeof(*f));

	if (!f)
		return NULL;
	*f = (struct model_file){ .pages = pages,
				  .size = pages * PAGE,
				  .bytes = shared_memory(pages * PAGE),
				  .where = shared_memory(pages * sizeof(*f->where)) };
	for (unsigned int i = 0; f->where && i < pages; i++)
		f->where[i] = AT_NOWHERE | AT_SYSTEM;
	return f->bytes && f->where ? f : NULL;
}

void model_file_destroy(struct model_file *f)
{
	munmap(f->bytes, f->pages * PAGE);
	munmap(f->where, f->pages * sizeof(*f->where));
	munmap(f, sizeof(*f));
}

char *model_bytes(const struct model *m, unsigned int page)
{
	const struct model_page *p = &m->page[page];

	return p->file && !p->own ? m->file->bytes + (p->file - 1) * PAGE : m->now + page * PAGE;
}

bool model_beyond(const struct model *m, unsigned int page)
{
	const struct model_page *p = &m->page[page];

	return p->file && !p->own && (p->file - 1) * PAGE >= m->file->size;
}

void model_map(struct model *m, unsigned int first, unsigned int n, int prot)
{
	for (unsigned int i = first; i < first + n; i++)
		m->page[i] = (struct model_page){ .mapped = true,
						  .prot = prot,
						  .where = AT_NOWHERE };
	memset(m->now + first * PAGE, 0, n * PAGE);
}

void model_map_file(struct model *m, unsigned int first, unsigned int n, int prot,
		    unsigned int index, bool shared)
{
	for (unsigned int i = 0; i < n; i++)
		m->page[first + i] = (struct model_page){
			.mapped = true, .prot = prot, .shared = shared, .file = index + i + 1
		};
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
		m->page[i].lazy = m->page[i].own = false;
		m->page[i].where = AT_NOWHERE | AT_SYSTEM;
	}
	memset(m->now + first * PAGE, 0, n * PAGE);
}

void model_own(struct model *m, unsigned int page)
{
	struct model_page *p = &m->page[page];

	if (!p->file || p->shared || p->own)
		return;
	memcpy(m->now + page * PAGE, model_bytes(m, page), PAGE);
	model_may_be(m, page, 1, AT_SYSTEM);
	p->own = true;
	p->where = AT_SYSTEM;
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

/* Bytes of one page. */
static void store_page(struct model *m, size_t offset, const char *bytes, size_t n)
{
	unsigned int page = (unsigned int)(offset / PAGE);

	model_own(m, page);
	memcpy(model_bytes(m, page) + offset % PAGE, bytes, n);
	if (!m->page[page].lazy)
		return;
	m->page[page].dirtied = true;
	memcpy(m->zeroed + offset, bytes, n);
}

void model_store(struct model *m, size_t offset, const void *bytes, size_t n)
{
	const char *b = bytes;

	while (n) {
		size_t part = PAGE - offset % PAGE < n ? PAGE - offset % PAGE : n;

		store_page(m, offset, b, part);
		offset += part;
		b += part;
		n -= part;
	}
}

void model_file_store(struct model *m, size_t at, const void *bytes, size_t n)
{
	memcpy(m->file->bytes + at, bytes, n);
	if (n && at + n > m->file->size)
		m->file->size = at + n;
}

/* Copies of what is cut go, too. */
static void cut_copies(struct model *m, size_t size)
{
	for (unsigned int i = 0; i < m->pages; i++)
		if (m->page[i].own && (m->page[i].file - 1) * PAGE >= size)
			m->page[i].own = false;
}

void model_file_resize(struct model *m, size_t size)
{
	struct model_file *f = m->file;
	unsigned int end = (unsigned int)((size + PAGE - 1) / PAGE);

	if (size < f->size) {
		memset(f->bytes + size, 0, f->size - size);
		for (unsigned int i = end; i < f->pages; i++)
			f->where[i] = AT_NOWHERE;
		cut_copies(m, size);
		if (m->peer)
			cut_copies(m->peer, size);
	}
	f->size = size;
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
	char *bytes = model_bytes(m, (unsigned int)(offset / PAGE));
	size_t kept = first_difference(bytes + offset % PAGE, seen, n), zeroed = 0;

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
	return (unsigned char)model_bytes(m, (unsigned int)(offset / PAGE))[offset % PAGE];
}

size_t model_accessible(const struct model *m, size_t offset, size_t n, int prot)
{
	size_t end = offset;

	while (end < offset + n && end < m->pages * PAGE && m->page[end / PAGE].mapped &&
	       (m->page[end / PAGE].prot & prot) && !model_beyond(m, (unsigned int)(end / PAGE)))
		end = (end / PAGE + 1) * PAGE;
	return end > offset + n ? n : end - offset;
}

/* How many bytes of a page, from its begin. */
static size_t storable(const struct model *m, unsigned int first, unsigned int page)
{
	const struct model_page *p = &m->page[page];
	size_t at = (p->file - 1) * PAGE;

	if (!p->file)
		return PAGE;
	for (unsigned int i = first; i < page; i++)
		if (m->page[i].file == p->file)
			return 0;
	return p->shared && at < m->file->size && m->file->size - at < PAGE ? m->file->size - at :
									      PAGE;
}

size_t model_storable(const struct model *m, size_t offset, size_t n)
{
	unsigned int first = (unsigned int)(offset / PAGE), page = first;
	size_t end = offset;

	while (end < offset + n) {
		size_t begin = page * PAGE, stop = begin + storable(m, first, page);

		if (stop <= end)
			break;
		end = stop;
		page++;
		if (stop < begin + PAGE)
			break;
	}
	return end > offset + n ? n : end - offset;
}

unsigned int model_alike(const struct model *m, unsigned int first, unsigned int n)
{
	const struct model_page *p = &m->page[first];
	unsigned int i = first;

	while (i < first + n && i < m->pages && m->page[i].mapped && m->page[i].prot == p->prot &&
	       m->page[i].locked == p->locked && m->page[i].shared == p->shared &&
	       m->page[i].file == (p->file ? p->file + (i - first) : 0))
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

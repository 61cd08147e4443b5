// SPDX-License-Identifier: GPL-2.0
/*
 * Runs: pages to copy bytes to, and their way to the lower file. What lies in bounce pages does not
 * change while it is written, so much of it at once needs no copy in the lower page cache.
 */
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/mempool.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/uio.h>

#include "../hmmdrm.h"
#include "run.h"

#define RUNS 8 /* always there: memory may be short because of what we write */
#define BLOCK_ORDER 5
#define DIRECT_PAGES 64

static mempool_t *runs;

static void free_run(void *element, void *unused)
{
	struct hmmfs_run *r = element;

	folio_put(r->blocks[0]);
	kfree(r);
}

static void *alloc_run(gfp_t gfp, void *unused)
{
	struct hmmfs_run *r = kmalloc(sizeof(*r), gfp);

	if (!r)
		return NULL;
	r->blocks[0] = folio_alloc(gfp, 0);
	r->nr_blocks = r->pages = 1;
	if (r->blocks[0])
		return r;
	kfree(r);
	return NULL;
}

int hmmfs_bounce_init(void)
{
	runs = mempool_create(RUNS, alloc_run, free_run, NULL);
	return runs ? 0 : -ENOMEM;
}

void hmmfs_bounce_exit(void)
{
	mempool_destroy(runs);
}

void hmmfs_empty_run(struct hmmfs_run *r)
{
	r->n = r->taken = r->within = 0;
	r->err = 0;
	r->used = r->block = r->next = 0;
}

struct hmmfs_run *hmmfs_get_run(struct address_space *mapping)
{
	struct hmmfs_run *r = mempool_alloc(runs, GFP_NOIO);

	r->mapping = mapping;
	hmmfs_empty_run(r);
	return r;
}

void hmmfs_put_run(struct hmmfs_run *r)
{
	while (r->nr_blocks > 1)
		folio_put(r->blocks[--r->nr_blocks]);
	r->pages = 1;
	mempool_free(r, runs);
}

/* Nobody waits for memory here: what is there can be written. */
static bool grow(struct hmmfs_run *r)
{
	struct folio *block;

	if (r->nr_blocks == HMMFS_BLOCKS)
		return false;
	block = folio_alloc(__GFP_NOWARN, BLOCK_ORDER);
	if (!block)
		block = folio_alloc(GFP_NOWAIT | __GFP_NOWARN, 0);
	if (!block)
		return false;
	r->blocks[r->nr_blocks++] = block;
	r->pages += folio_nr_pages(block);
	return true;
}

bool hmmfs_has_room(struct hmmfs_run *r)
{
	return r->n < HMMFS_RUN_PAGES && (r->used + r->n - r->taken < r->pages || grow(r));
}

struct page *hmmfs_next_bounce(struct hmmfs_run *r)
{
	struct folio *block = r->blocks[r->block];
	struct page *page = folio_page(block, r->next++);

	r->used++;
	if (r->next == folio_nr_pages(block)) {
		r->block++;
		r->next = 0;
	}
	return page;
}

static bool is_bounced(const struct hmmfs_run *r, unsigned int i)
{
	return r->vec[i].bv_page != &r->folio[i]->page;
}

static ssize_t write_direct(struct file *lower, struct iov_iter *iter, loff_t pos)
{
	struct kiocb iocb;

	init_sync_kiocb(&iocb, lower);
	iocb.ki_flags |= IOCB_DIRECT;
	iocb.ki_pos = pos;
	return vfs_iocb_iter_write(lower, &iocb, iter);
}

/* @direct: if the lower filesystem can do that, there. */
static int write_pages(struct file *lower, const struct bio_vec *vec, loff_t pos, size_t bytes,
		       bool direct)
{
	while (bytes) {
		unsigned int skip = offset_in_page(pos), nr = DIV_ROUND_UP(skip + bytes, PAGE_SIZE);
		struct iov_iter iter;
		loff_t at = pos;
		ssize_t n;

		/* Anew each time: what has failed may have moved it. */
		iov_iter_bvec(&iter, ITER_SOURCE, vec, nr, skip + bytes);
		iov_iter_advance(&iter, skip);
		n = direct ? write_direct(lower, &iter, pos) : vfs_iter_write(lower, &iter, &at, 0);
		if (direct && (n == -EINVAL || n == -EOPNOTSUPP)) {
			direct = false;
			continue;
		}
		if (n <= 0)
			return n ? n : -EIO;
		vec += (skip + n) >> PAGE_SHIFT;
		pos += n;
		bytes -= n;
	}
	return 0;
}

/*
 * How many from @i on are written alike, and how: direct are many that are bounced, before @end.
 * Fewer than that the lower filesystem collects in its page cache.
 */
static unsigned int alike(const struct hmmfs_run *r, unsigned int i, unsigned int end, bool *direct)
{
	unsigned int least = hmmdrm_skip_fence & HMMDRM_DIRECT ? 1 : DIRECT_PAGES;
	unsigned int first = i, n = 0;

	while (i < r->within) {
		for (n = 0; i + n < end && is_bounced(r, i + n); n++)
			;
		if (n >= least)
			break;
		i += max(n, 1u);
	}
	*direct = i == first;
	return *direct ? n : i - first;
}

/* The page cache is also for what makes the lower file longer, and for a page that is cut. */
static int write_up_to(struct hmmfs_run *r, struct file *lower, loff_t end)
{
	loff_t first = (loff_t)r->first << PAGE_SHIFT, left = max(end - first, 0ll);
	loff_t whole = min(left, i_size_read(file_inode(lower)) - first) >> PAGE_SHIFT;
	unsigned int direct_end = clamp_t(loff_t, whole, 0, r->n);
	int err = 0;

	if (!(lower->f_mode & FMODE_CAN_ODIRECT))
		direct_end = 0;
	r->within = min_t(loff_t, r->n, DIV_ROUND_UP(left, PAGE_SIZE));
	for (unsigned int i = 0, n; !err && i < r->within; i += n) {
		loff_t start = (loff_t)i << PAGE_SHIFT;
		bool direct;

		n = alike(r, i, direct_end, &direct);
		err = write_pages(lower, r->vec + i, first + start,
				  min_t(loff_t, left - start, (loff_t)n << PAGE_SHIFT), direct);
	}
	return err;
}

int hmmfs_write_run(struct hmmfs_run *r)
{
	struct inode *inode = r->mapping->host;
	struct file *lower = hmmfs_lower_file(inode);
	const struct cred *old;
	int err;

	if (IS_ERR(lower))
		return PTR_ERR(lower);
	old = override_creds(hmmfs_sb(inode->i_sb)->cred);
	err = write_up_to(r, lower, i_size_read(inode));
	revert_creds(old);
	return err;
}

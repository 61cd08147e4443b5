// SPDX-License-Identifier: GPL-2.0
/*
 * The least that a migration can cost: pages are there before it begins, nobody mirrors the
 * process, nothing is counted, and no lock is taken but the core's. It answers the calls of
 * lib/test_hmm.c that move pages, of one process at a time, and one more that gets the pages.
 */
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/ioctl.h>
#include <linux/ioport.h>
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/uaccess.h>

#include "../kernel-driver/compat.h"

#define FRAMES 2048
#define PAGES 1024
#define BATCH 512
#define AROUND 16 /* pages that a touch brings home */

struct call {
	__u64 addr, buffer, pages, done, faults;
};
#define TO_DEVICE _IOWR('H', 2, struct call)
#define TO_SYSTEM _IOWR('H', 3, struct call)
#define PREPARE _IO('H', 15)

static struct dev_pagemap pagemap;
static struct resource *resource;
static struct page *ram[FRAMES], *free_frame[FRAMES], *prepared[PAGES];
static unsigned int nr_free, nr_prepared;
static unsigned long src[BATCH], dst[BATCH];

static struct page *ram_of(const struct page *frame)
{
	return ram[page_to_pfn(frame) - PHYS_PFN(pagemap.range.start)];
}

static void freed(hmmdrm_freed_t *what)
{
	free_frame[nr_free++] = hmmdrm_freed_page(what);
}

static unsigned long to_frame(unsigned long from)
{
	struct page *frame, *page = migrate_pfn_to_page(from);

	if (!(from & MIGRATE_PFN_MIGRATE) || !page || !nr_free)
		return 0;
	frame = free_frame[--nr_free];
	hmmdrm_page_init(frame, &pagemap);
	copy_highpage(ram_of(frame), page);
	return migrate_pfn(page_to_pfn(frame)) | (from & MIGRATE_PFN_WRITE);
}

static unsigned long to_page(unsigned long from)
{
	struct page *frame = migrate_pfn_to_page(from), *page;

	if (!(from & MIGRATE_PFN_MIGRATE) || !frame || !nr_prepared)
		return 0;
	page = prepared[--nr_prepared];
	lock_page(page);
	copy_highpage(page, ram_of(frame));
	return migrate_pfn(page_to_pfn(page)) | (from & MIGRATE_PFN_WRITE);
}

static long move(struct vm_area_struct *vma, unsigned long start, unsigned long end, bool home,
		 struct page *fault_page)
{
	struct migrate_vma args = {
		.vma = vma,
		.start = start,
		.end = end,
		.src = src,
		.dst = dst,
		.pgmap_owner = &pagemap,
		.flags = home ? MIGRATE_VMA_SELECT_DEVICE_PRIVATE : MIGRATE_VMA_SELECT_SYSTEM,
		.fault_page = fault_page,
	};
	long n = 0;

	if (migrate_vma_setup(&args))
		return -EINVAL;
	for (unsigned long i = 0; i < args.npages; i++) {
		dst[i] = home ? to_page(src[i]) : to_frame(src[i]);
		n += !!dst[i];
	}
	migrate_vma_pages(&args);
	migrate_vma_finalize(&args);
	return n;
}

static vm_fault_t touched(struct vm_fault *vmf)
{
	unsigned long bytes = AROUND << PAGE_SHIFT, start = vmf->address & ~(bytes - 1);

	return move(vmf->vma, max(start, vmf->vma->vm_start), min(start + bytes, vmf->vma->vm_end),
		    true, vmf->page) > 0 ?
		       0 :
		       VM_FAULT_SIGBUS;
}

static const struct dev_pagemap_ops pagemap_ops = {
	HMMDRM_PAGE_FREE(freed),
	.migrate_to_ram = touched,
};

static long move_all(struct call *c, bool home)
{
	unsigned long at = c->addr, end = c->addr + (c->pages << PAGE_SHIFT);
	struct vm_area_struct *vma;
	long n = 0;

	c->done = 0;
	mmap_read_lock(current->mm);
	vma = vma_lookup(current->mm, at);
	if (!vma || end > vma->vm_end)
		n = -EFAULT;
	for (; n >= 0 && at < end; at += BATCH << PAGE_SHIFT) {
		n = move(vma, at, min(at + (BATCH << PAGE_SHIFT), end), home, NULL);
		c->done += max(n, 0l);
	}
	mmap_read_unlock(current->mm);
	return min(n, 0l);
}

static long prepare(void)
{
	while (nr_prepared < PAGES) {
		struct page *page = alloc_page(GFP_HIGHUSER_MOVABLE);

		if (!page)
			return -ENOMEM;
		prepared[nr_prepared++] = page;
	}
	return 0;
}

static long floor_ioctl(struct file *file, unsigned int number, unsigned long arg)
{
	struct call c;
	long err;

	if (number == PREPARE)
		return prepare();
	if (number != TO_DEVICE && number != TO_SYSTEM)
		return -ENOTTY;
	if (copy_from_user(&c, (void __user *)arg, sizeof(c)))
		return -EFAULT;
	err = move_all(&c, number == TO_SYSTEM);
	return copy_to_user((void __user *)arg, &c, sizeof(c)) ? -EFAULT : err;
}

static const struct file_operations fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = floor_ioctl,
};
static struct miscdevice device = { MISC_DYNAMIC_MINOR, "hmm_floor", &fops };

static void free_all(void)
{
	for (unsigned int i = 0; i < FRAMES; i++)
		if (ram[i])
			__free_page(ram[i]);
	while (nr_prepared)
		__free_page(prepared[--nr_prepared]);
}

static int __init floor_init(void)
{
	for (unsigned int i = 0; i < FRAMES; i++) {
		ram[i] = alloc_page(GFP_HIGHUSER | __GFP_ZERO);
		if (!ram[i])
			goto pages;
	}
	resource = request_free_mem_region(&iomem_resource, FRAMES << PAGE_SHIFT, "hmm_floor");
	if (IS_ERR(resource))
		goto pages;
	pagemap.type = MEMORY_DEVICE_PRIVATE;
	pagemap.range.start = resource->start;
	pagemap.range.end = resource->start + (FRAMES << PAGE_SHIFT) - 1;
	pagemap.nr_range = 1;
	pagemap.ops = &pagemap_ops;
	pagemap.owner = &pagemap;
	if (IS_ERR(memremap_pages(&pagemap, numa_node_id())))
		goto region;
	for (unsigned int i = 0; i < FRAMES; i++)
		free_frame[nr_free++] = pfn_to_page(PHYS_PFN(resource->start) + i);
	if (!misc_register(&device))
		return 0;
	memunmap_pages(&pagemap);
region:
	release_mem_region(resource->start, resource_size(resource));
pages:
	free_all();
	return -ENOMEM;
}

static void __exit floor_exit(void)
{
	misc_deregister(&device);
	memunmap_pages(&pagemap);
	release_mem_region(resource->start, resource_size(resource));
	free_all();
}

module_init(floor_init);
module_exit(floor_exit);
MODULE_DESCRIPTION("What the core's part of a migration costs");
MODULE_LICENSE("GPL");

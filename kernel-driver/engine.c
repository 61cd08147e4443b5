// SPDX-License-Identifier: GPL-2.0
/*
 * An engine: a process whose page table is the device's. It maps the client's addresses
 * through a descriptor, at the same addresses, and finds there what the device may see.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/lockdep.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "hmmdrm.h"

/*
 * Called inside the client's notifier. Zapping raises the notifiers of the engine's address
 * space and takes the i_mmap_rwsem of the engine's mapping; lockdep sees the classes twice.
 * They do not nest further: an engine's mm is never a client, so nothing of ours is called
 * from there, and nothing else maps that inode.
 */
void hmmdrm_engine_zap(struct hmmdrm_engine *engine, unsigned long start, unsigned long end)
{
	lockdep_assert_held(&engine->client->lock);
	if (!engine->mapping)
		return;
	start &= PAGE_MASK;
	lockdep_off();
	unmap_mapping_pages(engine->mapping, start >> PAGE_SHIFT,
			    (PAGE_ALIGN(end) - start) >> PAGE_SHIFT, true);
	lockdep_on();
}

static int engine_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct hmmdrm_engine *engine = file->private_data;
	int err;

	if (!(vma->vm_flags & VM_SHARED) || vma->vm_pgoff != vma->vm_start >> PAGE_SHIFT)
		return -EINVAL;
	err = hmmdrm_engine_bind(engine, vma->vm_mm);
	if (err)
		return err;
	vm_flags_set(vma, VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP | VM_DONTCOPY);
	vma->vm_ops = &hmmdrm_engine_vm_ops;
	vma->vm_private_data = engine;
	return 0;
}

static void engine_free(struct kref *ref)
{
	struct hmmdrm_engine *engine = container_of(ref, struct hmmdrm_engine, ref);
	struct hmmdrm_client *client = engine->client;

	kfree(engine);
	hmmdrm_client_put(client);
}

void hmmdrm_engine_put(struct hmmdrm_engine *engine)
{
	kref_put(&engine->ref, engine_free);
}

/* No mapping of it is left: a mapping holds the file. */
static int engine_release(struct inode *inode, struct file *file)
{
	struct hmmdrm_engine *engine = file->private_data;
	struct hmmdrm_client *client = engine->client;

	hmmdrm_engine_unbind(engine);
	hmmdrm_engine_put(engine);
	hmmdrm_client_close(client);
	return 0;
}

static const struct file_operations engine_fops = {
	.owner = THIS_MODULE,
	.mmap = engine_mmap,
	.release = engine_release,
	.llseek = noop_llseek,
};

int hmmdrm_engine_create(struct hmmdrm_client *client, struct hmmdrm_device *hd)
{
	struct hmmdrm_engine *engine = kzalloc(sizeof(*engine), GFP_KERNEL);
	struct file *file;
	int fd;

	if (!engine)
		return -ENOMEM;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		kfree(engine);
		return fd;
	}
	/* An inode of its own: its mapping is where entries are found again. */
	file = anon_inode_create_getfile("hmm-engine", &engine_fops, engine, O_RDWR, NULL);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		kfree(engine);
		return PTR_ERR(file);
	}
	kref_init(&engine->ref);
	engine->client = client;
	engine->hd = hd;
	engine->mapping = file->f_mapping;
	kref_get(&client->users);
	kref_get(&client->ref);
	hmmdrm_engine_link(engine);
	file->f_mode |= FMODE_PREAD | FMODE_PWRITE;
	fd_install(fd, file);
	return fd;
}

// SPDX-License-Identifier: MIT
/* The engine of an emulated device: its memory, agents, device I/O, and its death. */
#include "emulated/file.h"
#include "os/enter.h"
#include "os/sys.h"

#include <errno.h>

int emu_engine_start(struct emu_device *d)
{
	struct hmm_proc_options o = { .bytes = d->capacity << HMM_PAGE_SHIFT,
				      .user_only = emu.user_only,
				      .driver_fd = -1 };
	int fds[2];
	int err = hmm_proc_start(&d->proc, &o, fds, 2);

	if (err)
		return err;
	d->memory_fd = fds[0];
	d->uffd = fds[1];
	atomic_store(&d->frames, 0);
	hmm_proc_run(&d->proc);
	emu_files_engine_up(d);
	return 0;
}

/* Locking: mirror exclusively. Device memory is empty: forget its frames. */
static void forget_frames(struct emu_device *d)
{
	struct hmm_block *b;

	for (uintptr_t at = 0; (b = hmm_block_next(&emu.table, at, 1ul << HMM_VA_BITS));
	     at = b->start + HMM_BLOCK_BYTES) {
		struct hmm_block_device *n = &b->dev[d->index];

		hmm_lru_remove(&emu.table, b, d->index);
		n->frames = n->copies = n->shared = (struct hmm_bits){ 0 };
		n->native = false;
	}
	emu_windows_unmap_device(d->index);
	os_close(d->memory_fd);
	d->memory_fd = -1;
	atomic_store(&d->frames, 0);
}

void emu_engine_stop(struct emu_device *d)
{
	if (atomic_load(&d->proc.state) == HMM_PROC_OFF)
		return;
	atomic_store(&d->proc.state, HMM_PROC_OFF);
	/* All has come home since it was up, so nobody is left who found it up under the mirror. */
	hmm_proc_release(&d->proc);
	emu_exclusive_lock();
	if (d->uffd >= 0)
		os_close(d->uffd);
	d->uffd = -1;
	if (d->memory_fd >= 0)
		forget_frames(d);
	emu_exclusive_unlock();
	emu_remote_forget(d);
}

/* Runs on a handler; what the engine left in device memory comes home. */
void emu_engine_died(struct emu_device *d)
{
	int err;

	if (!hmm_proc_died(&d->proc))
		return;
	err = emu_home_device(d);
	if (err)
		hmm_log(HMM_LOG_ERROR, "device %u: not everything came home (%d)", d->index, err);
}

void emu_device_wake(struct emu_device *d, uintptr_t addr, size_t len)
{
	os_read_lock(&emu.mirror);
	uffd_wake(d->uffd, addr, len);
	os_read_unlock(&emu.mirror);
}

int emu_engine_agent(struct emu_device *d, uint32_t op, uintptr_t start, size_t len)
{
	unsigned int n = os_mutex_trylock(&d->agent_lock[0]) ? 0 : 1;
	struct hmm_engine_mbox *m = &d->proc.shared->agent[n];
	int err;

	if (n)
		os_mutex_lock(&d->agent_lock[n]);
	m->op = op;
	m->start = start;
	m->length = len;
	err = hmm_proc_post(&d->proc, m);
	os_mutex_unlock(&d->agent_lock[n]);
	return err;
}

struct access_args {
	uintptr_t addr;
	size_t length;
	bool write;
};

static long accessible_on_stack(void *arg)
{
	const struct access_args *a = arg;

	return (long)emu_accessible(a->addr, a->length, a->write);
}

/*
 * A resident page is accessible to the engine whatever became of its mapping's protection, of
 * which the kernel does not tell. So the mappings are asked first.
 */
long emu_device_io(unsigned int device, uintptr_t addr, char *buffer, size_t length, bool write)
{
	struct emu_device *d = &emu.device[device];
	struct access_args a = { addr, length, write };
	long n = os_enter(accessible_on_stack, &a, sizeof(a));

	if (!emu_device_up(d))
		return -ENODEV;
	if (n <= 0)
		return n ? n : -EFAULT;
	emu_remote_revalidate(d);
	return hmm_proc_io(&d->proc, addr, buffer, (size_t)n, write);
}

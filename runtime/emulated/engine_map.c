// SPDX-License-Identifier: MIT
/*
 * The device page table: what the engine process may load and store. Its mapping of
 * device memory covers every address and is registered with userfaultfd, so a page
 * without an entry faults to us. A block that is resident as a whole is taken out of
 * the registration instead and maps natively, by huge pages where there are any.
 */
#include "emulated/emu.h"
#include "os/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>

#define TRACK_MODES \
	(UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP)

static void continue_run(struct hmm_block *b, struct emu_device *d, unsigned int i,
			 unsigned int end, bool read_only)
{
	uint64_t mode = read_only ? UFFDIO_CONTINUE_MODE_WP : 0;

	while (i < end) {
		uintptr_t start = hmm_block_addr(b, i);
		size_t len = (end - i) * HMM_PAGE_BYTES;
		size_t done = 0;
		int err = uffd_continue(d->uffd, start, len, mode, &done);

		i += (unsigned int)(done / HMM_PAGE_BYTES);
		if (err == -EINVAL && mode) {
			mode = 0; /* before Linux 6.4: protect in a second step */
			continue;
		}
		if (err == -EEXIST)
			i++;
		else if (err && err != -EAGAIN)
			break; /* the engine is gone: its death is handled elsewhere */
		if (read_only && !mode)
			uffd_protect(d->uffd, start, len, true);
	}
}

void emu_engine_map_to_read(struct hmm_block *b, struct emu_device *d, unsigned int i,
			    unsigned int end)
{
	if (emu_device_up(d))
		continue_run(b, d, i, end, true);
}

void emu_engine_map(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end)
{
	struct hmm_block_device *n = &b->dev[d->index];

	if (!emu_device_up(d) || n->native || i >= end)
		return;
	if (n->resident == HMM_BLOCK_PAGES &&
	    hmm_bits_find(&b->read_only, 0, HMM_BLOCK_PAGES, true) == HMM_BLOCK_PAGES &&
	    !uffd_unregister(d->uffd, b->start, HMM_BLOCK_BYTES)) {
		n->native = true;
		return;
	}
	while (i < end) {
		bool ro = hmm_bits_test(&b->read_only, i);
		unsigned int stop = hmm_bits_find(&b->read_only, i, end, !ro);

		continue_run(b, d, i, stop, ro);
		i = stop;
	}
}

/*
 * From here on new device accesses to pages without an entry fault to us. The live
 * mapping is registered, never replaced by a new one: that would leave a moment in
 * which the engine's store goes to a page nobody looks at.
 */
void emu_engine_track(struct hmm_block *b, struct emu_device *d)
{
	struct hmm_block_device *n = &b->dev[d->index];

	if (!n->native)
		return;
	if (emu_device_up(d))
		uffd_register(d->uffd, b->start, HMM_BLOCK_BYTES, TRACK_MODES);
	n->native = false;
}

void emu_engine_zap(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end)
{
	emu_engine_track(b, d);
	if (emu.test_skip & EMU_FENCE_DEVICE)
		return;
	if (emu_device_up(d))
		emu_engine_agent(d, HMM_ENGINE_ZAP, hmm_block_addr(b, i),
				 (end - i) * HMM_PAGE_BYTES);
}

/*
 * Not through the alias window: its page table entries would have to be made, and flushed from all
 * CPUs that run the program when the frames are freed. False: it did not, or not all.
 */
bool emu_frames_read(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end,
		     char *to)
{
	size_t len = (end - i) * HMM_PAGE_BYTES;

	return os_syscall4(SYS_pread64, d->memory_fd, to, len, hmm_block_addr(b, i)) == (long)len;
}

/* Punching the hole takes the page out of every mapping of it, the engine's too. */
void emu_frames_free(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end)
{
	struct hmm_bits *frames = &b->dev[d->index].frames;
	unsigned int n = 0;

	while ((i = hmm_bits_find(frames, i, end, true)) < end) {
		unsigned int stop = hmm_bits_find(frames, i, end, false);

		os_syscall4(SYS_fallocate, d->memory_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			    hmm_block_addr(b, i), (stop - i) * HMM_PAGE_BYTES);
		n += stop - i;
		hmm_bits_clear_range(frames, i, stop);
		hmm_bits_clear_range(&b->dev[d->index].copies, i, stop);
		hmm_bits_clear_range(&b->dev[d->index].shared, i, stop);
		i = stop;
	}
	atomic_fetch_sub(&d->frames, n);
	if (n && hmm_bits_find(frames, 0, HMM_BLOCK_PAGES, true) == HMM_BLOCK_PAGES)
		hmm_lru_remove(&emu.table, b, d->index);
}

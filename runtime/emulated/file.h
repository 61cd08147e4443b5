/* SPDX-License-Identifier: MIT */
/*
 * Files that hmm_map_file() maps, and their pages.
 *
 * The system's copy of a file's pages is a memfd of the runtime, which all mappings of that file
 * share; the device's copy is device memory, at the address of a block that stands for two
 * megabytes of the file and at which nothing else is. Both sides reach a page at the addresses of
 * its mappings: the client maps the memfd there, the engine device memory.
 *
 * Locks, outermost first: file->io_lock (one writer of a file), file->size_lock, then as in emu.h.
 * The list of files and mappings: mirror shared to read, exclusively to change.
 */
#ifndef HMM_EMULATED_FILE_H
#define HMM_EMULATED_FILE_H

#include "emulated/emu.h"

/* Two megabytes of a file. Locking of what follows @first: block->lock. */
struct emu_fblock {
	struct emu_file *file;
	struct hmm_block *block;
	uint64_t first;          /* its first page in the file */
	struct hmm_bits present; /* in the memfd; neither there nor on a device: never read */
	struct hmm_bits dirty;   /* stored to since it was last copied to be written */
	struct hmm_bits written; /* to the file, and no fdatasync() has succeeded since */
	struct hmm_bits bare;    /* not write-protected where it is mapped, for it was not there */
};

/* File pages [first, first + pages) have the blocks at @base. */
struct emu_extent {
	struct emu_extent *next;
	uint64_t first, pages;
	uintptr_t base;
	struct emu_fblock **block; /* locking: emu_files.grow_lock to add */
};

struct emu_file {
	struct emu_file *next;
	uint64_t dev, ino;
	int rfd, wfd; /* of the runtime's own; wfd: -1 as long as no mapping may be stored to */
	int memory;
	struct os_mutex io_lock, size_lock;
	_Atomic uint64_t size;  /* of the file, as it was last seen */
	_Atomic uint64_t epoch; /* counts pages that stopped being there: what was read is void */
	uint64_t bytes;         /* of the memfd: up to the end of the last mapping */
	uint64_t cut_at;        /* ns; 0: the memfd is not cut to the file's end. size_lock */
	uintptr_t out;          /* where a part of it is mapped to write it, or 0. io_lock */
	uint64_t out_at, out_bytes;
	bool out_shared; /* two threads use it: it stays where it is */
	struct emu_extent *extents;
	struct hmm_window window;
	_Atomic unsigned int users; /* who uses it without the mirror lock */
	unsigned int maps;          /* locking: mirror */
	_Atomic bool trim;          /* pages may be there that are not mapped any more */
	_Atomic bool failing;       /* the flusher could not write */
};

struct emu_map {
	uintptr_t start, end;
	uint64_t first; /* the file's page at @start */
	bool write;
	struct emu_file *file;
};

struct emu_files {
	_Atomic unsigned int n; /* mappings */
	struct emu_map *map;    /* sorted by address */
	unsigned int room;
	struct emu_file *list;
	struct os_mutex grow_lock; /* leaf but for the table's */
	_Atomic bool stopping;
};

extern struct emu_files emu_files;

/* A part of a block at one of the addresses where it is mapped. */
struct emu_piece {
	unsigned int next; /* mapping to look at next; 0 at first */
	unsigned int i, end;
	uintptr_t addr;
	bool write;
};

#define EMU_EOF (-1005)  /* beyond the end of the file */
#define EMU_READ (-1006) /* its bytes are not there yet: emu_file_populate() */

#define FILE_CHUNK_PAGES 256u /* of a bounce buffer */

/* file_map.c: the mappings. Locking: mirror; exclusively to add. */
const struct emu_map *emu_map_find(uintptr_t addr);
/* The first one in [addr, end). */
const struct emu_map *emu_map_next(uintptr_t addr, uintptr_t end);
int emu_map_add(const struct emu_map *m);
int emu_extents_add(struct emu_file *f, uint64_t page, uint64_t end);
void emu_extents_free(struct emu_file *f);
bool emu_piece_next(const struct emu_fblock *fb, unsigned int i, unsigned int end,
		    struct emu_piece *p);
/* The block of a page of the file; NULL: out of memory. @i: its page there. */
struct emu_fblock *emu_fblock_get(struct emu_file *f, uint64_t page, unsigned int *i);
/* The first one that was made of those that end behind @page, before @end. Not locked. */
struct emu_fblock *emu_fblock_next(struct emu_file *f, uint64_t page, uint64_t end);
static inline uint64_t emu_map_page(const struct emu_map *m, uintptr_t addr)
{
	return m->first + ((addr - m->start) >> HMM_PAGE_SHIFT);
}

/*
 * A part of [*start, end) that one mapping covers, clipped to a block: its file, with a user more,
 * and its pages. False: none from *start on; else *start is where it begins. No lock held.
 */
bool emu_file_part(uintptr_t *start, uintptr_t end, struct emu_file **f, uint64_t *page,
		   unsigned int *pages);
void emu_file_put(struct emu_file *f);

/* file_size.c: where the file ends. No lock but io_lock held. */
int emu_file_look(struct emu_file *f); /* has it another size? 0 or -errno */
/* A touch of @addr is SIGBUS. False: it is not beyond the end. */
bool emu_file_cut(struct emu_file *f, uintptr_t addr);
void emu_file_uncut(struct emu_file *f, uint64_t now);
static inline uint64_t emu_file_pages(const struct emu_file *f)
{
	return (atomic_load(&f->size) + HMM_PAGE_BYTES - 1) >> HMM_PAGE_SHIFT;
}

/*
 * file_page.c. Locking: mirror, block->lock. EMU_DRAIN: an event is pending; nothing is changed.
 * emu_file_protect(): from here a CPU's store faults. emu_file_dress(): so it does again after
 * pages were taken out of the memfd.
 */
int emu_file_protect(struct emu_fblock *fb, unsigned int i, unsigned int end);
int emu_file_dress(struct emu_fblock *fb, unsigned int i, unsigned int end);
/* Into the memfd, from @src; *stop: how far it came. */
int emu_file_install(struct emu_fblock *fb, unsigned int i, unsigned int end, const char *src,
		     unsigned int *stop);
void emu_file_punch(struct emu_fblock *fb, unsigned int i, unsigned int end);
void emu_file_drop(struct emu_fblock *fb, unsigned int i, unsigned int end);
/* What the device has and the file has, too: it is read again when it is touched. */
void emu_file_drop_clean(struct hmm_block *b, struct emu_device *d, unsigned int i,
			 unsigned int end);
/* Neither side has it. Without the block's lock: a hint. */
static inline bool emu_file_absent(const struct emu_fblock *fb, unsigned int i)
{
	return !hmm_bits_test(&fb->present, i) && !hmm_block_owner(fb->block, i);
}
/*
 * No lock held: the file's bytes of pages [i, *end), zeros behind its end; *end: how far it goes.
 * 0, EMU_EOF (@i is beyond), EMU_WAIT (it grew right now), or -errno. What may be done with them:
 * to be looked at with the file's epoch of before.
 */
int emu_file_read(struct emu_file *f, struct emu_fblock *fb, unsigned int i, unsigned int *end,
		  char *bytes);
/* No lock held: read what of [i, end) is not there. 0, EMU_EOF (@i is beyond), or -errno. */
int emu_file_populate(struct emu_file *f, struct emu_fblock *fb, unsigned int i, unsigned int end);
bool emu_file_cpu_fault(const struct uffd_msg *msg, uint8_t homes); /* false: not of a file */

/* file_move.c */
int emu_file_home(struct hmm_block *b, struct emu_device *d, unsigned int i, unsigned int end);
/* The device's stores to pages that it has fault from here. Locking: as above. */
void emu_file_protect_device(struct emu_fblock *fb, struct emu_device *d, unsigned int i,
			     unsigned int end);
/* Entries in the device's page table for what it has of [i, end). Locking: as above. */
void emu_file_map_device(struct emu_fblock *fb, struct emu_device *d, unsigned int i,
			 unsigned int end);
/*
 * To the device, but for what advice of the mapping keeps, in which @addr is page @i. @store: it is
 * about to store to that page. No lock held.
 */
int emu_file_out(struct emu_fblock *fb, struct emu_device *d, uintptr_t addr, unsigned int i,
		 unsigned int end, bool store);
/* One part of a range, at most a block: pages on the target. No lock held. */
long emu_file_migrate(uintptr_t start, uintptr_t end, struct emu_device *d);
/* How many pages of such a range the device has; a snapshot. No lock held. */
long emu_file_count(uintptr_t start, uintptr_t end, const struct emu_device *d);

/* file_fault.c */
bool emu_file_device_fault(struct emu_device *d, uintptr_t addr, bool write, bool protected,
			   const char **why); /* false: not of a file */

/* file_api.c: as their namesakes in core/backend.h */
int emu_map_enter(const struct emu_map *m); /* locking: mirror exclusively */
void emu_file_free(struct emu_file *f);     /* the same */
int emu_map_file(int fd, off_t offset, size_t length, int prot, bool coherent, uintptr_t *addr);
int emu_unmap_file(uintptr_t start, uintptr_t end);
int emu_sync_file(uintptr_t start, uintptr_t end);

/* file_write.c: bounce buffers, and from them to the file. */
int emu_pools_init(void); /* locking: mirror exclusively */
void emu_pools_exit(void);
void emu_pools_forget(void);
char *emu_chunk_get(bool write); /* waits for one */
void emu_chunk_put(char *chunk);
void emu_file_close_window(struct emu_file *f);
/* The window covers this, and stays. False: it cannot. Until out_shared is taken back. */
bool emu_file_share_window(struct emu_file *f, uint64_t at, size_t len);
/*
 * Dirty pages [i, end) of a block to the file; the first error. *unstable: the block has pages for
 * fdatasync(2).
 */
int emu_file_write_block(struct emu_fblock *fb, unsigned int i, unsigned int end, char *chunk,
			 bool *unstable);

/*
 * file_sync.c. Locking: io_lock. Dirty pages of [page, end) to the file; the first error. @hurry:
 * they are about to be synced: the disk may begin, and the flusher help.
 */
int emu_file_write(struct emu_file *f, uint64_t page, uint64_t end, bool hurry);
/* The same, and to stable storage. */
int emu_file_sync(struct emu_file *f, uint64_t page, uint64_t end);
void emu_file_help(void); /* on the flusher. No lock held */
void emu_file_help_forget(void);

/* file_flush.c */
int emu_flusher_start(void);
void emu_flusher_stop(void);
void emu_flusher_kick(void);
void emu_file_trim(struct emu_file *f); /* pages that are clean and not mapped. io_lock */
struct emu_file *emu_file_after(struct emu_file *last); /* puts @last, holds the next one */

/* Everything to the files; at fork, exit, close. No lock held. 0 or the first error. */
int emu_files_flush(void);
void emu_files_stop(void);   /* mappings that are left become the files' own */
void emu_files_forget(void); /* the same in a forked child */
void emu_files_engine_up(struct emu_device *d);
void emu_files_unmapped(uintptr_t start, uintptr_t end); /* locking: mirror exclusively */
void emu_files_remapped(uintptr_t from, uintptr_t to, size_t len);
/* A page of a file? Its state then. Locking: mirror. */
bool emu_file_query(uintptr_t addr, struct hmm_page_status *s);
bool emu_files_cover(uintptr_t start, uintptr_t end); /* all of it; takes the mirror lock */
/* The end of what may be touched from @addr on: @end, or where the file ends. No lock held. */
uintptr_t emu_file_limit(uintptr_t addr, uintptr_t end);
/* Where the next file mapping begins, or this one ends: the range's nature changes there. */
uintptr_t emu_file_border(uintptr_t addr, uintptr_t end, bool *is_file);

#endif /* HMM_EMULATED_FILE_H */

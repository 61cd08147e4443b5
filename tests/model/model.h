/* SPDX-License-Identifier: MIT */
/*
 * What a range of pages must look like, whatever migrated: the executable model of the page states.
 * Each page is private and anonymous, or of a file: shared, or private and then a copy from the
 * first store on. It lies in shared memory, which never migrates and which a child, another client
 * and the device's engine see, too.
 *
 * It knows of no backend. An offset is bytes from the range's begin; a page is its index.
 */
#ifndef HMM_TESTS_MODEL_H
#define HMM_TESTS_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE 4096ul

/* Places, as a set. */
#define AT_NOWHERE 1u
#define AT_SYSTEM 2u
#define AT_DEVICE(d) (4u << (d))
#define AT_ANY_DEVICE (~(AT_NOWHERE | AT_SYSTEM))

struct model_page {
	bool mapped;
	bool locked;       /* mlock() */
	bool lazy;         /* MADV_FREE: the bytes are .now or .zeroed, until that is seen */
	bool dirtied;      /* stored to since, so what is seen stays */
	bool copied;       /* the CPU only read it since it came home: a device may read a copy */
	bool shared;       /* .file: of a shared mapping */
	bool own;          /* .file: of a private one, and a copy by now */
	int prot;          /* PROT_* */
	uint32_t where;    /* where it may be: model_where() */
	unsigned int file; /* 1 + the page of the file that it maps; 0: anonymous */
};

/* A file that all clients map. What is beyond its end is zeros. */
struct model_file {
	unsigned int pages; /* that it may have */
	size_t size;
	char *bytes;
	uint32_t *where; /* as above */
};

struct model {
	char *base; /* the real range */
	unsigned int pages;
	unsigned int devices;
	bool copies; /* a page that the CPU reads stays on its device, to read */
	struct model_page *page;
	bool *mostly;            /* advised to be read mostly: of the address, not of the page */
	char *now;               /* the bytes that it must hold */
	char *zeroed;            /* the same had MADV_FREE discarded the page */
	struct model_file *file; /* or NULL */
	struct model *peer;      /* another client's, or NULL: its pages and places change, too */
};

/* Of a file whose descriptor stays open: so a device may map it, root or not. NULL on failure. */
void *shared_memory(size_t bytes);

int model_create(struct model *m, void *base, unsigned int pages, unsigned int devices);
void model_destroy(struct model *m);
struct model_file *model_file_create(unsigned int pages);
void model_file_destroy(struct model_file *f);

void model_map(struct model *m, unsigned int first, unsigned int n, int prot);
/* The file's pages from @index on. */
void model_map_file(struct model *m, unsigned int first, unsigned int n, int prot,
		    unsigned int index, bool shared);
void model_unmap(struct model *m, unsigned int first, unsigned int n);
void model_protect(struct model *m, unsigned int first, unsigned int n, int prot);
void model_lock(struct model *m, unsigned int first, unsigned int n, bool locked);
void model_discard(struct model *m, unsigned int first, unsigned int n); /* MADV_DONTNEED */
/* MADV_FREE, of pages none of which is .lazy and .dirtied. */
void model_free(struct model *m, unsigned int first, unsigned int n);
void model_move(struct model *m, unsigned int from, unsigned int to, unsigned int n);

void model_store(struct model *m, size_t offset, const void *bytes, size_t n);
/* A private page of a file is a copy from here on. */
void model_own(struct model *m, unsigned int page);
/* The file's own bytes change, and its size; what is cut is nobody's copy any more. */
void model_file_store(struct model *m, size_t at, const void *bytes, size_t n);
void model_file_resize(struct model *m, size_t size);

/*
 * Are @seen the bytes at @offset? The first offset that is wrong, or -1. With @learn, what
 * they say about MADV_FREE is kept.
 */
long model_compare(struct model *m, size_t offset, const void *seen, size_t n, bool learn);
/* How many bytes from @offset, at most @n, one operation may store: to no page of the file twice,
 * and not to what lies behind its end in its last page. */
size_t model_storable(const struct model *m, size_t offset, size_t n);
/* Is it beyond the end of the file? */
bool model_beyond(const struct model *m, unsigned int page);
/* What is to be there now. */
char *model_bytes(const struct model *m, unsigned int page);
/* What the byte must be. */
unsigned char model_byte(const struct model *m, size_t offset);

/* How many bytes from @offset, at most @n, allow @prot (PROT_READ or PROT_WRITE). */
size_t model_accessible(const struct model *m, size_t offset, size_t n, int prot);
/* How many pages from @first, at most @n, are mapped alike. */
unsigned int model_alike(const struct model *m, unsigned int first, unsigned int n);
/* How many pages from @first, at most @n, are mapped (or not). */
unsigned int model_run(const struct model *m, unsigned int first, unsigned int n, bool mapped);

/* A CPU touched these bytes, or a device; pages of the neighbourhood may have come along. */
void model_cpu_touched(struct model *m, size_t offset, size_t n, bool store);
void model_device_touched(struct model *m, size_t offset, size_t n, unsigned int device,
			  bool store);
/* Where a page may be. */
uint32_t model_where(const struct model *m, unsigned int page);
/* It is there. */
void model_known(struct model *m, unsigned int page, uint32_t place);
/* Pages of the range may now be at @places, too. */
void model_may_be(struct model *m, unsigned int first, unsigned int n, uint32_t places);
/* They are nowhere else, copies apart. */
void model_only(struct model *m, unsigned int first, unsigned int n, uint32_t places);
/* No device has copies. */
void model_no_copies(struct model *m, unsigned int first, unsigned int n);
/* The same of pages of the file. */
void model_file_may_be(struct model *m, size_t at, size_t n, uint32_t places);
void model_file_only(struct model *m, size_t at, size_t n, uint32_t places);
/* A device needed memory: each of its pages, of every client, may have gone home. */
void model_evicted(struct model *m, unsigned int device);

#endif /* HMM_TESTS_MODEL_H */

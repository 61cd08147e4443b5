/* SPDX-License-Identifier: MIT */
/*
 * What a range of private anonymous pages must look like, whatever migrated: the executable
 * model of the page states. It lies in shared memory, which never migrates and which a child
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
	bool locked;    /* mlock() */
	bool lazy;      /* MADV_FREE: the bytes are .now or .zeroed, until that is seen */
	bool dirtied;   /* stored to since, so what is seen stays */
	bool copied;    /* the CPU only read it since it came home: a device may read a copy */
	int prot;       /* PROT_* */
	uint32_t where; /* where it may be */
};

struct model {
	char *base; /* the real range */
	unsigned int pages;
	unsigned int devices;
	bool copies; /* a page that the CPU reads stays on its device, to read */
	struct model_page *page;
	bool *mostly; /* advised to be read mostly: of the address, not of the page */
	char *now;    /* the bytes that it must hold */
	char *zeroed; /* the same had MADV_FREE discarded the page */
};

/* Of a file whose descriptor stays open: so a device may map it, root or not. NULL on failure. */
void *shared_memory(size_t bytes);

int model_create(struct model *m, void *base, unsigned int pages, unsigned int devices);
void model_destroy(struct model *m);

void model_map(struct model *m, unsigned int first, unsigned int n, int prot);
void model_unmap(struct model *m, unsigned int first, unsigned int n);
void model_protect(struct model *m, unsigned int first, unsigned int n, int prot);
void model_lock(struct model *m, unsigned int first, unsigned int n, bool locked);
void model_discard(struct model *m, unsigned int first, unsigned int n); /* MADV_DONTNEED */
/* MADV_FREE, of pages none of which is .lazy and .dirtied. */
void model_free(struct model *m, unsigned int first, unsigned int n);
void model_move(struct model *m, unsigned int from, unsigned int to, unsigned int n);

void model_store(struct model *m, size_t offset, const void *bytes, size_t n);

/*
 * Are @seen the bytes at @offset? The first offset that is wrong, or -1. With @learn, what
 * they say about MADV_FREE is kept.
 */
long model_compare(struct model *m, size_t offset, const void *seen, size_t n, bool learn);
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
/* Pages of the range may now be at @places, too. */
void model_may_be(struct model *m, unsigned int first, unsigned int n, uint32_t places);
/* They are nowhere else, copies apart. */
void model_only(struct model *m, unsigned int first, unsigned int n, uint32_t places);
/* No device has copies. */
void model_no_copies(struct model *m, unsigned int first, unsigned int n);
/* A device needed memory: each of its pages may have gone home. */
void model_evicted(struct model *m, unsigned int device);

#endif /* HMM_TESTS_MODEL_H */

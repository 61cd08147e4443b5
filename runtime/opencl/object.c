// SPDX-License-Identifier: MIT
#include "opencl/ocl.h"

#include <string.h>

struct block {
	size_t bytes;
	char pad[64 - sizeof(size_t)];
};

void *ocl_alloc(size_t bytes)
{
	struct block *b;

	if (bytes > SIZE_MAX / 2)
		return NULL;
	b = hmm_engine_alloc(sizeof(*b) + bytes);
	if (!b)
		return NULL;
	b->bytes = sizeof(*b) + bytes;
	return b + 1;
}

void ocl_free(void *p)
{
	struct block *b = p;

	if (b)
		hmm_engine_free(b - 1, b[-1].bytes);
}

char *ocl_strndup(const char *s, size_t length)
{
	char *copy = ocl_alloc(length + 1);

	if (copy)
		memcpy(copy, s, length);
	return copy;
}

void *ocl_object_new(enum ocl_kind kind, size_t bytes, void (*destroy)(void *))
{
	struct ocl_object *o = ocl_alloc(bytes);

	if (!o)
		return NULL;
	o->dispatch = &ocl_dispatch;
	o->kind = kind;
	o->epoch = ocl_epoch();
	o->bytes = bytes;
	o->destroy = destroy;
	atomic_init(&o->refs, 1);
	atomic_init(&o->holds, 1);
	return o;
}

bool ocl_valid(const void *object, enum ocl_kind kind)
{
	const struct ocl_object *o = object;

	return o && o->kind == kind && o->epoch == ocl_epoch();
}

/* Something else may hold an object that the application let go, and hand it out. */
bool ocl_retain(void *object)
{
	struct ocl_object *o = object;

	if (!atomic_fetch_add(&o->refs, 1))
		ocl_hold(o);
	return true;
}

bool ocl_release(void *object)
{
	struct ocl_object *o = object;
	uint32_t refs = atomic_load(&o->refs);

	do {
		if (!refs)
			return false;
	} while (!atomic_compare_exchange_weak(&o->refs, &refs, refs - 1));
	if (refs == 1)
		ocl_drop(o);
	return true;
}

void ocl_hold(void *object)
{
	atomic_fetch_add(&((struct ocl_object *)object)->holds, 1);
}

void ocl_drop(void *object)
{
	struct ocl_object *o = object;

	if (!o || atomic_fetch_sub(&o->holds, 1) != 1)
		return;
	/* Callbacks of the application may take it and let it go once more. */
	atomic_store(&o->holds, 1);
	o->destroy(o);
	o->kind = OCL_NONE;
	ocl_free(o);
}

uint32_t ocl_refs(const void *object)
{
	return atomic_load(&((const struct ocl_object *)object)->refs);
}

cl_int ocl_copy_info(const void *from, size_t bytes, size_t size, void *to, size_t *size_ret)
{
	if (to) {
		if (size < bytes)
			return CL_INVALID_VALUE;
		if (bytes)
			memcpy(to, from, bytes);
	}
	if (size_ret)
		*size_ret = bytes;
	return CL_SUCCESS;
}

cl_int ocl_callback_add(struct ocl_callback **list, void (*fn)(void *, void *), void *data)
{
	struct ocl_callback *c = ocl_alloc(sizeof(*c));

	if (!c)
		return CL_OUT_OF_HOST_MEMORY;
	c->fn = fn;
	c->data = data;
	c->next = *list;
	*list = c;
	return CL_SUCCESS;
}

void ocl_callback_run(struct ocl_callback *list, void *object)
{
	while (list) {
		struct ocl_callback *c = list;

		list = c->next;
		c->fn(object, c->data);
		ocl_free(c);
	}
}

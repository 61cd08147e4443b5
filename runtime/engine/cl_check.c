// SPDX-License-Identifier: MIT
/* Requests of a front end are hostile until they passed here. */
#include "engine/cl_wire.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

static int check_build(const void *payload, uint32_t length)
{
	const struct cl_wire_build *b = payload;
	uint64_t texts;

	if (length < sizeof(*b) || b->folder_length > CL_WIRE_MAX_NAME)
		return -EINVAL;
	texts = (uint64_t)b->options_length + b->source_length;
	if (texts + b->folder_length != length - sizeof(*b))
		return -EINVAL;
	return memchr((const char *)(b + 1) + texts, 0, b->folder_length) ? -EINVAL : 0;
}

static int check_kernel(const void *payload, uint32_t length)
{
	const struct cl_wire_kernel *k = payload;

	if (length < sizeof(*k) || !k->name_length || k->name_length > CL_WIRE_MAX_NAME)
		return -EINVAL;
	if (k->name_length != length - sizeof(*k))
		return -EINVAL;
	return memchr(k + 1, 0, k->name_length) ? -EINVAL : 0;
}

/* What is left to check of a payload. */
struct rest {
	const char *at;
	uint32_t left;
};

static int skip(struct rest *r, uint32_t bytes)
{
	if (r->left < bytes)
		return -EINVAL;
	r->at += bytes;
	r->left -= bytes;
	return 0;
}

static int check_arg(struct rest *r)
{
	struct cl_wire_arg a;

	if (r->left < sizeof(a))
		return -EINVAL;
	memcpy(&a, r->at, sizeof(a));
	skip(r, (uint32_t)sizeof(a));
	if (a.kind == CL_WIRE_ARG_POINTER || (a.kind == CL_WIRE_ARG_LOCAL && a.size))
		return 0;
	if (a.kind != CL_WIRE_ARG_VALUE || !a.size || a.size > CL_WIRE_MAX_VALUE)
		return -EINVAL;
	return skip(r, (a.size + 7) & ~7u);
}

static int check_launch(struct rest *r)
{
	struct cl_wire_launch l;
	int err = 0;

	if (r->left < sizeof(l))
		return -EINVAL;
	memcpy(&l, r->at, sizeof(l));
	skip(r, (uint32_t)sizeof(l));
	if (l.dims < 1 || l.dims > 3 || l.n_args > CL_WIRE_MAX_ARGS || l.flags & ~CL_WIRE_HAS_LOCAL)
		return -EINVAL;
	for (uint32_t i = 0; i < l.dims; i++)
		if (!l.global[i] || (l.flags & CL_WIRE_HAS_LOCAL && !l.local[i]))
			return -EINVAL;
	for (uint32_t i = 0; i < l.n_args && !err; i++)
		err = check_arg(r);
	return err;
}

static int check_launches(const void *payload, uint32_t length)
{
	struct rest r = { payload, length };
	int err;

	do
		err = check_launch(&r);
	while (!err && r.left);
	return err;
}

int cl_wire_check(uint32_t op, const void *payload, uint32_t length)
{
	if (length > CL_WIRE_MAX)
		return -EINVAL;
	switch (op) {
	case CL_WIRE_DEVICE_INFO:
	case CL_WIRE_RELEASE:
		return length == sizeof(struct cl_wire_info) ? 0 : -EINVAL;
	case CL_WIRE_BUILD:
		return check_build(payload, length);
	case CL_WIRE_KERNEL:
		return check_kernel(payload, length);
	case CL_WIRE_LAUNCH:
		return check_launches(payload, length);
	default:
		return -EINVAL;
	}
}

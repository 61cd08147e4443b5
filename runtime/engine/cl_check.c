// SPDX-License-Identifier: MIT
/* Requests of a front end are hostile until they passed here. */
#include "engine/cl_wire.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

static int check_build(const void *payload, uint32_t length)
{
	const struct cl_wire_build *b = payload;
	uint64_t strings;

	if (length < sizeof(*b))
		return -EINVAL;
	strings = (uint64_t)b->options_length + b->source_length;
	return strings == length - sizeof(*b) ? 0 : -EINVAL;
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

static int check_args(const char *at, uint32_t left, uint32_t n)
{
	while (n--) {
		struct cl_wire_arg a;
		uint32_t padded;

		if (left < sizeof(a))
			return -EINVAL;
		memcpy(&a, at, sizeof(a));
		at += sizeof(a);
		left -= (uint32_t)sizeof(a);
		if (a.kind == CL_WIRE_ARG_POINTER || (a.kind == CL_WIRE_ARG_LOCAL && a.size))
			continue;
		if (a.kind != CL_WIRE_ARG_VALUE || !a.size || a.size > CL_WIRE_MAX_VALUE)
			return -EINVAL;
		padded = (a.size + 7) & ~7u;
		if (left < padded)
			return -EINVAL;
		at += padded;
		left -= padded;
	}
	return left ? -EINVAL : 0;
}

static int check_launch(const void *payload, uint32_t length)
{
	const struct cl_wire_launch *l = payload;

	if (length < sizeof(*l) || l->dims < 1 || l->dims > 3 || l->n_args > CL_WIRE_MAX_ARGS ||
	    l->flags & ~CL_WIRE_HAS_LOCAL)
		return -EINVAL;
	for (uint32_t i = 0; i < l->dims; i++)
		if (!l->global[i] || (l->flags & CL_WIRE_HAS_LOCAL && !l->local[i]))
			return -EINVAL;
	return check_args((const char *)(l + 1), length - (uint32_t)sizeof(*l), l->n_args);
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
		return check_launch(payload, length);
	default:
		return -EINVAL;
	}
}

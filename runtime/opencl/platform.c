// SPDX-License-Identifier: MIT
/* What the loader calls first. Listing the platform starts nothing. */
#include "opencl/api.h"

#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define PLATFORM_VERSION "OpenCL 3.0 HMM"

struct _cl_platform_id ocl_platform = {
	.o = { .dispatch = &ocl_dispatch, .kind = OCL_PLATFORM, .epoch = 1, .refs = 1, .holds = 1 },
};

static const cl_name_version extensions[] = {
	{ CL_MAKE_VERSION(1, 0, 0), "cl_khr_icd" },
};

EXPORT cl_int CL_API_CALL clIcdGetPlatformIDsKHR(cl_uint n, cl_platform_id *platforms,
						 cl_uint *n_ret)
{
	if ((!n && platforms) || (!platforms && !n_ret))
		return CL_INVALID_VALUE;
	if (platforms)
		platforms[0] = &ocl_platform;
	if (n_ret)
		*n_ret = 1;
	return CL_SUCCESS;
}

EXPORT cl_int CL_API_CALL clGetPlatformInfo(cl_platform_id p, cl_platform_info param, size_t size,
					    void *value, size_t *size_ret)
{
	cl_version version = CL_MAKE_VERSION(3, 0, 0);
	cl_ulong resolution = 1;

	if (p && p != &ocl_platform)
		return CL_INVALID_PLATFORM;
	switch (param) {
	case CL_PLATFORM_PROFILE:
		return OCL_STRING("FULL_PROFILE");
	case CL_PLATFORM_VERSION:
		return OCL_STRING(PLATFORM_VERSION);
	case CL_PLATFORM_NUMERIC_VERSION:
		return OCL_INFO(version);
	case CL_PLATFORM_NAME:
	case CL_PLATFORM_VENDOR:
	case CL_PLATFORM_ICD_SUFFIX_KHR:
		return OCL_STRING("HMM");
	case CL_PLATFORM_EXTENSIONS:
		return OCL_STRING("cl_khr_icd");
	case CL_PLATFORM_EXTENSIONS_WITH_VERSION:
		return OCL_INFO(extensions);
	case CL_PLATFORM_HOST_TIMER_RESOLUTION:
		return OCL_INFO(resolution);
	default:
		return CL_INVALID_VALUE;
	}
}

EXPORT void *CL_API_CALL clGetExtensionFunctionAddress(const char *name)
{
	if (name && !strcmp(name, "clIcdGetPlatformIDsKHR"))
		return (void *)clIcdGetPlatformIDsKHR;
	if (name && !strcmp(name, "clGetPlatformInfo"))
		return (void *)clGetPlatformInfo;
	return NULL;
}

void *CL_API_CALL ocl_GetExtensionFunctionAddressForPlatform(cl_platform_id p, const char *name)
{
	return p == &ocl_platform ? clGetExtensionFunctionAddress(name) : NULL;
}

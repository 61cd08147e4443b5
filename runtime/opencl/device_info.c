// SPDX-License-Identifier: MIT
/*
 * clGetDeviceInfo(): what this platform itself decides; the rest is what the engine's
 * OpenCL says of the processor that runs the kernels.
 */
#include "opencl/api.h"

#include <stdio.h>
#include <string.h>

#define VENDOR_ID 0x484d4dU
#define SVM_BASE                                                               \
	(CL_DEVICE_SVM_COARSE_GRAIN_BUFFER | CL_DEVICE_SVM_FINE_GRAIN_BUFFER | \
	 CL_DEVICE_SVM_FINE_GRAIN_SYSTEM)

/* What of the engine's extensions holds here, too: none needs an object of its own. */
static const char *const extensions[] = {
	"cl_khr_byte_addressable_store",
	"cl_khr_global_int32_base_atomics",
	"cl_khr_global_int32_extended_atomics",
	"cl_khr_local_int32_base_atomics",
	"cl_khr_local_int32_extended_atomics",
	"cl_khr_int64_base_atomics",
	"cl_khr_int64_extended_atomics",
	"cl_khr_fp64",
	"cl_khr_fp16",
};
#define N_EXTENSIONS (sizeof(extensions) / sizeof(extensions[0]))
#define MAX_TEXT 4096

static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *at = list; (at = strstr(at, word)); at += n)
		if ((at == list || at[-1] == ' ') && (!at[n] || at[n] == ' '))
			return true;
	return false;
}

static cl_int get_extensions(cl_device_id d, bool *have)
{
	char *text = ocl_alloc(MAX_TEXT);
	cl_int err = text ? ocl_device_info(d, CL_DEVICE_EXTENSIONS, text, MAX_TEXT - 1, NULL) :
			    CL_OUT_OF_HOST_MEMORY;

	for (size_t i = 0; !err && i < N_EXTENSIONS; i++)
		have[i] = has_word(text, extensions[i]);
	ocl_free(text);
	return err;
}

static cl_int extension_string(cl_device_id d, size_t size, void *value, size_t *size_ret)
{
	bool have[N_EXTENSIONS] = { 0 };
	char text[1024] = "";
	cl_int err = get_extensions(d, have);

	for (size_t i = 0; i < N_EXTENSIONS; i++) {
		if (!have[i])
			continue;
		if (text[0])
			strcat(text, " ");
		strcat(text, extensions[i]);
	}
	return err ? err : OCL_STRING(text);
}

static cl_int extension_versions(cl_device_id d, size_t size, void *value, size_t *size_ret)
{
	cl_name_version list[N_EXTENSIONS];
	bool have[N_EXTENSIONS] = { 0 };
	cl_int err = get_extensions(d, have);
	size_t n = 0;

	memset(list, 0, sizeof(list));
	for (size_t i = 0; i < N_EXTENSIONS; i++) {
		if (!have[i])
			continue;
		list[n].version = CL_MAKE_VERSION(1, 0, 0);
		strcpy(list[n++].name, extensions[i]);
	}
	return err ? err : ocl_copy_info(list, n * sizeof(*list), size, value, size_ret);
}

/* Features of OpenCL C without those whose objects this platform refuses. */
static cl_int features(cl_device_id d, size_t size, void *value, size_t *size_ret)
{
	const size_t most = 64 * sizeof(cl_name_version);
	cl_name_version *v = ocl_alloc(most);
	size_t bytes = 0, n = 0;
	cl_int err = v ? ocl_device_info(d, CL_DEVICE_OPENCL_C_FEATURES, v, most, &bytes) :
			 CL_OUT_OF_HOST_MEMORY;

	for (size_t i = 0; !err && i < bytes / sizeof(*v); i++)
		if (!strstr(v[i].name, "image") && !strstr(v[i].name, "pipes") &&
		    !strstr(v[i].name, "device_enqueue"))
			v[n++] = v[i];
	if (!err)
		err = ocl_copy_info(v, n * sizeof(*v), size, value, size_ret);
	ocl_free(v);
	return err;
}

static cl_int svm_capabilities(cl_device_id d, size_t size, void *value, size_t *size_ret)
{
	cl_device_svm_capabilities caps = 0;

	if (ocl_device_info(d, CL_DEVICE_SVM_CAPABILITIES, &caps, sizeof(caps), NULL))
		caps = 0;
	caps = SVM_BASE | (caps & CL_DEVICE_SVM_ATOMICS);
	return OCL_INFO(caps);
}

static cl_bool available(cl_device_id d)
{
	struct ocl_limits l;

	return ocl_device_limits(d, &l) == CL_SUCCESS;
}

static cl_int strings(cl_device_id d, cl_device_info param, size_t size, void *value,
		      size_t *size_ret)
{
	struct hmm_device_info info;
	struct ocl_state *s = ocl_state();

	switch (param) {
	case CL_DEVICE_NAME:
		if (!s || hmm_device_info(s->hmm, d->index, &info))
			return CL_OUT_OF_RESOURCES;
		return OCL_STRING(info.name);
	case CL_DEVICE_VENDOR:
		return OCL_STRING("HMM");
	case CL_DRIVER_VERSION:
		return OCL_STRING(hmm_version());
	case CL_DEVICE_PROFILE:
		return OCL_STRING("FULL_PROFILE");
	case CL_DEVICE_VERSION:
		return OCL_STRING("OpenCL 3.0 HMM");
	case CL_DEVICE_LATEST_CONFORMANCE_VERSION_PASSED:
		return OCL_STRING("v0000-00-00-00");
	case CL_DEVICE_EXTENSIONS:
		return extension_string(d, size, value, size_ret);
	case CL_DEVICE_EXTENSIONS_WITH_VERSION:
		return extension_versions(d, size, value, size_ret);
	case CL_DEVICE_OPENCL_C_FEATURES:
		return features(d, size, value, size_ret);
	default: /* names of built-in kernels, IL versions */
		return OCL_STRING("");
	}
}

/* Everything of images, pipes, device queues and partitions: there are none. */
static cl_int absent(cl_device_info param, size_t size, void *value, size_t *size_ret)
{
	size_t none_size = 0;
	cl_uint none = 0;
	cl_bitfield none_bits = 0;
	intptr_t none_pointer = 0;

	switch (param) {
	case CL_DEVICE_IMAGE2D_MAX_WIDTH:
	case CL_DEVICE_IMAGE2D_MAX_HEIGHT:
	case CL_DEVICE_IMAGE3D_MAX_WIDTH:
	case CL_DEVICE_IMAGE3D_MAX_HEIGHT:
	case CL_DEVICE_IMAGE3D_MAX_DEPTH:
	case CL_DEVICE_IMAGE_MAX_BUFFER_SIZE:
	case CL_DEVICE_IMAGE_MAX_ARRAY_SIZE:
	case CL_DEVICE_MAX_GLOBAL_VARIABLE_SIZE:
	case CL_DEVICE_GLOBAL_VARIABLE_PREFERRED_TOTAL_SIZE:
		return OCL_INFO(none_size);
	case CL_DEVICE_PARTITION_AFFINITY_DOMAIN:
	case CL_DEVICE_QUEUE_ON_DEVICE_PROPERTIES:
	case CL_DEVICE_DEVICE_ENQUEUE_CAPABILITIES:
		return OCL_INFO(none_bits);
	case CL_DEVICE_PARTITION_PROPERTIES:
	case CL_DEVICE_PARENT_DEVICE:
		return OCL_INFO(none_pointer);
	case CL_DEVICE_PARTITION_TYPE:
	case CL_DEVICE_ILS_WITH_VERSION:
	case CL_DEVICE_BUILT_IN_KERNELS_WITH_VERSION:
		return ocl_copy_info("", 0, size, value, size_ret);
	default:
		return OCL_INFO(none);
	}
}

static cl_int numbers(cl_device_id d, cl_device_info param, size_t size, void *value,
		      size_t *size_ret)
{
	cl_device_type type = CL_DEVICE_TYPE_ACCELERATOR;
	cl_command_queue_properties queue = CL_QUEUE_PROFILING_ENABLE;
	cl_device_exec_capabilities exec = CL_EXEC_KERNEL;
	cl_platform_id platform = &ocl_platform;
	cl_version version = CL_MAKE_VERSION(3, 0, 0);
	cl_uint one = 1, vendor = VENDOR_ID;
	cl_bool yes = CL_TRUE, no = CL_FALSE, up;
	cl_ulong bytes = d->bytes;
	size_t resolution = 1, multiple = 1;

	switch (param) {
	case CL_DEVICE_TYPE:
		return OCL_INFO(type);
	case CL_DEVICE_VENDOR_ID:
		return OCL_INFO(vendor);
	case CL_DEVICE_PLATFORM:
		return OCL_INFO(platform);
	case CL_DEVICE_NUMERIC_VERSION:
		return OCL_INFO(version);
	case CL_DEVICE_REFERENCE_COUNT:
		return OCL_INFO(one);
	case CL_DEVICE_QUEUE_ON_HOST_PROPERTIES:
		return OCL_INFO(queue);
	case CL_DEVICE_EXECUTION_CAPABILITIES:
		return OCL_INFO(exec);
	case CL_DEVICE_GLOBAL_MEM_SIZE:
	case CL_DEVICE_MAX_MEM_ALLOC_SIZE:
		return OCL_INFO(bytes);
	case CL_DEVICE_PROFILING_TIMER_RESOLUTION:
		return OCL_INFO(resolution);
	case CL_DEVICE_PREFERRED_WORK_GROUP_SIZE_MULTIPLE:
		if (ocl_device_info(d, param, &multiple, sizeof(multiple), NULL))
			multiple = 1;
		return OCL_INFO(multiple);
	case CL_DEVICE_AVAILABLE:
		up = available(d);
		return OCL_INFO(up);
	case CL_DEVICE_COMPILER_AVAILABLE:
	case CL_DEVICE_PREFERRED_INTEROP_USER_SYNC:
	case CL_DEVICE_ENDIAN_LITTLE:
		return OCL_INFO(yes);
	case CL_DEVICE_HOST_UNIFIED_MEMORY:
		return OCL_INFO(yes);
	case CL_DEVICE_LINKER_AVAILABLE:
		return OCL_INFO(no);
	case CL_DEVICE_SVM_CAPABILITIES:
		return svm_capabilities(d, size, value, size_ret);
	default:
		return ocl_device_info(d, param, value, size, size_ret);
	}
}

cl_int CL_API_CALL ocl_GetDeviceInfo(cl_device_id d, cl_device_info param, size_t size, void *value,
				     size_t *size_ret)
{
	if (!ocl_valid(d, OCL_DEVICE))
		return CL_INVALID_DEVICE;
	switch (param) {
	case CL_DEVICE_NAME:
	case CL_DEVICE_VENDOR:
	case CL_DRIVER_VERSION:
	case CL_DEVICE_PROFILE:
	case CL_DEVICE_VERSION:
	case CL_DEVICE_EXTENSIONS:
	case CL_DEVICE_EXTENSIONS_WITH_VERSION:
	case CL_DEVICE_OPENCL_C_FEATURES:
	case CL_DEVICE_BUILT_IN_KERNELS:
	case CL_DEVICE_IL_VERSION:
	case CL_DEVICE_LATEST_CONFORMANCE_VERSION_PASSED:
		return strings(d, param, size, value, size_ret);
	case CL_DEVICE_IMAGE_SUPPORT:
	case CL_DEVICE_MAX_READ_IMAGE_ARGS:
	case CL_DEVICE_MAX_WRITE_IMAGE_ARGS:
	case CL_DEVICE_MAX_READ_WRITE_IMAGE_ARGS:
	case CL_DEVICE_IMAGE2D_MAX_WIDTH:
	case CL_DEVICE_IMAGE2D_MAX_HEIGHT:
	case CL_DEVICE_IMAGE3D_MAX_WIDTH:
	case CL_DEVICE_IMAGE3D_MAX_HEIGHT:
	case CL_DEVICE_IMAGE3D_MAX_DEPTH:
	case CL_DEVICE_IMAGE_MAX_BUFFER_SIZE:
	case CL_DEVICE_IMAGE_MAX_ARRAY_SIZE:
	case CL_DEVICE_MAX_SAMPLERS:
	case CL_DEVICE_IMAGE_PITCH_ALIGNMENT:
	case CL_DEVICE_IMAGE_BASE_ADDRESS_ALIGNMENT:
	case CL_DEVICE_PIPE_SUPPORT:
	case CL_DEVICE_MAX_PIPE_ARGS:
	case CL_DEVICE_PIPE_MAX_ACTIVE_RESERVATIONS:
	case CL_DEVICE_PIPE_MAX_PACKET_SIZE:
	case CL_DEVICE_DEVICE_ENQUEUE_CAPABILITIES:
	case CL_DEVICE_QUEUE_ON_DEVICE_PROPERTIES:
	case CL_DEVICE_QUEUE_ON_DEVICE_PREFERRED_SIZE:
	case CL_DEVICE_QUEUE_ON_DEVICE_MAX_SIZE:
	case CL_DEVICE_MAX_ON_DEVICE_QUEUES:
	case CL_DEVICE_MAX_ON_DEVICE_EVENTS:
	case CL_DEVICE_PARTITION_PROPERTIES:
	case CL_DEVICE_PARTITION_AFFINITY_DOMAIN:
	case CL_DEVICE_PARTITION_MAX_SUB_DEVICES:
	case CL_DEVICE_PARTITION_TYPE:
	case CL_DEVICE_PARENT_DEVICE:
	case CL_DEVICE_MAX_NUM_SUB_GROUPS:
	case CL_DEVICE_SUB_GROUP_INDEPENDENT_FORWARD_PROGRESS:
	case CL_DEVICE_MAX_GLOBAL_VARIABLE_SIZE:
	case CL_DEVICE_GLOBAL_VARIABLE_PREFERRED_TOTAL_SIZE:
	case CL_DEVICE_ILS_WITH_VERSION:
	case CL_DEVICE_BUILT_IN_KERNELS_WITH_VERSION:
		return absent(param, size, value, size_ret);
	default:
		return numbers(d, param, size, value, size_ret);
	}
}

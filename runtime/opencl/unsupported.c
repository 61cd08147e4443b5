// SPDX-License-Identifier: MIT
/*
 * What this platform does not have: images, samplers, pipes, device queues, separate
 * compilation, other interfaces' objects. Queries say so, and calls get the standard error.
 */
#include "opencl/api.h"

static void *refuse(cl_int err, cl_int *err_ret)
{
	if (err_ret)
		*err_ret = err;
	return NULL;
}

cl_int CL_API_CALL ocl_GetSupportedImageFormats(cl_context c, cl_mem_flags, cl_mem_object_type,
						cl_uint n, cl_image_format *formats, cl_uint *n_ret)
{
	if (!ocl_valid(c, OCL_CONTEXT))
		return CL_INVALID_CONTEXT;
	if (formats && !n)
		return CL_INVALID_VALUE;
	if (n_ret)
		*n_ret = 0;
	return CL_SUCCESS;
}

/* The compiler is the engine's. */
cl_int CL_API_CALL ocl_UnloadCompiler(void)
{
	return CL_SUCCESS;
}

cl_int CL_API_CALL ocl_UnloadPlatformCompiler(cl_platform_id p)
{
	return p == &ocl_platform ? CL_SUCCESS : CL_INVALID_PLATFORM;
}

cl_int CL_API_CALL ocl_CreateSubDevicesEXT(cl_device_id d, const cl_device_partition_property_ext *,
					   cl_uint, cl_device_id *, cl_uint *)
{
	return ocl_valid(d, OCL_DEVICE) ? CL_INVALID_VALUE : CL_INVALID_DEVICE;
}

cl_int CL_API_CALL ocl_GetGLContextInfoKHR(const cl_context_properties *, cl_gl_context_info,
					   size_t, void *, size_t *)
{
	return CL_INVALID_OPERATION;
}

cl_mem CL_API_CALL ocl_CreateImage2D(cl_context o, cl_mem_flags, const cl_image_format *, size_t,
				     size_t, size_t, void *, cl_int *err_ret)
{
	return refuse(ocl_valid(o, OCL_CONTEXT) ? CL_INVALID_OPERATION : CL_INVALID_CONTEXT,
		      err_ret);
}

cl_mem CL_API_CALL ocl_CreateImage3D(cl_context o, cl_mem_flags, const cl_image_format *, size_t,
				     size_t, size_t, size_t, size_t, void *, cl_int *err_ret)
{
	return refuse(ocl_valid(o, OCL_CONTEXT) ? CL_INVALID_OPERATION : CL_INVALID_CONTEXT,
		      err_ret);
}

cl_int CL_API_CALL ocl_GetImageInfo(cl_mem, cl_image_info, size_t, void *, size_t *)
{
	return CL_INVALID_MEM_OBJECT;
}

cl_sampler CL_API_CALL ocl_CreateSampler(cl_context o, cl_bool, cl_addressing_mode, cl_filter_mode,
					 cl_int *err_ret)
{
	return refuse(ocl_valid(o, OCL_CONTEXT) ? CL_INVALID_OPERATION : CL_INVALID_CONTEXT,
		      err_ret);
}

cl_int CL_API_CALL ocl_RetainSampler(cl_sampler)
{
	return CL_INVALID_SAMPLER;
}

cl_int CL_API_CALL ocl_ReleaseSampler(cl_sampler)
{
	return CL_INVALID_SAMPLER;
}

cl_int CL_API_CALL ocl_GetSamplerInfo(cl_sampler, cl_sampler_info, size_t, void *, size_t *)
{
	return CL_INVALID_SAMPLER;
}

cl_int CL_API_CALL ocl_EnqueueReadImage(cl_command_queue o, cl_mem, cl_bool, const size_t *,
					const size_t *, size_t, size_t, void *, cl_uint,
					const cl_event *, cl_event *)
{
	return ocl_valid(o, OCL_QUEUE) ? CL_INVALID_OPERATION : CL_INVALID_COMMAND_QUEUE;
}

cl_int CL_API_CALL ocl_EnqueueWriteImage(cl_command_queue o, cl_mem, cl_bool, const size_t *,
					 const size_t *, size_t, size_t, const void *, cl_uint,
					 const cl_event *, cl_event *)
{
	return ocl_valid(o, OCL_QUEUE) ? CL_INVALID_OPERATION : CL_INVALID_COMMAND_QUEUE;
}

cl_int CL_API_CALL ocl_EnqueueCopyImage(cl_command_queue o, cl_mem, cl_mem, const size_t *,
					const size_t *, const size_t *, cl_uint, const cl_event *,
					cl_event *)
{
	return ocl_valid(o, OCL_QUEUE) ? CL_INVALID_OPERATION : CL_INVALID_COMMAND_QUEUE;
}

cl_int CL_API_CALL ocl_EnqueueCopyImageToBuffer(cl_command_queue o, cl_mem, cl_mem, const size_t *,
						const size_t *, size_t, cl_uint, const cl_event *,
						cl_event *)
{
	return ocl_valid(o, OCL_QUEUE) ? CL_INVALID_OPERATION : CL_INVALID_COMMAND_QUEUE;
}

cl_int CL_API_CALL ocl_EnqueueCopyBufferToImage(cl_command_queue o, cl_mem, cl_mem, size_t,
						const size_t *, const size_t *, cl_uint,
						const cl_event *, cl_event *)
{
	return ocl_valid(o, OCL_QUEUE) ? CL_INVALID_OPERATION : CL_INVALID_COMMAND_QUEUE;
}

void *CL_API_CALL ocl_EnqueueMapImage(cl_command_queue o, cl_mem, cl_bool, cl_map_flags,
				      const size_t *, const size_t *, size_t *, size_t *, cl_uint,
				      const cl_event *, cl_event *, cl_int *err_ret)
{
	return refuse(ocl_valid(o, OCL_QUEUE) ? CL_INVALID_OPERATION : CL_INVALID_COMMAND_QUEUE,
		      err_ret);
}

cl_int CL_API_CALL ocl_EnqueueNativeKernel(cl_command_queue o, void(CL_CALLBACK *)(void *), void *,
					   size_t, cl_uint, const cl_mem *, const void **, cl_uint,
					   const cl_event *, cl_event *)
{
	return ocl_valid(o, OCL_QUEUE) ? CL_INVALID_OPERATION : CL_INVALID_COMMAND_QUEUE;
}

cl_mem CL_API_CALL ocl_CreateFromGLBuffer(cl_context o, cl_mem_flags, cl_GLuint, int *err_ret)
{
	return refuse(ocl_valid(o, OCL_CONTEXT) ? CL_INVALID_OPERATION : CL_INVALID_CONTEXT,
		      err_ret);
}

cl_mem CL_API_CALL ocl_CreateFromGLTexture2D(cl_context o, cl_mem_flags, cl_GLenum, cl_GLint,
					     cl_GLuint, cl_int *err_ret)
{
	return refuse(ocl_valid(o, OCL_CONTEXT) ? CL_INVALID_OPERATION : CL_INVALID_CONTEXT,
		      err_ret);
}

cl_mem CL_API_CALL ocl_CreateFromGLTexture3D(cl_context o, cl_mem_flags, cl_GLenum, cl_GLint,
					     cl_GLuint, cl_int *err_ret)
{
	return refuse(ocl_valid(o, OCL_CONTEXT) ? CL_INVALID_OPERATION : CL_INVALID_CONTEXT,
		      err_ret);
}

cl_mem CL_API_CALL ocl_CreateFromGLRenderbuffer(cl_context o, cl_mem_flags, cl_GLuint,
						cl_int *err_ret)
{
	return refuse(ocl_valid(o, OCL_CONTEXT) ? CL_INVALID_OPERATION : CL_INVALID_CONTEXT,
		      err_ret);
}

cl_int CL_API_CALL ocl_GetGLObjectInfo(cl_mem o, cl_gl_object_type *, cl_GLuint *)
{
	return ocl_valid(o, OCL_MEM) ? CL_INVALID_GL_OBJECT : CL_INVALID_MEM_OBJECT;
}

cl_int CL_API_CALL ocl_GetGLTextureInfo(cl_mem o, cl_gl_texture_info, size_t, void *, size_t *)
{
	return ocl_valid(o, OCL_MEM) ? CL_INVALID_GL_OBJECT : CL_INVALID_MEM_OBJECT;
}

cl_int CL_API_CALL ocl_EnqueueAcquireGLObjects(cl_command_queue o, cl_uint, const cl_mem *, cl_uint,
					       const cl_event *, cl_event *)
{
	return ocl_valid(o, OCL_QUEUE) ? CL_INVALID_OPERATION : CL_INVALID_COMMAND_QUEUE;
}

cl_int CL_API_CALL ocl_EnqueueReleaseGLObjects(cl_command_queue o, cl_uint, const cl_mem *, cl_uint,
					       const cl_event *, cl_event *)
{
	return ocl_valid(o, OCL_QUEUE) ? CL_INVALID_OPERATION : CL_INVALID_COMMAND_QUEUE;
}

cl_event CL_API_CALL ocl_CreateEventFromGLsyncKHR(cl_context o, cl_GLsync, cl_int *err_ret)
{
	return refuse(ocl_valid(o, OCL_CONTEXT) ? CL_INVALID_OPERATION : CL_INVALID_CONTEXT,
		      err_ret);
}

cl_mem CL_API_CALL ocl_CreateImage(cl_context o, cl_mem_flags, const cl_image_format *,
				   const cl_image_desc *, void *, cl_int *err_ret)
{
	return refuse(ocl_valid(o, OCL_CONTEXT) ? CL_INVALID_OPERATION : CL_INVALID_CONTEXT,
		      err_ret);
}

cl_program CL_API_CALL ocl_CreateProgramWithBuiltInKernels(cl_context o, cl_uint,
							   const cl_device_id *, const char *,
							   cl_int *err_ret)
{
	return refuse(ocl_valid(o, OCL_CONTEXT) ? CL_INVALID_VALUE : CL_INVALID_CONTEXT, err_ret);
}

cl_int CL_API_CALL ocl_CompileProgram(cl_program o, cl_uint, const cl_device_id *, const char *,
				      cl_uint, const cl_program *, const char **,
				      void(CL_CALLBACK *)(cl_program, void *), void *)
{
	return ocl_valid(o, OCL_PROGRAM) ? CL_INVALID_OPERATION : CL_INVALID_PROGRAM;
}

cl_program CL_API_CALL ocl_LinkProgram(cl_context o, cl_uint, const cl_device_id *, const char *,
				       cl_uint, const cl_program *,
				       void(CL_CALLBACK *)(cl_program, void *), void *,
				       cl_int *err_ret)
{
	return refuse(ocl_valid(o, OCL_CONTEXT) ? CL_LINKER_NOT_AVAILABLE : CL_INVALID_CONTEXT,
		      err_ret);
}

cl_int CL_API_CALL ocl_EnqueueFillImage(cl_command_queue o, cl_mem, const void *, const size_t *,
					const size_t *, cl_uint, const cl_event *, cl_event *)
{
	return ocl_valid(o, OCL_QUEUE) ? CL_INVALID_OPERATION : CL_INVALID_COMMAND_QUEUE;
}

cl_mem CL_API_CALL ocl_CreateFromGLTexture(cl_context o, cl_mem_flags, cl_GLenum, cl_GLint,
					   cl_GLuint, cl_int *err_ret)
{
	return refuse(ocl_valid(o, OCL_CONTEXT) ? CL_INVALID_OPERATION : CL_INVALID_CONTEXT,
		      err_ret);
}

cl_mem CL_API_CALL ocl_CreateFromEGLImageKHR(cl_context o, CLeglDisplayKHR, CLeglImageKHR,
					     cl_mem_flags, const cl_egl_image_properties_khr *,
					     cl_int *err_ret)
{
	return refuse(ocl_valid(o, OCL_CONTEXT) ? CL_INVALID_OPERATION : CL_INVALID_CONTEXT,
		      err_ret);
}

cl_int CL_API_CALL ocl_EnqueueAcquireEGLObjectsKHR(cl_command_queue o, cl_uint, const cl_mem *,
						   cl_uint, const cl_event *, cl_event *)
{
	return ocl_valid(o, OCL_QUEUE) ? CL_INVALID_OPERATION : CL_INVALID_COMMAND_QUEUE;
}

cl_int CL_API_CALL ocl_EnqueueReleaseEGLObjectsKHR(cl_command_queue o, cl_uint, const cl_mem *,
						   cl_uint, const cl_event *, cl_event *)
{
	return ocl_valid(o, OCL_QUEUE) ? CL_INVALID_OPERATION : CL_INVALID_COMMAND_QUEUE;
}

cl_event CL_API_CALL ocl_CreateEventFromEGLSyncKHR(cl_context o, CLeglSyncKHR, CLeglDisplayKHR,
						   cl_int *err_ret)
{
	return refuse(ocl_valid(o, OCL_CONTEXT) ? CL_INVALID_OPERATION : CL_INVALID_CONTEXT,
		      err_ret);
}

cl_mem CL_API_CALL ocl_CreatePipe(cl_context o, cl_mem_flags, cl_uint, cl_uint,
				  const cl_pipe_properties *, cl_int *err_ret)
{
	return refuse(ocl_valid(o, OCL_CONTEXT) ? CL_INVALID_OPERATION : CL_INVALID_CONTEXT,
		      err_ret);
}

cl_int CL_API_CALL ocl_GetPipeInfo(cl_mem, cl_pipe_info, size_t, void *, size_t *)
{
	return CL_INVALID_MEM_OBJECT;
}

cl_sampler CL_API_CALL ocl_CreateSamplerWithProperties(cl_context o, const cl_sampler_properties *,
						       cl_int *err_ret)
{
	return refuse(ocl_valid(o, OCL_CONTEXT) ? CL_INVALID_OPERATION : CL_INVALID_CONTEXT,
		      err_ret);
}

cl_int CL_API_CALL ocl_GetKernelSubGroupInfoKHR(cl_kernel o, cl_device_id, cl_kernel_sub_group_info,
						size_t, const void *, size_t, void *, size_t *)
{
	return ocl_valid(o, OCL_KERNEL) ? CL_INVALID_OPERATION : CL_INVALID_KERNEL;
}

cl_program CL_API_CALL ocl_CreateProgramWithIL(cl_context o, const void *, size_t, cl_int *err_ret)
{
	return refuse(ocl_valid(o, OCL_CONTEXT) ? CL_INVALID_OPERATION : CL_INVALID_CONTEXT,
		      err_ret);
}

cl_int CL_API_CALL ocl_GetKernelSubGroupInfo(cl_kernel o, cl_device_id, cl_kernel_sub_group_info,
					     size_t, const void *, size_t, void *, size_t *)
{
	return ocl_valid(o, OCL_KERNEL) ? CL_INVALID_OPERATION : CL_INVALID_KERNEL;
}

cl_int CL_API_CALL ocl_SetDefaultDeviceCommandQueue(cl_context o, cl_device_id, cl_command_queue)
{
	return ocl_valid(o, OCL_CONTEXT) ? CL_INVALID_OPERATION : CL_INVALID_CONTEXT;
}

cl_int CL_API_CALL ocl_SetProgramReleaseCallback(cl_program o,
						 void(CL_CALLBACK *)(cl_program, void *), void *)
{
	return ocl_valid(o, OCL_PROGRAM) ? CL_INVALID_OPERATION : CL_INVALID_PROGRAM;
}

cl_int CL_API_CALL ocl_SetProgramSpecializationConstant(cl_program o, cl_uint, size_t, const void *)
{
	return ocl_valid(o, OCL_PROGRAM) ? CL_INVALID_OPERATION : CL_INVALID_PROGRAM;
}

cl_mem CL_API_CALL ocl_CreateImageWithProperties(cl_context o, const cl_mem_properties *,
						 cl_mem_flags, const cl_image_format *,
						 const cl_image_desc *, void *, cl_int *err_ret)
{
	return refuse(ocl_valid(o, OCL_CONTEXT) ? CL_INVALID_OPERATION : CL_INVALID_CONTEXT,
		      err_ret);
}

/* SPDX-License-Identifier: MIT */
/* Every entry of the dispatch table, by the type that the table gives it. */
#ifndef HMM_OPENCL_API_H
#define HMM_OPENCL_API_H

#include "opencl/ocl.h"

#define OCL_DECLARE(name) extern __typeof__(*(cl_api_cl##name)0) ocl_##name

OCL_DECLARE(GetDeviceIDs);
OCL_DECLARE(GetDeviceInfo);
OCL_DECLARE(CreateContext);
OCL_DECLARE(CreateContextFromType);
OCL_DECLARE(RetainContext);
OCL_DECLARE(ReleaseContext);
OCL_DECLARE(GetContextInfo);
OCL_DECLARE(CreateCommandQueue);
OCL_DECLARE(RetainCommandQueue);
OCL_DECLARE(ReleaseCommandQueue);
OCL_DECLARE(GetCommandQueueInfo);
OCL_DECLARE(SetCommandQueueProperty);
OCL_DECLARE(CreateBuffer);
OCL_DECLARE(CreateImage2D);
OCL_DECLARE(CreateImage3D);
OCL_DECLARE(RetainMemObject);
OCL_DECLARE(ReleaseMemObject);
OCL_DECLARE(GetSupportedImageFormats);
OCL_DECLARE(GetMemObjectInfo);
OCL_DECLARE(GetImageInfo);
OCL_DECLARE(CreateSampler);
OCL_DECLARE(RetainSampler);
OCL_DECLARE(ReleaseSampler);
OCL_DECLARE(GetSamplerInfo);
OCL_DECLARE(CreateProgramWithSource);
OCL_DECLARE(CreateProgramWithBinary);
OCL_DECLARE(RetainProgram);
OCL_DECLARE(ReleaseProgram);
OCL_DECLARE(BuildProgram);
OCL_DECLARE(UnloadCompiler);
OCL_DECLARE(GetProgramInfo);
OCL_DECLARE(GetProgramBuildInfo);
OCL_DECLARE(CreateKernel);
OCL_DECLARE(CreateKernelsInProgram);
OCL_DECLARE(RetainKernel);
OCL_DECLARE(ReleaseKernel);
OCL_DECLARE(SetKernelArg);
OCL_DECLARE(GetKernelInfo);
OCL_DECLARE(GetKernelWorkGroupInfo);
OCL_DECLARE(WaitForEvents);
OCL_DECLARE(GetEventInfo);
OCL_DECLARE(RetainEvent);
OCL_DECLARE(ReleaseEvent);
OCL_DECLARE(GetEventProfilingInfo);
OCL_DECLARE(Flush);
OCL_DECLARE(Finish);
OCL_DECLARE(EnqueueReadBuffer);
OCL_DECLARE(EnqueueWriteBuffer);
OCL_DECLARE(EnqueueCopyBuffer);
OCL_DECLARE(EnqueueReadImage);
OCL_DECLARE(EnqueueWriteImage);
OCL_DECLARE(EnqueueCopyImage);
OCL_DECLARE(EnqueueCopyImageToBuffer);
OCL_DECLARE(EnqueueCopyBufferToImage);
OCL_DECLARE(EnqueueMapBuffer);
OCL_DECLARE(EnqueueMapImage);
OCL_DECLARE(EnqueueUnmapMemObject);
OCL_DECLARE(EnqueueNDRangeKernel);
OCL_DECLARE(EnqueueTask);
OCL_DECLARE(EnqueueNativeKernel);
OCL_DECLARE(EnqueueMarker);
OCL_DECLARE(EnqueueWaitForEvents);
OCL_DECLARE(EnqueueBarrier);
OCL_DECLARE(CreateFromGLBuffer);
OCL_DECLARE(CreateFromGLTexture2D);
OCL_DECLARE(CreateFromGLTexture3D);
OCL_DECLARE(CreateFromGLRenderbuffer);
OCL_DECLARE(GetGLObjectInfo);
OCL_DECLARE(GetGLTextureInfo);
OCL_DECLARE(EnqueueAcquireGLObjects);
OCL_DECLARE(EnqueueReleaseGLObjects);
OCL_DECLARE(GetGLContextInfoKHR);
OCL_DECLARE(SetEventCallback);
OCL_DECLARE(CreateSubBuffer);
OCL_DECLARE(SetMemObjectDestructorCallback);
OCL_DECLARE(CreateUserEvent);
OCL_DECLARE(SetUserEventStatus);
OCL_DECLARE(EnqueueReadBufferRect);
OCL_DECLARE(EnqueueWriteBufferRect);
OCL_DECLARE(EnqueueCopyBufferRect);
OCL_DECLARE(CreateSubDevicesEXT);
OCL_DECLARE(CreateEventFromGLsyncKHR);
OCL_DECLARE(CreateSubDevices);
OCL_DECLARE(RetainDevice);
OCL_DECLARE(ReleaseDevice);
OCL_DECLARE(CreateImage);
OCL_DECLARE(CreateProgramWithBuiltInKernels);
OCL_DECLARE(CompileProgram);
OCL_DECLARE(LinkProgram);
OCL_DECLARE(UnloadPlatformCompiler);
OCL_DECLARE(GetKernelArgInfo);
OCL_DECLARE(EnqueueFillBuffer);
OCL_DECLARE(EnqueueFillImage);
OCL_DECLARE(EnqueueMigrateMemObjects);
OCL_DECLARE(EnqueueMarkerWithWaitList);
OCL_DECLARE(EnqueueBarrierWithWaitList);
OCL_DECLARE(GetExtensionFunctionAddressForPlatform);
OCL_DECLARE(CreateFromGLTexture);
OCL_DECLARE(CreateFromEGLImageKHR);
OCL_DECLARE(EnqueueAcquireEGLObjectsKHR);
OCL_DECLARE(EnqueueReleaseEGLObjectsKHR);
OCL_DECLARE(CreateEventFromEGLSyncKHR);
OCL_DECLARE(CreateCommandQueueWithProperties);
OCL_DECLARE(CreatePipe);
OCL_DECLARE(GetPipeInfo);
OCL_DECLARE(SVMAlloc);
OCL_DECLARE(SVMFree);
OCL_DECLARE(EnqueueSVMFree);
OCL_DECLARE(EnqueueSVMMemcpy);
OCL_DECLARE(EnqueueSVMMemFill);
OCL_DECLARE(EnqueueSVMMap);
OCL_DECLARE(EnqueueSVMUnmap);
OCL_DECLARE(CreateSamplerWithProperties);
OCL_DECLARE(SetKernelArgSVMPointer);
OCL_DECLARE(SetKernelExecInfo);
OCL_DECLARE(GetKernelSubGroupInfoKHR);
OCL_DECLARE(CloneKernel);
OCL_DECLARE(CreateProgramWithIL);
OCL_DECLARE(EnqueueSVMMigrateMem);
OCL_DECLARE(GetDeviceAndHostTimer);
OCL_DECLARE(GetHostTimer);
OCL_DECLARE(GetKernelSubGroupInfo);
OCL_DECLARE(SetDefaultDeviceCommandQueue);
OCL_DECLARE(SetProgramReleaseCallback);
OCL_DECLARE(SetProgramSpecializationConstant);
OCL_DECLARE(CreateBufferWithProperties);
OCL_DECLARE(CreateImageWithProperties);
OCL_DECLARE(SetContextDestructorCallback);

extern __typeof__(*(cl_api_clGetPlatformIDs)0) clIcdGetPlatformIDsKHR;

/* transfer.c, also for SVM: CL_INVALID_VALUE if pattern and place do not fit. */
cl_int ocl_fill_check(const void *pattern, size_t pattern_bytes, size_t offset, size_t bytes);
struct ocl_command *ocl_fill_new(cl_command_queue q, void *to, const void *pattern,
				 size_t pattern_bytes, size_t bytes);

#endif /* HMM_OPENCL_API_H */

# SPDX-License-Identifier: MIT
# The engine's OpenCL half.
set(HMM_ENGINE_CL_SOURCES
	cl_check.c
	cl_crash.c
	cl_device.c
	cl_kernel_info.c
	cl_launch.c
	cl_program.c
	cl_serve.c)

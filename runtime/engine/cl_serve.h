/* SPDX-License-Identifier: MIT */
#ifndef HMM_ENGINE_CL_SERVE_H
#define HMM_ENGINE_CL_SERVE_H

/* Serve one front-end connection until it closes. The caller closes @fd. */
void engine_cl_serve(int fd);

#endif /* HMM_ENGINE_CL_SERVE_H */

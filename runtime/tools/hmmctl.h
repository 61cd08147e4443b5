/* SPDX-License-Identifier: MIT */
#ifndef HMM_TOOLS_HMMCTL_H
#define HMM_TOOLS_HMMCTL_H

/* hmmctl run -- PROGRAM ARGS; returns the exit status of hmmctl. */
int hmmctl_run(char **argv);

#endif /* HMM_TOOLS_HMMCTL_H */

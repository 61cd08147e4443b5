/* SPDX-License-Identifier: MIT */
/*
 * How a negative control ends: with 0 when it has seen what the fence that is left out prevents,
 * with this when it has not, and tests/control.sh begins it anew; else something else is wrong.
 */
#ifndef HMM_TESTS_CONTROL_H
#define HMM_TESTS_CONTROL_H

#define CONTROL_UNSEEN 3

#endif /* HMM_TESTS_CONTROL_H */

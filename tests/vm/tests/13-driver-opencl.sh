#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# OpenCL programs on the driver: the platform's tests, and the examples.
# limit: 240
set -euo pipefail
# shellcheck source=tests/vm/load.sh
. "$HMM_SRC/tests/vm/load.sh"
load_driver devices=1 mib=16
export HMM_BACKEND=drm OCL_ICD_VENDORS="$HMM_BUILD/lib/libhmm_opencl.so" POCL_CACHE_DIR=/tmp/pocl
for test in buffers events programs svm; do
	echo "-- $test"
	"$HMM_BUILD/bin/opencl_$test"
done
for example in "vecadd 1" "chase 20000" "bfs /var/lib/dpkg/status" oversubscribe; do
	echo "-- $example"
	# shellcheck disable=SC2086
	HMM_STATS=1 "$HMM_BUILD"/bin/$example
done

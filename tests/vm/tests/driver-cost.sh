#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Instructions for each page that goes to a device and comes home, against the kernel's own test
# driver. To be run by name: tests/vm/run.sh --icount --only driver-cost
# limit: 120
set -euo pipefail
# shellcheck source=tests/vm/load.sh
. "$HMM_SRC/tests/vm/load.sh"
if [ -z "${HMM_ICOUNT:-}" ]; then
	echo "skipped: instructions are counted with --icount"
	exit 0
fi
load_driver devices=1 mib=16
ours=$("$HMM_BUILD/bin/driver_cost" hmm_drm)
unload_driver
insmod "$HMM_MODULES/test_hmm.ko"
[ -e /dev/hmm_dmirror0 ] ||
	mknod /dev/hmm_dmirror0 c "$(awk '/hmm_dmirror/ { print $1 }' /proc/devices)" 0
theirs=$("$HMM_BUILD/bin/driver_cost" test_hmm)
rmmod test_hmm
echo "$ours $theirs" | awk '{
	what[1] = "to the device"; what[2] = "home"; what[3] = "home by touch"
	for (i = 1; i <= 3; i++)
		printf "%-14s hmm_drm %6d  test_hmm %6d  ratio %.2f\n", what[i], $i, $(i + 3), $i / $(i + 3)
}'

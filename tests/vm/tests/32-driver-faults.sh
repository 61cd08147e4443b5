#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# No memory: at every place of an operation in turn, and now and then while everything races.
# Errors are reported, nothing is lost, and nobody dies of it.
# limit: 240
set -euo pipefail
faults=/sys/kernel/debug
if [ ! -e $faults/failslab ]; then
	echo "skipped: allocations of this kernel do not fail on request"
	exit 0
fi

# Of the tasks that ask for it, allocations of every kind.
for kind in failslab fail_page_alloc; do
	echo 0 >$faults/$kind/verbose
	echo 1000000 >$faults/$kind/times
	echo Y >$faults/$kind/task-filter
	echo N >$faults/$kind/ignore-gfp-wait
done
echo N >$faults/fail_page_alloc/ignore-gfp-highmem
echo 0 >$faults/fail_page_alloc/min-order

probability() {
	echo "$1" >$faults/failslab/probability
	echo "$1" >$faults/fail_page_alloc/probability
}

# shellcheck source=tests/vm/load.sh
. "$HMM_SRC/tests/vm/load.sh"
load_driver devices=2 mib=4
mkdir -p /mnt/tmpfs /mnt/hmmfs
mount -t tmpfs lower /mnt/tmpfs
mount -t hmmfs /mnt/tmpfs /mnt/hmmfs

# The kernel ends a thread whose rseq(2) area it has no memory to write to: so it does after fork()
# to whoever is scheduled before its copy is made. Here nobody has one.
export GLIBC_TUNABLES=glibc.pthread.rseq=0
"$HMM_BUILD/bin/driver_faults"
"$HMM_BUILD/bin/driver_faults" /mnt/hmmfs /mnt/tmpfs

export HMM_TEST_FAULTS=1
for pages in 4 64; do
	probability 1
	"$HMM_BUILD/bin/driver_race" $((5 * HMM_TEST_SCALE)) $pages
	"$HMM_BUILD/bin/driver_race" $((5 * HMM_TEST_SCALE)) $pages /mnt/hmmfs/counts \
		/mnt/tmpfs/counts
	probability 0
	rm /mnt/hmmfs/counts
done
# What is left of the million.
for kind in failslab fail_page_alloc; do
	failed=$((1000000 - $(cat $faults/$kind/times)))
	echo "$kind: $failed"
	[ $failed -gt 0 ]
done

#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs in the virtual machine, with the host's programs: each named test, its output to the
# console, its exit status to the shared folder.
set -u
shared=/run/hmm
# shellcheck disable=SC1091
. "$shared/environment"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
cut -d' ' -f1 /proc/uptime >"$shared/ready"

for name in $HMM_TESTS; do
	echo "=== $name"
	echo "hmm-vm: test $name" >/dev/kmsg
	timeout -k 5 "$HMM_TIME" bash "$HMM_SRC/tests/vm/tests/$name.sh"
	status=$?
	echo "$status" >"$shared/result.$name"
	echo "=== $name: exit status $status"
done
if [ -w /sys/kernel/debug/kmemleak ]; then
	# An object must be unreferenced twice to be one.
	for _ in 1 2; do
		echo scan >/sys/kernel/debug/kmemleak
		sleep 5
	done
	cat /sys/kernel/debug/kmemleak >"$shared/kmemleak"
	cat "$shared/kmemleak"
fi
dmesg >"$shared/dmesg"
echo finished >"$shared/done"
sync

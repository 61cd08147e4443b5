#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The machine is the one that the other tests count on.
set -euo pipefail

check() {
	echo "$1: $2, wanted $3"
	[ "$2" = "$3" ]
}

uname -a
check "user" "$(id -u)" 0
check "processors" "$(nproc)" 2
check "memory nodes" "$(cat /sys/devices/system/node/has_memory)" 0-1
check "folder of results" "$(findmnt -no FSTYPE /run/hmm)" 9p

mkdir -p /mnt/ext4
truncate -s 64M /tmp/image
mkfs.ext4 -qF /tmp/image
mount -o loop /tmp/image /mnt/ext4
echo "on ext4" >/mnt/ext4/file
umount /mnt/ext4
mkdir /sys/fs/cgroup/boot
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
check "memory limit of a group" "$(cat /sys/fs/cgroup/boot/memory.max)" max
rmdir /sys/fs/cgroup/boot

if [ "$HMM_VARIANT" = debug ]; then
	for file in kmemleak failslab/probability fail_page_alloc/probability; do
		[ -e "/sys/kernel/debug/$file" ] || { echo "no $file"; exit 1; }
	done
	check "panic_on_warn" "$(cat /proc/sys/kernel/panic_on_warn)" 1
	[ -e /proc/lockdep ] || { echo "no lockdep"; exit 1; }
	exit 0
fi

# The comparison driver loads only where device-private memory is there; it leaks what kmemleak
# would report.
insmod "$HMM_MODULES/test_hmm.ko"
grep -qi hmm_dmirror /proc/devices
rmmod test_hmm

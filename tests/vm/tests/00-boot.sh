#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The machine is the one that the other tests count on.
set -euo pipefail
uname -a
[ "$(nproc)" -eq 2 ]
[ -d /sys/devices/system/node/node1 ]
mkdir -p /mnt/ext4
truncate -s 64M /tmp/image
mkfs.ext4 -qF /tmp/image
mount -o loop /tmp/image /mnt/ext4
echo "on ext4" >/mnt/ext4/file
umount /mnt/ext4
# The comparison driver loads only where device-private memory is there; it leaks what kmemleak
# would report.
[ "$HMM_VARIANT" = plain ] || exit 0
insmod "$HMM_MODULES/test_hmm.ko"
rmmod test_hmm

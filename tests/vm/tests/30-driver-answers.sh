#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What the rest of the kernel does with pages on a device, anonymous ones and a file's.
# limit: 150
set -euo pipefail
# shellcheck source=tests/vm/load.sh
. "$HMM_SRC/tests/vm/load.sh"
load_driver devices=2 mib=16
mkdir -p /mnt/ext4 /mnt/hmmfs
truncate -s 256M /tmp/image
mkfs.ext4 -qF /tmp/image
mount -o loop /tmp/image /mnt/ext4
truncate -s 128M /tmp/swap
mkswap -q /tmp/swap >/dev/null
swap=$(losetup -f --show /tmp/swap)
swapon "$swap"
grep -q ' /sys/fs/cgroup ' /proc/mounts || mount -t cgroup2 cgroup /sys/fs/cgroup
failed=0
"$HMM_BUILD/bin/driver_answers" /mnt/ext4 || failed=1
mkdir -p /mnt/ext4/files
mount -t hmmfs /mnt/ext4/files /mnt/hmmfs
"$HMM_BUILD/bin/driver_answers" /mnt/ext4 /mnt/hmmfs || failed=1
swapoff "$swap"
losetup -d "$swap"
exit $failed

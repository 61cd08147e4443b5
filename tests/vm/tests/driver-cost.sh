#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Instructions for each page that goes to a device, comes home, and is written back: against the
# kernel's own test driver, against what the core's part alone costs, and against pages that the
# CPU made dirty. To be run by name: tests/vm/run.sh --icount --only driver-cost
# limit: 300
set -euo pipefail
# shellcheck source=tests/vm/load.sh
. "$HMM_SRC/tests/vm/load.sh"
if [ -z "${HMM_ICOUNT:-}" ]; then
	echo "skipped: instructions are counted with --icount"
	exit 0
fi
node() {
	[ -e "/dev/$1" ] || mknod "/dev/$1" c "$2" "$3"
}

load_driver devices=1 mib=16
ours=$("$HMM_BUILD/bin/driver_cost" hmm_drm)
unload_driver
insmod "$HMM_MODULES/test_hmm.ko"
node hmm_dmirror0 "$(awk '/hmm_dmirror/ { print $1 }' /proc/devices)" 0
theirs=$("$HMM_BUILD/bin/driver_cost" test_hmm)
rmmod test_hmm
insmod "$HMM_MODULES/floor.ko"
node hmm_floor 10 "$(awk '/hmm_floor/ { print $1 }' /proc/misc)"
floor=$("$HMM_BUILD/bin/driver_cost" floor)
rmmod floor
echo "$ours $theirs $floor" | awk '{
	what[1] = "to the device"; what[2] = "home"; what[3] = "home by touch"
	for (i = 1; i <= 3; i++)
		printf "%-14s hmm_drm %6d  test_hmm %6d  ratio %.2f  floor %6d  ratio %.2f\n", what[i],
			$i, $(i + 3), $i / $(i + 3), $(i + 6), $i / $(i + 6)
}'

# A disk that counts what it is given as it is given.
mkdir -p /mnt/ext4 /mnt/hmmfs
truncate -s 64M /tmp/image
disk=$(losetup -f --show /tmp/image)
dmsetup create --noudevsync lower --table "0 $(blockdev --getsz "$disk") linear $disk 0"
minor=$(dmsetup info -c --noheadings -o minor lower)
mkfs.ext4 -qF -b 4096 "/dev/dm-$minor"
mount "/dev/dm-$minor" /mnt/ext4
load_driver devices=1 mib=16
mount -t hmmfs /mnt/ext4 /mnt/hmmfs
plain=$("$HMM_BUILD/bin/driver_cost_file" plain /mnt/ext4/plain "/sys/block/dm-$minor/stat")
device=$("$HMM_BUILD/bin/driver_cost_file" hmmfs /mnt/hmmfs/device "/sys/block/dm-$minor/stat")
umount /mnt/hmmfs
umount /mnt/ext4
dmsetup remove --noudevsync lower
losetup -d "$disk"
echo "$device $plain" | awk '{
	printf "%-14s hmmfs   %6d  ext4     %6d  ratio %.2f  writes %d and %d, %d came home\n",
		"written back", $1, $4, $1 / $4, $2, $5, $3
}'

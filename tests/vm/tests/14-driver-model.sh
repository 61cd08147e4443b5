#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Random operations against the model of the page states, on the driver: one by one, and 10^5 that
# race (10^4 where all is slow), of anonymous memory and of a file, of one client and of two, under
# want of memory.
# limit: 500
set -euo pipefail
# shellcheck source=tests/vm/load.sh
. "$HMM_SRC/tests/vm/load.sh"
load_driver devices=2 mib=8
export POCL_CACHE_DIR=/tmp/pocl
rounds=$((HMM_TEST_SCALE < 5 ? HMM_TEST_SCALE : 5))
sequential=3000 files=2000 racing=$((100000 * HMM_TEST_SCALE / (4 * rounds)))
more=()
[ "$HMM_VARIANT" = plain ] || sequential=800 files=400 racing=$((racing / 10)) more=(--run 64)
"$HMM_BUILD/bin/model" --backend drm --mode sequential --seed 1 --count $((sequential * rounds))

# What a group has too much of needs a place.
truncate -s 128M /tmp/swap
mkswap -q /tmp/swap >/dev/null
swap=$(losetup -f --show /tmp/swap)
swapon "$swap"
grep -q ' /sys/fs/cgroup ' /proc/mounts || mount -t cgroup2 cgroup /sys/fs/cgroup
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
group=/sys/fs/cgroup/model
mkdir $group
mkdir -p /mnt/tmpfs /mnt/ext4 /mnt/hmmfs
mount -t tmpfs lower /mnt/tmpfs
truncate -s 64M /tmp/image
mkfs.ext4 -qF /tmp/image
mount -o loop /tmp/image /mnt/ext4

one_by_one() {
	local lower=$1
	shift
	mount -t hmmfs "$lower" /mnt/hmmfs
	"$HMM_BUILD/bin/model" --backend drm --mode sequential --file /mnt/hmmfs/model \
		--lower "$lower/model" --pages 600 "$@"
	umount /mnt/hmmfs
}

echo "-- a file, one by one"
one_by_one /mnt/tmpfs --seed 1 --count $((files * rounds))
one_by_one /mnt/ext4 --seed 2 --count $((files * rounds))
one_by_one /mnt/ext4 --seed 3 --count $((files * rounds)) --clients 2

race() {
	(
		echo $BASHPID >$group/cgroup.procs
		exec "$HMM_BUILD/bin/model" --backend drm --mode racing --cgroup $group \
			"${more[@]}" "$@"
	)
}

race_on() {
	local lower=$1
	shift
	mount -t hmmfs "$lower" /mnt/hmmfs
	race --file /mnt/hmmfs/model --lower "$lower/model" "$@"
	umount /mnt/hmmfs
}

for ((seed = 1; seed <= rounds; seed++)); do
	for clients in 1 2; do
		run=(--seed "$seed" --clients "$clients" --count "$racing")
		echo "-- anonymous memory, $clients clients"
		race "${run[@]}"
		lower=/mnt/tmpfs
		[ $(((seed + clients) % 2)) = 0 ] || lower=/mnt/ext4
		echo "-- a file over $lower, $clients clients"
		race_on $lower "${run[@]}"
	done
done

# Each page of a device is written past the lower page cache.
unload_driver
load_driver devices=2 mib=8 skip_fence=1024
echo "-- a file over /mnt/ext4, written direct"
race_on /mnt/ext4 --seed 1 --clients 2 --count "$racing"

# What must fail: nothing is synced; the engines keep what went home. And one by one: what is stored
# while a page is clean is not seen (1), nor what the engines store after it went home (2).
if [ "$HMM_VARIANT" = plain ]; then
	echo "-- controls"
	race_on /mnt/tmpfs --seed 1 --count 3000 --negative sync
	for fence in 1 2; do
		unload_driver
		load_driver devices=2 mib=8 skip_fence=$fence
		one_by_one /mnt/tmpfs --seed 2 --count 2000 --negative outside
	done
	race_on /mnt/tmpfs --seed 1 --count 3000 --negative outside
fi

swapoff "$swap"
losetup -d "$swap"
rmdir $group

#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Mapped files on ext4, xfs, btrfs (on loop devices) and tmpfs: the exerciser's N random operations,
# N processes that are killed, and records that are stored in one step. Counts times HMM_TEST_SCALE.
#
#   filesystems.sh BUILD [--count N] [--kills N] [FILESYSTEM]...   as root
#
# Status 77 where there are no loop devices. A filesystem that the kernel, or this machine, does
# not have is named and left out.
set -euo pipefail
build=${1:?} count=100000 kills=20 types=() scale=${HMM_TEST_SCALE:-1}
shift
while [ $# -gt 0 ]; do
	case $1 in
	--count) count=${2:?}; shift ;;
	--kills) kills=${2:?}; shift ;;
	*) types+=("$1") ;;
	esac
	shift
done
[ ${#types[@]} -gt 0 ] || types=(ext4 xfs btrfs tmpfs)
skip() { echo "skipped: $*"; exit 77; }
[ "$(id -u)" -eq 0 ] || skip "only root has loop devices"
losetup -f >/dev/null 2>&1 || skip "this kernel has no loop devices"

scratch=$(mktemp -d)
trap 'umount -q "$scratch/mount" || true; rm -f "$scratch/image"; rmdir "$scratch/mount" "$scratch"' EXIT
mkdir "$scratch/mount"

make() {
	if [ "$1" = tmpfs ]; then
		mount -t tmpfs -o size=512m tmpfs "$scratch/mount"
		return
	fi
	command -v "mkfs.$1" >/dev/null || { echo "-- $1 is left out: no mkfs.$1"; return 1; }
	grep -qw "$1" /proc/filesystems || { echo "-- $1 is left out: not in this kernel"; return 1; }
	rm -f "$scratch/image"
	truncate -s 512M "$scratch/image"
	case $1 in
	ext4) mkfs.ext4 -qF "$scratch/image" ;;
	*) "mkfs.$1" -q -f "$scratch/image" >/dev/null ;;
	esac
	mount -t "$1" -o loop "$scratch/image" "$scratch/mount"
}

status=0 seed=$((EPOCHSECONDS % 100000))
for type in "${types[@]}"; do
	make "$type" || continue
	for algorithm in move wp; do
		echo "-- $type, $algorithm"
		"$build/bin/file_exerciser" --seed $((seed++)) --count $((count * scale / 2)) \
			--algorithm $algorithm "$scratch/mount" || status=1
		"$build/bin/file_killed" --count $((kills * scale / 2)) --algorithm $algorithm \
			"$scratch/mount" || status=1
	done
	"$build/bin/file_record" "$scratch/mount" || status=1
	umount "$scratch/mount"
done
exit $status

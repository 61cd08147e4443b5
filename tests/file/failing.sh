#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Mapped files on disks that fail, over a quota, and on filesystems that become read-only:
# hmm_sync() says so, the pages stay dirty, and when it is mended all of them are written.
# Usage: failing.sh BUILD [--all-read-only], as root. Status 77 where there are no loop devices.
#
#   --all-read-only  makes every filesystem read-only for a moment, as SysRq-U does: for a machine
#                    of its own. Where a file is open for writing, no remount by mount(8) is let.
set -euo pipefail
build=${1:?} all_read_only=${2:-}
scratch=$(mktemp -d) disk='' mapped=''
skip() { echo "skipped: $*"; exit 77; }

undo() {
	umount -q "$scratch/mount" || true
	[ -z "$mapped" ] || dmsetup remove --noudevsync "$mapped" || true
	[ -z "$disk" ] || losetup -d "$disk" || true
	mapped='' disk=''
	umount -q "$scratch/memory" || true
}
trap 'undo; rmdir "$scratch"/m* "$scratch"' EXIT
mkdir "$scratch/mount" "$scratch/memory"
[ "$(id -u)" -eq 0 ] || skip "only root has loop devices"
file=$scratch/mount/file image=$scratch/memory/image

# A filesystem $1, the rest: options of mount, on $device, a loop device on memory. Its blocks have
# their memory from the beginning.
make() {
	local type=$1
	shift
	mount -t tmpfs -o size=400m memory "$scratch/memory" || skip "no tmpfs can be mounted"
	truncate -s 320M "$image"
	disk=$(losetup -f --show "$image") || skip "no loop device"
	device=$disk
	case $type in
	ext4) mkfs.ext4 -qF -E lazy_itable_init=0,lazy_journal_init=0 "$disk" ;;
	xfs) mkfs.xfs -qfK "$disk" ;;
	btrfs) mkfs.btrfs -qfK "$disk" >/dev/null ;;
	esac
	if dmsetup version >/dev/null 2>&1; then
		sectors=$(blockdev --getsz "$disk") mapped=hmm-failing-$$
		dmsetup create --noudevsync "$mapped" --table "0 $sectors linear $disk 0"
		device=/dev/dm-$(dmsetup info -c --noheadings -o minor "$mapped")
	fi
	mount -t "$type" "$@" "$device" "$scratch/mount"
	head -c 262144 /dev/zero | tr '\0' x >"$file"
	sync -f "$file"
	fallocate -l 320M "$image"
}

# What the disk has: through no page that was there before.
check() {
	umount "$scratch/mount"
	mount -o ro "$device" "$scratch/mount"
	head -c 262144 /dev/zero | tr '\0' c | cmp - "$file"
	undo
}

# Of the file's blocks: "first block, number" of each extent.
extents() {
	filefrag -v -b4096 "$file" | sed -nE 's/^ *[0-9]+: *[0-9]+\.\. *[0-9]+: *([0-9]+)\.\. *[0-9]+: *([0-9]+):.*/\1 \2/p'
}

put() {
	echo "dmsetup suspend --noflush --nolockfs $mapped && dmsetup load $mapped --table '$1' &&
		dmsetup resume --noudevsync $mapped"
}

# The file's blocks, and no other: a filesystem ends when its journal cannot be written.
bad_blocks() {
	local at=0 from count table=''
	while read -r from count; do
		table+="$at $((from * 8 - at)) linear $disk $at"$'\n'
		table+="$((from * 8)) $((count * 8)) error"$'\n'
		at=$(((from + count) * 8))
	done <<<"$(extents | sort -n)"
	table+="$at $((sectors - at)) linear $disk $at"
	"$build/bin/file_failing" "$file" "$(put "$table")" "$(put "0 $sectors linear $disk 0")"
}

# The same where there is no device mapper: memory for the file's blocks is not to be had.
no_memory() {
	local from count break=''
	while read -r from count; do
		break+="fallocate -p -o $((from * 4096)) -l $((count * 4096)) $image && "
	done <<<"$(extents)"
	"$build/bin/file_failing" "$file" "$break ! cat /dev/zero 2>/dev/null >$scratch/memory/rest" \
		"rm $scratch/memory/rest"
}

is_here() {
	command -v "mkfs.$1" >/dev/null && grep -qw "$1" /proc/filesystems && return
	echo "-- $1 is left out: it is not here"
	return 1
}

for type in ext4 xfs; do
	is_here $type || continue
	make $type
	echo "-- $type, a disk with bad blocks"
	if [ -n "$mapped" ]; then bad_blocks; else no_memory; fi
	check
done

# Of btrfs, whose quotas need no tools but its own, and hold for root, too: less is allowed than is
# there, and each page that is written goes to another place first. Who is over his quota cannot even
# change it, so it is a subvolume's.
over_quota() {
	local limited=$scratch/mount/limited id
	btrfs -q subvolume create "$limited"
	mv "$file" "$limited"
	file=$limited/file
	sync -f "$file"
	btrfs -q quota enable "$scratch/mount"
	btrfs -q quota rescan -w "$scratch/mount"
	id=0/$(btrfs inspect-internal rootid "$limited")
	"$build/bin/file_failing" "$file" "btrfs -q qgroup limit 64K $id '$scratch/mount'" \
		"btrfs -q qgroup limit none $id '$scratch/mount'" EDQUOT
}

if is_here btrfs; then
	make btrfs
	echo "-- btrfs, a quota"
	over_quota
	check
	file=$scratch/mount/file
fi

[ -n "$all_read_only" ] || exit 0
make ext4
echo "-- ext4, read-only"
"$build/bin/file_failing" "$file" \
	"echo u >/proc/sysrq-trigger; until grep -q '$scratch/mount ext4 ro' /proc/mounts; do sleep 0.1; done" \
	"mount -o remount,rw $scratch/mount"
check

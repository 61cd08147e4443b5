#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A lower filesystem that cannot be read, must not be written, or is frozen.
# limit: 90
set -euo pipefail
# shellcheck source=tests/vm/load.sh
. "$HMM_SRC/tests/vm/load.sh"
load_driver devices=1 mib=4
mkdir -p /mnt/ext4 /mnt/tmpfs /mnt/hmmfs
truncate -s 64M /tmp/image
disk=$(losetup -f --show /tmp/image)
sectors=$(blockdev --getsz "$disk")
dmsetup create --noudevsync lower --table "0 $sectors linear $disk 0"
lower=/dev/dm-$(dmsetup info -c --noheadings -o minor lower)
mkfs.ext4 -qF "$lower"
blockdev --setra 0 "$lower"
# The journal keeps to itself while the disk fails.
mount -o commit=300 "$lower" /mnt/ext4
head -c 65536 /dev/zero | tr '\0' x >/mnt/ext4/file
sync
# Of the file's pages, but not of what else is known of it.
echo 1 >/proc/sys/vm/drop_caches

echo "-- cannot be read, or written"
mount -t hmmfs /mnt/ext4 /mnt/hmmfs
put() {
	echo "dmsetup suspend --noflush --nolockfs lower && dmsetup load lower --table '$1' &&
		dmsetup resume --noudevsync lower"
}
"$HMM_BUILD/bin/driver_lower" /mnt/hmmfs/file "$(put "0 $sectors error")" \
	"$(put "0 $sectors linear $disk 0")"
umount /mnt/hmmfs
umount /mnt/ext4
mount -o commit=300 "$lower" /mnt/ext4
[ "$(head -c 1 /mnt/ext4/file)$(tail -c +32769 /mnt/ext4/file | head -c 1)" = wv ] || { echo "what was durable is lost"; exit 1; }

echo "-- on the disk after syncfs()"
mount -t hmmfs /mnt/ext4 /mnt/hmmfs
echo "seen on the disk" >/mnt/hmmfs/synced
sync -f /mnt/hmmfs/synced
grep -q "seen on the disk" /tmp/image || { echo "not on the disk"; exit 1; }

echo "-- many pages"
"$HMM_BUILD/bin/driver_long" /mnt/hmmfs/long /mnt/ext4/long "$(put "0 $sectors error")" \
	"$(put "0 $sectors linear $disk 0")" "fsfreeze -f /mnt/ext4" "fsfreeze -u /mnt/ext4"

echo "-- frozen"
"$HMM_BUILD/bin/driver_lower" /mnt/hmmfs/file "fsfreeze -f /mnt/ext4" "fsfreeze -u /mnt/ext4" frozen
[ "$(head -c 1 /mnt/ext4/file)" = n ] || { echo "older bytes were written last"; exit 1; }
# Does process $1 wait in the kernel, and for what does not come soon?
is_held_up() {
	local seen=0
	for _ in {1..1200}; do
		if grep -q '^State:.D' "/proc/$1/status" 2>/dev/null; then
			seen=$((seen + 1))
		else
			seen=0
			kill -0 "$1" 2>/dev/null || return 1
		fi
		[ $seen -lt 5 ] || return 0
		sleep 0.05
	done
	return 1
}
mkdir /mnt/hmmfs/old
touch /mnt/hmmfs/old/{renamed,removed,changed}
in_time=0
for what in "touch made" "mkdir folder" "mv old/renamed new" "rm old/removed" "chmod 600 old/changed" \
	"truncate -s 5 old/changed" "rmdir folder"; do
	fsfreeze -f /mnt/ext4
	# shellcheck disable=SC2086
	(cd /mnt/hmmfs && exec $what) &
	is_held_up $! || { echo "$what: not held up"; in_time=1; }
	fsfreeze -u /mnt/ext4
	wait $!
done
[ $in_time = 0 ]
[ "$(stat -c %a,%s /mnt/ext4/old/changed)" = 600,5 ]
[ -e /mnt/ext4/made ] && [ -e /mnt/ext4/new ] && [ ! -e /mnt/ext4/old/removed ]
umount /mnt/hmmfs
umount /mnt/ext4
dmsetup remove --noudevsync lower
losetup -d "$disk"

echo "-- must not be written"
mount -t tmpfs lower /mnt/tmpfs
mkdir /mnt/tmpfs/folder
echo text >/mnt/tmpfs/file
mount --bind /mnt/tmpfs /mnt/ext4
mount -o remount,bind,ro /mnt/ext4
mount -t hmmfs /mnt/ext4 /mnt/hmmfs
for what in "touch new" "mkdir new" "mv file new" "rm file" "rmdir folder" "chmod 600 file" \
	"truncate -s 0 file" "tee file"; do
	# shellcheck disable=SC2086
	if (cd /mnt/hmmfs && exec $what </dev/null) 2>/tmp/why; then
		echo "$what: done, on what must not be written"
		exit 1
	fi
	grep -q 'Read-only file system' /tmp/why || { cat /tmp/why; exit 1; }
done
[ "$(cat /mnt/hmmfs/file)" = text ] && [ -d /mnt/hmmfs/folder ]

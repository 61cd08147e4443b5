#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Pages of files on the driver's devices, over ext4 and tmpfs.
# limit: 150
set -euo pipefail
# shellcheck source=tests/vm/load.sh
. "$HMM_SRC/tests/vm/load.sh"
# Many small files, or fewer where everything takes longer.
files=/usr/include/linux
[ "$HMM_VARIANT" = plain ] || files=/usr/include/linux/netfilter
load_driver devices=2 mib=16
mkdir -p /mnt/ext4 /mnt/tmpfs /mnt/hmmfs
truncate -s 256M /tmp/image
mkfs.ext4 -qF /tmp/image
mount -o loop /tmp/image /mnt/ext4
mount -t tmpfs lower /mnt/tmpfs
for lower in tmpfs ext4; do
	echo "-- over $lower"
	mount -t hmmfs "/mnt/$lower" /mnt/hmmfs
	# Ordinary programs.
	cp -r $files /mnt/hmmfs/files
	diff -r $files /mnt/hmmfs/files
	tar -C /mnt/hmmfs -cf /mnt/hmmfs/files.tar files
	mkdir /mnt/hmmfs/again
	tar -C /mnt/hmmfs/again -xf /mnt/hmmfs/files.tar
	diff -r /mnt/hmmfs/files /mnt/hmmfs/again/files
	rm -r /mnt/hmmfs/again /mnt/hmmfs/files /mnt/hmmfs/files.tar
	"$HMM_BUILD/bin/driver_file" /mnt/hmmfs "/mnt/$lower"
	for pages in 1 4 64; do
		"$HMM_BUILD/bin/driver_race" $((3 * HMM_TEST_SCALE)) $pages /mnt/hmmfs/counts \
			"/mnt/$lower/counts"
	done
	for engines in 1 2; do
		"$HMM_BUILD/bin/driver_race" $((2 * HMM_TEST_SCALE)) 4 /mnt/hmmfs/counts \
			"/mnt/$lower/counts" $engines
	done
	rm /mnt/hmmfs/counts
	# Nobody has them open, and they are dirty: when names are forgotten, and at the end.
	cp /usr/include/limits.h /mnt/hmmfs/forgotten
	echo 2 >/proc/sys/vm/drop_caches
	cmp /usr/include/limits.h /mnt/hmmfs/forgotten
	cp /usr/include/limits.h /mnt/hmmfs/unmounted
	umount /mnt/hmmfs
	cmp /usr/include/limits.h "/mnt/$lower/unmounted"
	rm "/mnt/$lower/forgotten" "/mnt/$lower/unmounted"
done

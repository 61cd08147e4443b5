#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The race over a file fails when a fence is left out: 1, write-protect on the device before the
# dirty state is taken; 2, revocation before a page comes home. The first shows where nobody but
# one engine stores, so that nothing else makes the page dirty again.
# limit: 150
set -euo pipefail
# shellcheck source=tests/vm/load.sh
. "$HMM_SRC/tests/vm/load.sh"
if [ "$HMM_VARIANT" != plain ]; then
	echo "skipped: this kernel is too slow to lose a race in the time there is"
	exit 0
fi
mkdir -p /mnt/tmpfs /mnt/hmmfs
mount -t tmpfs lower /mnt/tmpfs
for fence in 1 2; do
	who=()
	[ $fence = 2 ] || who=(1)
	load_driver devices=2 mib=16 skip_fence=$fence
	mount -t hmmfs /mnt/tmpfs /mnt/hmmfs
	seen=
	for _ in {1..20}; do
		"$HMM_BUILD/bin/driver_race" $((2 * HMM_TEST_SCALE)) 2 /mnt/hmmfs/counts \
			/mnt/tmpfs/counts "${who[@]}" || { seen=1; break; }
	done
	[ -n "$seen" ] || { echo "without fence $fence nothing was lost"; exit 1; }
	umount /mnt/hmmfs
	unload_driver
done

#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A test fails when a fence is left out: 1, write-protect on the device before the dirty state is
# taken; 2, revocation before a page comes home; 4, a page is not uptodate before a frame has its
# slot; 32, the CPU's entries go under the folio's lock; 64, nothing is written back where the
# lower file is getting a hole; 128, the mark on a page that is leaving (256 gives others the time to
# use the page anew, with the mark and without). The first shows where nobody but one engine
# stores, so that nothing else makes the page dirty again.
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
begin() {
	load_driver devices=2 mib=16 skip_fence="$1"
	mount -t hmmfs /mnt/tmpfs /mnt/hmmfs
}
end() {
	umount /mnt/hmmfs
	unload_driver
}

# A lower file that cannot be read any more, from when the test says so.
marked() {
	local status=0
	rm -f /tmp/image
	if ! truncate -s 16M /tmp/image || ! mkfs.ext4 -qF /tmp/image ||
		! mkdir -p /mnt/ext4 /mnt/marked || ! mount -o loop /tmp/image /mnt/ext4 ||
		! mount -t hmmfs /mnt/ext4 /mnt/marked; then
		exit 1
	fi
	"$HMM_BUILD/bin/driver_fence" mark /mnt/marked/file /mnt/ext4/file || status=$?
	umount /mnt/marked
	umount /mnt/ext4
	[ $status -le 1 ] || exit $status
	return $status
}

file=/mnt/hmmfs/counts
race=("$HMM_BUILD/bin/driver_race" $((2 * HMM_TEST_SCALE)) 2 "$file" /mnt/tmpfs/counts)
uptodate=("$HMM_BUILD/bin/driver_fence" uptodate "$file" $((5 * HMM_TEST_SCALE)))
hole=("$HMM_BUILD/bin/driver_fence" hole "$file" $((3 * HMM_TEST_SCALE)))
unmap=("$HMM_BUILD/bin/driver_fence" unmap "$file")

# With all of them: of the race 20-hmmfs sees that.
begin 0
"${uptodate[@]}"
"${unmap[@]}"
"${hole[@]}"
end
begin 256
marked
end
for fence in 1 2 4 32 64 128; do
	case $fence in
	1) run=("${race[@]}" 1) ;;
	2) run=("${race[@]}") ;;
	4) run=("${uptodate[@]}") ;;
	32) run=("${unmap[@]}") ;;
	64) run=("${hole[@]}") ;;
	128) run=(marked) ;;
	esac
	# What it leaves behind hangs newer kernels.
	if [ $fence = 32 ] && ! uname -r | grep -q '^6[.]12[.]'; then
		echo "not without fence 32 on this kernel"
		continue
	fi
	begin $((fence == 128 ? 128 + 256 : fence))
	must_be_seen "$fence" "${run[@]}"
	end
done

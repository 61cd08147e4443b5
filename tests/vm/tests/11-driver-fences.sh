#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A test fails when a fence is left out: 2, the revocation of the engines' entries before a page
# changes; 16, the look at the notifier's sequence before an entry is made; 8, that huge pages are
# collected one at a time; 512, that one engine loses its entry of a pinned page to another.
# limit: 150
set -euo pipefail
# shellcheck source=tests/vm/load.sh
. "$HMM_SRC/tests/vm/load.sh"
if [ "$HMM_VARIANT" != plain ]; then
	echo "skipped: this kernel is too slow to lose a race in the time there is"
	exit 0
fi
for fence in 2 16 8 512; do
	run=("$HMM_BUILD/bin/driver_race" $((2 * HMM_TEST_SCALE)) 2)
	[ $fence != 8 ] || run=("$HMM_BUILD/bin/driver_anonymous" huge)
	[ $fence != 512 ] || run=("$HMM_BUILD/bin/driver_anonymous" turns)
	if [ $fence = 8 ] && ! uname -r | grep -q '^6[.]12[.]'; then
		echo "not without fence 8: this kernel lets go of huge pages that it finds locked"
		continue
	fi
	load_driver devices=2 mib=16 skip_fence=$fence
	must_be_seen "$fence" "${run[@]}"
	unload_driver
done

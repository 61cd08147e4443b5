#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The race test fails when a fence is left out: 2, the revocation of the engines' entries before
# a page changes; 16, the look at the notifier's sequence before an entry is made.
# limit: 120
set -euo pipefail
# shellcheck source=tests/vm/load.sh
. "$HMM_SRC/tests/vm/load.sh"
if [ "$HMM_VARIANT" != plain ]; then
	echo "skipped: this kernel is too slow to lose a race in the time there is"
	exit 0
fi
for fence in 2 16; do
	load_driver devices=2 mib=16 skip_fence=$fence
	seen=
	for _ in {1..20}; do
		"$HMM_BUILD/bin/driver_race" $((2 * HMM_TEST_SCALE)) 2 || { seen=1; break; }
	done
	[ -n "$seen" ] || { echo "without fence $fence nothing was lost"; exit 1; }
	unload_driver
done

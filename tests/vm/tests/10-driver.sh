#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Anonymous pages on the driver's devices.
# limit: 120
set -euo pipefail
# shellcheck source=tests/vm/load.sh
. "$HMM_SRC/tests/vm/load.sh"
load_driver devices=2 mib=16
"$HMM_BUILD/bin/driver_anonymous"
for pages in 1 4 64; do
	"$HMM_BUILD/bin/driver_race" $((3 * HMM_TEST_SCALE)) $pages
done

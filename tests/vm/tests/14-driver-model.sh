#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Random operations against the model of the page states, on the driver.
# limit: 120
set -euo pipefail
# shellcheck source=tests/vm/load.sh
. "$HMM_SRC/tests/vm/load.sh"
load_driver devices=2 mib=8
export POCL_CACHE_DIR=/tmp/pocl
count=$((3000 * HMM_TEST_SCALE))
[ "$HMM_VARIANT" = plain ] || count=$((800 * HMM_TEST_SCALE))
"$HMM_BUILD/bin/model" --backend drm --mode sequential --seed 1 --count $count
"$HMM_BUILD/bin/model" --backend drm --mode racing --seed 1 --count $((3 * count))

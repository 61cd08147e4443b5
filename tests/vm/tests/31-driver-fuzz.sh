#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What the driver is asked that nobody should ask, a million times.
# limit: 400
set -euo pipefail
# shellcheck source=tests/vm/load.sh
. "$HMM_SRC/tests/vm/load.sh"
load_driver devices=2 mib=16
calls=1000000
# The other kernel is ten times slower.
[ "$HMM_VARIANT" = plain ] || calls=100000
"$HMM_BUILD/bin/driver_fuzz" $((calls * HMM_TEST_SCALE))

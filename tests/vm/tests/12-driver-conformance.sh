#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The library's own suites, on the driver.
set -euo pipefail
# shellcheck source=tests/vm/load.sh
. "$HMM_SRC/tests/vm/load.sh"
load_driver devices=2 mib=8
"$HMM_BUILD/bin/conformance" --backend drm
"$HMM_BUILD/bin/api" --backend drm

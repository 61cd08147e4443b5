#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The library's own suites, on the driver, its files on hmmfs.
# limit: 300
set -euo pipefail
# shellcheck source=tests/vm/load.sh
. "$HMM_SRC/tests/vm/load.sh"
load_driver devices=2 mib=8
mkdir -p /mnt/tmpfs /mnt/hmmfs
mount -t tmpfs lower /mnt/tmpfs
mount -t hmmfs /mnt/tmpfs /mnt/hmmfs
export HMM_TEST_HMMFS=/mnt/hmmfs HMM_TEST_LOWER=/mnt/tmpfs
"$HMM_BUILD/bin/conformance" --backend drm
# Expects of a stack in use that most of it goes: not where all is ten times slower.
[ "$HMM_VARIANT" != plain ] || "$HMM_BUILD/bin/api" --backend drm

#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Files that the library maps without the driver: on disks that fail by the device mapper, on a
# filesystem that becomes read-only; with more time, on each filesystem.
# limit: 120
set -euo pipefail
if [ "$HMM_VARIANT" != plain ]; then
	echo "skipped: nothing of ours is in this kernel's part of it"
	exit 0
fi
export HMM_BACKEND=emulated TMPDIR=/tmp
"$HMM_SRC/tests/file/failing.sh" "$HMM_BUILD" --all-read-only
[ "$HMM_TEST_SCALE" -eq 1 ] ||
	"$HMM_SRC/tests/file/filesystems.sh" "$HMM_BUILD" --count 400 --kills 2

#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# hmmctl looks at a program that uses the driver.
# limit: 180
set -euo pipefail
# shellcheck source=tests/vm/load.sh
. "$HMM_SRC/tests/vm/load.sh"
load_driver devices=1 mib=16
export HMM_BACKEND=drm
echo "-- devices"
"$HMM_BUILD/bin/hmmctl" devices | grep -q "pages move by the kernel driver"
for command in stat map; do
	echo "-- $command"
	"$HMM_SRC/tests/tools/$command.sh" "$HMM_BUILD/bin/hmmctl" "$HMM_BUILD/bin/subject"
done
echo "-- trace"
"$HMM_BUILD/bin/hmmctl" trace -o /tmp/trace.json -- "$HMM_BUILD/bin/subject" once
grep -q '"hmm_migrate".*"pages": 64' /tmp/trace.json
grep -q '"resident pages, device 0"' /tmp/trace.json

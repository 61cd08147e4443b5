#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# hmmctl map: map.sh HMMCTL SUBJECT
# shellcheck source=tests/tools/common.sh
source "$(dirname "$0")/common.sh" "$1" "$2"

start_subject
bad_subjects map
expect 2 map "$pid" --seconds 0
expect 2 map "$pid" --png

expect 0 map "$pid"
shows out "^64 pages of process $pid are on a device"
shows out '\.################\..* 64 of [0-9]* pages on a device'
[ "$(wc -l <"$scratch/out")" -eq 2 ] || complain "more than one mapping: $(cat "$scratch/out")"
expect 0 map "$pid" --all
shows out ' 0 of [0-9]* pages on a device  \[stack\]'

expect 0 map "$pid" --png "$scratch/map.png" --seconds 1
[ "$(head -c 4 "$scratch/map.png" | tail -c 3)" = PNG ] || complain "no picture"
expect 1 map "$pid" --png "$scratch/none/map.png" --seconds 1
end_subject
expect 1 map "$pid"
exit $failed

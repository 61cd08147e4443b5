#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# ThreadSanitizer looks at the library at work. Its memory lies where an engine's may be, so tests
# can fail with it for want of addresses; what counts is whether it reports a race. Now and then
# one hangs: ThreadSanitizer's own memory has got into a range that migrates, and a handler waits for
# itself when it touches that. So that is begun anew, five times at most.
# Usage: tests/races.sh BUILD, of the preset "tsan".
set -euo pipefail
build=${1:?}
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# One suite with one algorithm; @limit in seconds is some ten times what it takes alone.
look() {
	local suite=$1 algorithm=$2 limit=$3 name=$logs/$1-$2 status ran reports
	for _ in {1..6}; do
		status=0
		# A pipe, for one test limits the size of files.
		TSAN_OPTIONS=die_after_fork=0 timeout -k 5 "$limit" \
			"$build/bin/$suite" --backend emulated --algorithm "$algorithm" 2>&1 |
			cat >"$name" || status=$?
		[ $status -eq 124 ] || [ $status -eq 137 ] || break
		echo "$suite, $algorithm: hangs"
	done
	ran=$(awk '$1 == "tests" { print $3 }' "$name")
	reports=$(grep -ac 'ThreadSanitizer: reported' "$name" || true)
	echo "$suite, $algorithm: ${ran:-0} tests ran, $reports processes with races"
	[ "${ran:-0}" -gt 10 ] && [ "$reports" -eq 0 ]
}

# Both algorithms at a time: they wait more than they compute.
export HMM_TEST_PATIENCE=4 # and what goes on for a time goes on for less
found=0
for suite in "api 120" "conformance 180"; do
	# shellcheck disable=SC2086
	set -- $suite
	look "$1" move "$2" &
	look "$1" wp "$2" || found=1
	wait $! || found=1
done
[ $found -eq 0 ] || grep -ahA60 'WARNING: ThreadSanitizer' "$logs"/* | head -n 500 || true
exit $found

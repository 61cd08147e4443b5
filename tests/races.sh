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
found=0
for suite in api conformance; do
	limit=40 # seconds; some ten times what it takes
	[ $suite = api ] || limit=120
	for algorithm in move wp; do
		before=$(find "$logs" -type f | wc -l)
		for _ in {1..6}; do
			status=0
			TSAN_OPTIONS="die_after_fork=0 log_path=$logs/$suite-$algorithm" \
				timeout -k 5 $limit "$build/bin/$suite" --backend emulated \
				--algorithm $algorithm >"$logs.out" 2>&1 || status=$?
			[ $status -eq 124 ] || [ $status -eq 137 ] || break
			echo "$suite, $algorithm: hangs"
		done
		ran=$(awk '$1 == "tests" { print $3 }' "$logs.out")
		rm -f "$logs.out"
		reports=$(($(find "$logs" -type f | wc -l) - before))
		echo "$suite, $algorithm: ${ran:-0} tests ran, $reports processes with races"
		[ "${ran:-0}" -gt 10 ] && [ $reports -eq 0 ] || found=1
	done
done
[ $found -eq 0 ] || cat "$logs"/* 2>/dev/null | grep -A40 'WARNING: ThreadSanitizer' || true
exit $found

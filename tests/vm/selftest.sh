# shellcheck shell=bash disable=SC2034,SC2154 # run.sh's variables
# SPDX-License-Identifier: MIT
# The tests of run.sh itself: each mistake in a machine of its own, and run.sh must report it by
# its name. Sourced by run.sh.

# Test $1, as part of "$1 pass", must be reported with a text that holds $2; "-": must pass.
expect() {
	local name=$1 text=$2 names=("$1") wrong=''
	failure=()
	# Whoever comes after it must be run all the same.
	[ "$name" = pass ] || names+=(pass)
	: >"$run/report"
	run_tests "${names[@]}" >"$run/report" 2>&1
	if [ "$text" = - ]; then
		[ ${#failure[@]} -eq 0 ] || wrong="is reported as a failure"
	elif [ ${#failure[@]} -eq 0 ]; then
		wrong="is not noticed"
	elif ! grep -qE "^FAILED: .*$text" "$run/report"; then
		wrong="is reported, but not as \"$text\""
	elif [ ! -s "$run/shared/result.pass" ] || [ -n "${failure[pass]:-}" ]; then
		wrong="took the next test with it"
	fi
	count=$((count + 1))
	if [ -n "$wrong" ]; then
		echo "$name: WRONG: it $wrong"
		sed 's/^/    /' "$run/report"
		failures=$((failures + 1))
	else
		echo "$name: as it should be"
	fi
}

self_test() {
	local count=0 failures=0
	build_module "$here/selftest"
	tests=$here/selftest limit=10 grace=15
	[ "$variant" = plain ] || limit=20
	expect pass -
	expect fail "fail: exit status 1"
	expect hang "hang: took longer than it may"
	expect warn "warn: the kernel complains"
	expect crash "crash: the kernel complains"
	expect reset "reset: the machine died"
	expect wedge "wedge: the machine hung"
	if [ "$variant" = debug ]; then
		expect leak "leaks: kmemleak reports"
		expect lockorder "lockorder: the kernel complains"
		expect freed "freed: the kernel complains"
	fi
	echo "Linux $(cat "$kernel/release") ($variant): $count tests of run.sh, $failures failed"
	[ "$failures" -eq 0 ]
}

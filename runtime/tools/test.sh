#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# hmmctl: what it prints, and how it ends. test.sh HMMCTL VECADD
set -uo pipefail
hmmctl=$1 vecadd=$2
failed=0
scratch=$(mktemp -d)
export TMPDIR=$scratch HMM_EMULATED_BYTES=16M
trap 'rm -rf "$scratch"' EXIT

# expect STATUS ARG...: hmmctl ends so; its output is in out and err.
expect() {
	local want=$1 got=0
	shift
	"$hmmctl" "$@" >"$scratch/out" 2>"$scratch/err" || got=$?
	[ "$got" -eq "$want" ] || complain "hmmctl $*: status $got, not $want"
}

complain() {
	echo "$*" >&2
	failed=1
}

shows() { grep -q -- "$2" "$scratch/$1" || complain "no '$2' in std$1: $(cat "$scratch/$1")"; }

for wrong in "" frob "run" "run --" "run -x" "devices x" "devices --json x" "--version x"; do
	# shellcheck disable=SC2086 # words
	expect 2 $wrong
	shows err usage
done
expect 0 --help
shows out 'hmmctl run'
expect 0 --version
shows out '^hmmctl [0-9]*\.[0-9]*\.[0-9]*$'

HMM_EMULATED_DEVICES=2 expect 0 devices
shows out '^1  HMM emulated device 1'
expect 0 devices --json
shows out '"bytes": 16777216'
HMM_BACKEND=nonsense expect 1 devices
shows err 'no devices'

expect 0 run -- "$vecadd" 1
shows err ' 1  kernels launched'
shows err '[1-9][0-9]*  pages to the device'
expect 5 run sh -c 'exit 5'
expect 127 run -- "$scratch/none"
expect 126 run -- "$scratch"
# shellcheck disable=SC2016
expect 137 run -- sh -c 'kill -KILL $$'
# shellcheck disable=SC2016
expect 143 run -- sh -c 'kill -TERM $$'

# A signal for hmmctl is the program's.
# shellcheck disable=SC2016 # for the other shell
"$hmmctl" run -- sh -c 'trap "exit 7" TERM; touch "$TMPDIR/ready"; while :; do sleep 0.05; done' \
	2>/dev/null &
for _ in {1..200}; do
	[ -e "$scratch/ready" ] && break
	sleep 0.05
done
kill -TERM $!
wait $!
status=$?
[ "$status" -eq 7 ] || complain "after SIGTERM: status $status, not 7"
rm -f "$scratch"/{out,err,ready}
[ -z "$(ls "$scratch")" ] || complain "left behind: $(ls "$scratch")"
exit $failed

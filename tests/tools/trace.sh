#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# hmmctl trace: trace.sh HMMCTL SUBJECT
# shellcheck source=tests/tools/common.sh
source "$(dirname "$0")/common.sh" "$1" "$2"
json=$scratch/trace.json
export TMPDIR=$scratch/tmp
mkdir "$TMPDIR"

# count NAME: how many events of it
count() {
	python3 - "$json" "$1" <<'PY'
import json, sys
events = json.load(open(sys.argv[1]))["traceEvents"]
print(sum(e["name"] == sys.argv[2] for e in events))
PY
}

for wrong in "" "--" "-o" "--events 0 -- true" "--events x -- true" "--nonsense true"; do
	# shellcheck disable=SC2086 # words
	expect 2 trace $wrong
done
expect 127 trace -o "$json" -- "$scratch/none"
expect 1 trace -o "$scratch/none/trace.json" -- "$subject" once

for mode in once pass; do
	expect 0 trace -o "$json" -- "$subject" "$mode"
	python3 -m json.tool "$json" >/dev/null || complain "$mode: no JSON"
	[ "$(count hmm_migrate)" -eq 1 ] || complain "$mode: not one hmm_migrate"
	[ "$(count "CPU fault")" -ge 1 ] || complain "$mode: no CPU fault"
	[ "$(count "to system")" -ge 1 ] || complain "$mode: nothing came home"
	shows err ' 0 dropped'
done

# What a migration did lies within it.
python3 - "$json" <<'PY' || complain "events are not what they should be"
import json, sys
events = [e for e in json.load(open(sys.argv[1]))["traceEvents"] if e["ph"] == "X"]
moved = [e for e in events if e["name"] == "hmm_migrate"][0]
assert moved["args"]["pages"] == 64 and moved["args"]["device"] == 0 and moved["dur"] > 0, moved
inside = [e for e in events if e["name"] == "to device" and e["tid"] == moved["tid"]]
assert inside and all(moved["ts"] <= e["ts"] and
		      e["ts"] + e["dur"] <= moved["ts"] + moved["dur"] for e in inside)
PY

# Small rings run full, and say so; every event is there or counted.
expect 0 trace --events 16 -o "$json" -- "$subject" storm
python3 -m json.tool "$json" >/dev/null || complain "storm: no JSON"
shows err ' [1-9][0-9]* dropped'
expect 0 trace -o "$json" --events 65536 -- "$subject" storm
shows err ' 0 dropped'
[ "$(count hmm_migrate)" -eq 2000 ] || complain "storm: $(count hmm_migrate) of 2000 events"

# The status is the program's; one that is killed leaves what was written.
expect 5 trace -o "$json" -- sh -c 'exit 5'
python3 -m json.tool "$json" >/dev/null || complain "no events: no JSON"
# shellcheck disable=SC2016 # for the other shell
expect 137 trace -o "$json" -- sh -c "$subject hold </dev/zero >'$scratch/ready' &
	until [ -s '$scratch/ready' ]; do sleep 0.1; done; kill -KILL \$! \$\$"
python3 -m json.tool "$json" >/dev/null || complain "killed: no JSON"
[ "$(count hmm_migrate)" -eq 1 ] || complain "killed: what was written is not there"

# The probes of the same events are in the library.
if [ -n "${HMM_TEST_PROBES:-}" ]; then
	library=$(ldd "$subject" | awk '/libhmm/ { print $3 }')
	for probe in cpu_fault_begin cpu_fault device_fault_begin device_fault migrate to_device \
		to_system across evict writeback launch_begin launch_end; do
		readelf -n "$library" | grep -q "Name: $probe\$" || complain "no probe $probe"
	done
fi

# Without it nothing is written.
(cd "$TMPDIR" && "$subject" once >/dev/null)
[ -z "$(ls "$TMPDIR")" ] || complain "left behind: $(ls "$TMPDIR")"
exit $failed

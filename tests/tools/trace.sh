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

# Of mapped files, too: each event has an address of the mapping, and as many pages as really moved.
expect 0 trace -o "$json" -- "$subject" file
shows err ' 0 dropped'
python3 - "$json" "$scratch/out" <<'PY' || complain "events of a file are not what they should be"
import json, sys
events = [e for e in json.load(open(sys.argv[1]))["traceEvents"] if e["ph"] == "X"]
at = dict(line.split() for line in open(sys.argv[2]) if line.split()[0] in ("file", "ready"))
PAGE, FIRST, MOVED, STORED = 4096, 96, 64, 16
lost = [e for e in events if e["name"] in ("to device", "to system", "evict", "writeback")
	if int(e["args"]["address"], 16) == 0 and e["args"]["pages"] > 0]
assert not lost, lost

def named(name, start, pages):
	return [e for e in events if e["name"] == name and
		start <= int(e["args"]["address"], 16) < start + pages * PAGE]

def pages(name, start, n):
	return sum(e["args"]["pages"] for e in named(name, start, n))

def within(inner, outer):
	return [e for e in inner if e["tid"] == outer["tid"] and outer["ts"] <= e["ts"] and
		e["ts"] + e["dur"] <= outer["ts"] + outer["dur"]]

file, memory = int(at["file"], 16), int(at["ready"], 16)
calls = named("hmm_migrate", file, 1024)
assert [c["args"]["pages"] for c in calls] == [MOVED, MOVED, 1024], calls
there = named("to device", file, 1024)
assert [sum(e["args"]["pages"] for e in within(there, c)) for c in calls[:2]] == [MOVED, 0], there
assert named("CPU fault", file + FIRST * PAGE, MOVED), "no CPU fault"
assert pages("to system", file + FIRST * PAGE, MOVED) >= MOVED, named("to system", file, 1024)
assert named("device fault", file, 1), "no device fault"
sync = named("hmm_sync", file, 1024)
assert len(sync) == 1 and sync[0]["args"]["pages"] == 1024, sync
assert pages("writeback", file + FIRST * PAGE, STORED) >= STORED, named("writeback", file, 1024)
assert all(e["args"]["pages"] <= STORED for e in named("writeback", file, 1024)), sync
gone = named("evict", file, 1024)
assert sum(e["args"]["pages"] for e in gone) == 1024, gone
assert int(gone[0]["args"]["address"], 16) == file + FIRST * PAGE, gone
assert gone[0]["args"]["pages"] == STORED, gone
# Memory: the second hmm_migrate() moved nothing, and what stays as a copy has come home.
assert pages("to device", memory, 256) == 256, named("to device", memory, 256)
assert pages("to system", memory, 256) == 256, named("to system", memory, 256)
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
	readelf -n "$library" >"$scratch/notes"
	for probe in cpu_fault_begin cpu_fault device_fault_begin device_fault migrate to_device \
		to_system across evict writeback sync launch_begin launch_end; do
		grep -q "Name: $probe\$" "$scratch/notes" || complain "no probe $probe"
	done
fi

# Without it nothing is written.
(cd "$TMPDIR" && "$subject" once >/dev/null)
[ -z "$(ls "$TMPDIR")" ] || complain "left behind: $(ls "$TMPDIR")"
exit $failed

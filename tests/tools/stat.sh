#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# hmmctl stat: stat.sh HMMCTL SUBJECT
# shellcheck source=tests/tools/common.sh
source "$(dirname "$0")/common.sh" "$1" "$2"

start_subject
bad_subjects stat
expect 2 stat "$pid" 0
expect 2 stat "$pid" 1 0
expect 2 stat "$pid" 1 1 1

expect 0 stat "$pid" 0.05 3
[ "$(wc -l <"$scratch/out")" -eq 4 ] || complain "not a header and 3 lines: $(cat "$scratch/out")"
sed -n 2p "$scratch/out" | grep -Eq '^ +64 +64 +0 ' ||
	complain "the first line has not what was: $(cat "$scratch/out")"
sed -n 3p "$scratch/out" | grep -Eq '^ +64 +0 +0 ' ||
	complain "the second line has not what is new: $(cat "$scratch/out")"

expect 0 stat "$pid" 0.05 2 --json
while read -r line; do
	python3 -m json.tool >/dev/null <<<"$line" || complain "no JSON: $line"
done <"$scratch/out"
shows out '"resident_pages": 64, "pages_to_device": 64,'
shows out "\"backend\": \"${HMM_BACKEND:-emulated}\""

# What is no question gets no answer; what is one gets none from a stranger.
cat >"$scratch/ask.py" <<'PY'
import os, socket, struct, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect("\0libhmm-" + sys.argv[1])
s.settimeout(10 * int(os.environ.get("HMM_TEST_PATIENCE", 1)))
try:
    s.send(struct.pack("IIIIQ", int(sys.argv[2], 16), 1, int(sys.argv[3]), 1, 0))
    sys.exit(0 if s.recv(65536) else 1)
except OSError:
    sys.exit(1)
PY
python3 "$scratch/ask.py" "$pid" 484d4d49 1 || complain "a right question has no answer"
python3 "$scratch/ask.py" "$pid" 12345678 1 && complain "a wrong question has an answer"
python3 "$scratch/ask.py" "$pid" 484d4d49 77 && complain "an unknown question has an answer"
if [ "$(id -u)" -eq 0 ]; then
	setpriv --reuid=65534 --regid=65534 --clear-groups \
		/usr/bin/python3 "$scratch/ask.py" "$pid" 484d4d49 1
	[ $? -eq 1 ] || complain "a stranger has an answer"
fi
expect 0 stat "$pid" 0.05 1

# It ends while it is watched.
: >"$scratch/out"
"$hmmctl" stat "$pid" 0.05 >"$scratch/out" 2>/dev/null 9>&- &
watcher=$!
# It has seen the process once it printed: how long its start takes is the machine's affair.
for _ in $(seq 300); do
	[ -s "$scratch/out" ] && break
	sleep 0.1
done
end_subject
wait $watcher || complain "stat of a process that ends: status $?"
expect 1 stat "$pid"
exit $failed

#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A negative control: a test without one of its fences, which must see what the fence prevents. That
# takes luck, more of it on a busy machine, so it is begun anew until it has.
#
#   tests/control.sh LIMIT [--fails] COMMAND...
#
# LIMIT: of seconds, when none is begun any more. COMMAND ends with 0 when it has seen it, and with 3
# (tests/control.h) when it has not; all else says that something is wrong with the control itself.
# --fails: COMMAND knows nothing of that. It sees by failing (1), or dies of what it sees.
set -uo pipefail
limit=${1:?}
shift
fails=
[ "${1:?}" != --fails ] || { fails=1; shift; }

# As above, of one that fails: killed by SIGABRT, SIGBUS or SIGSEGV, too.
seen_by_failing() {
	case $1 in
	0) echo 3 ;;
	1 | 134 | 135 | 139) echo 0 ;;
	3) echo 2 ;;
	*) echo "$1" ;;
	esac
}

for ((attempts = 1; ; attempts++)); do
	status=0
	"$@" || status=$?
	[ -z "$fails" ] || status=$(seen_by_failing $status)
	case $status in
	0) echo "seen in attempt $attempts, $SECONDS s"; exit 0 ;;
	3) [ $SECONDS -lt "$limit" ] || { echo "not seen in $attempts attempts, $SECONDS s"; exit 1; } ;;
	*) echo "no control: status $status"; exit "$status" ;;
	esac
done

# SPDX-License-Identifier: MIT
# Sourced: common.sh HMMCTL SUBJECT
# shellcheck shell=bash disable=SC2034 # used by who sources this
set -uo pipefail
hmmctl=$1 subject=$2
failed=0
scratch=$(mktemp -d)
chmod 755 "$scratch"
export HMM_EMULATED_BYTES=16M

# Not in a child that is ended before it has forgotten the trap.
cleanup() {
	[ "$BASHPID" -eq $$ ] || return 0
	[ -z "${pid:-}" ] || kill "$pid" 2>/dev/null
	rm -rf "$scratch"
}
trap cleanup EXIT

complain() {
	echo "$*" >&2
	failed=1
}

# expect STATUS ARG...: hmmctl ends so; its output is in out and err.
expect() {
	local want=$1 got=0
	shift
	"$hmmctl" "$@" >"$scratch/out" 2>"$scratch/err" || got=$?
	[ "$got" -eq "$want" ] || complain "hmmctl $*: status $got, not $want: $(cat "$scratch/err")"
}

shows() { grep -q -- "$2" "$scratch/$1" || complain "no '$2' in std$1: $(cat "$scratch/$1")"; }

# A subject that holds pages on the device: its pid in $pid, its memory's address in $address.
start_subject() {
	mkfifo "$scratch/in"
	: >"$scratch/ready"
	"$subject" hold <"$scratch/in" >"$scratch/ready" &
	pid=$!
	exec 9>"$scratch/in"
	for _ in {1..1200}; do
		read -r _ address <"$scratch/ready" && return
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.05
	done
	local status=0
	wait "$pid" || status=$?
	pid=
	echo "the subject does not start: status $status" >&2
	exit "$status"
}

end_subject() {
	exec 9>&-
	wait "$pid" || complain "the subject failed"
}

# Who is no process, no process of ours, no process with libhmm. $1: the command
bad_subjects() {
	local none=4194305
	expect 2 "$1"
	shows err usage
	for wrong in x 0 -1 1x "" 99999999999999999999; do
		expect 2 "$1" "$wrong"
	done
	expect 2 "$1" --nonsense 1
	expect 1 "$1" "$none"
	shows err "no process $none"
	sleep 60 &
	expect 1 "$1" $!
	shows err "does not use libhmm"
	kill $!
	other_user "$1"
}

other_user() {
	if [ "$(id -u)" -ne 0 ]; then
		expect 1 "$1" 1
		shows err "belongs to another user"
	elif setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$hmmctl"; then
		setpriv --reuid=65534 --regid=65534 --clear-groups "$hmmctl" "$1" "$pid" \
			2>"$scratch/err" && complain "$1: another user's process answered"
		shows err "belongs to another user"
	fi
}

#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs in the virtual machine, with the host's programs: the named tests one by one. Output goes
# to the second serial line; what happened goes to files in the shared folder:
#
#   now           what is being done, and how many seconds it may take
#   ready         there from the first test on
#   result.NAME   exit status of a test
#   kmemleak      what the leak detector found (debug kernel)
#   done          every test has run, and this is its end
set -u
shared=/run/hmm
# shellcheck source=/dev/null
. "$shared/environment"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp/home TERM=dumb
stty -F /dev/ttyS1 -echo -opost 2>/dev/null
exec </dev/null >/dev/ttyS1 2>&1

now() {
	echo "hmm-vm: $1" >/dev/kmsg
	echo "$1 $2" >"$shared/now.new"
	mv "$shared/now.new" "$shared/now"
}

# "# limit: N" in a test is in seconds, for a plain kernel, counts times 1 and a machine with nothing
# else to do. Another one may be beside it.
limit_of() {
	local limit
	limit=$(sed -n 's/^# limit: *\([0-9]*\).*/\1/p' "$1" | head -n 1)
	limit=$((${limit:-120} * HMM_TEST_SCALE * 2))
	[ "$HMM_VARIANT" = plain ] || limit=$((limit * 4))
	echo "${HMM_LIMIT:-$limit}"
}

# What everybody waits for is worth more than that somebody waits.
show_tasks() {
	sleep "$1"
	echo "hmm-vm: time limit" >/dev/kmsg
	echo w >/proc/sysrq-trigger
	echo l >/proc/sysrq-trigger
}

run_test() {
	local name=$1 file=$HMM_TESTS_FOLDER/$1.sh limit status watcher
	limit=$(limit_of "$file")
	now "test $name" "$limit"
	# With counted instructions time leaps while everybody waits for the host, who keeps the limit.
	[ -z "${HMM_ICOUNT:-}" ] || limit=$((limit * 100000))
	[ -e "$shared/ready" ] || : >"$shared/ready"
	echo "=== $name"
	show_tasks "$limit" >/dev/null 2>&1 &
	watcher=$!
	(cd /tmp && exec timeout -k 5 $((limit + 2)) "$file")
	status=$?
	kill "$watcher" 2>/dev/null
	echo "$status" >"$shared/result.$name"
	echo "=== $name: exit status $status"
	return "$status"
}

# An object counts as leaked when it is older than 5 s and two scans find no pointer to it.
find_leaks() {
	local file=/sys/kernel/debug/kmemleak
	now "leaks" 900
	sleep 6
	{ echo scan >$file && echo scan >$file && cat $file; } >"$shared/kmemleak" 2>&1 ||
		echo "kmemleak does not work" >>"$shared/kmemleak"
}

# Two such machines share two processors, and one of them looks for mistakes all the time.
HMM_TEST_PATIENCE=4
[ "$HMM_VARIANT" = plain ] || HMM_TEST_PATIENCE=20
export HMM_TEST_PATIENCE

cd /proc/sys/kernel || exit 1
echo 120 >hung_task_timeout_secs
[ "$HMM_VARIANT" = plain ] || echo 300 >hung_task_timeout_secs
[ -z "${HMM_ICOUNT:-}" ] || echo 0 >hung_task_timeout_secs
echo 1 >hung_task_panic
echo 1 >unknown_nmi_panic
[ ! -e watchdog_thresh ] || echo 30 >watchdog_thresh
cd /

if [ -n "${HMM_SHELL:-}" ]; then
	stty -F /dev/ttyS1 sane
	cd "$HMM_SRC" && setsid -c -w bash -i </dev/ttyS1
	exit
fi
for name in $HMM_TESTS; do
	# After a failure nothing is known about the kernel: the rest gets another machine.
	run_test "$name" || exit
done
[ "$HMM_VARIANT" = plain ] || find_leaks
now end 300
cat /proc/sys/kernel/tainted >"$shared/done"
sync

#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests on a kernel of our own, in a virtual machine: builds the kernel (cached), the module and
# what runs there, boots, and takes each test's result from a shared folder, never from the
# absence of output. Whatever the kernel complains about is a failure.
#
#   tests/vm/run.sh [--kernel 6.12|7.2] [--debug] [--only NAME]... [--scale N] [--icount]
#                   [--self-test | --kill | --shell | --prepare]
#
#   --debug       a kernel that looks for mistakes: KASAN, lockdep, kmemleak and others
#   --only NAME   tests/vm/tests/NAME.sh (several: once each); default: all of them
#   --scale N     counts and time limits times N
#   --icount      time is the number of instructions: to compare costs
#   --self-test   see this script find a failure, a hang, a warning, a crash and others
#   --kill        kill the machine in the middle, and look at its disk
#   --shell       a shell in the machine; Ctrl-A X ends it
#   --prepare     only what a run needs: packages, kernel, programs
#
# Environment: HMM_VM_CACHE folder of kernels (kernel.sh); HMM_VM_KERNEL one that it has built;
# HMM_BUILD build folder of the programs, taken as it is; HMM_VM_KEEP folder to leave the logs in;
# HMM_VM_QEMU more arguments.
# shellcheck disable=SC2034 # variables of machine.sh
set -euo pipefail
began=$EPOCHREALTIME
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."

version=6.12 variant=plain only=() scale=${HMM_TEST_SCALE:-1} self_test='' kill='' shell='' icount=''
only_prepare=''
while [ $# -gt 0 ]; do
	case $1 in
	--kernel) version=${2:?}; shift ;;
	--debug) variant=debug ;;
	--only) only+=("${2:?}"); shift ;;
	--scale) scale=${2:?}; shift ;;
	--icount) icount=1 ;;
	--self-test) self_test=1 ;;
	--kill) kill=1 ;;
	--shell) shell=1 ;;
	--prepare) only_prepare=1 ;;
	*) sed -n '3,22p' "$0" >&2; exit 2 ;;
	esac
	shift
done

# shellcheck source=tests/vm/machine.sh
. "$here/machine.sh"
declare -A failure=()
tests=$here/tests limit='' grace=30 machine_pid='' overdue='' first='?'
run=$(mktemp -d "${TMPDIR:-/tmp}/hmm-vm.XXXXXX")

finish() {
	[ -z "$machine_pid" ] || kill "$machine_pid" 2>/dev/null || true
	if [ -n "${HMM_VM_KEEP:-}" ]; then
		mkdir -p "$HMM_VM_KEEP"
		cp "$run"/*.log "$HMM_VM_KEEP" 2>/dev/null || true
	fi
	rm -rf "$run"
}
trap finish EXIT
trap 'exit 130' INT TERM

fail() {
	echo "FAILED: $1: $2"
	failure[$1]=1
}

# Builds the programs that the tests run. Runs at the same time take turns.
build_programs() {
	[ -z "${HMM_BUILD:-}" ] || return 0
	mkdir -p build
	(flock 9 && cmake --preset default && cmake --build build) 9>build/.vm-lock \
		>"$run/build.log" 2>&1 || { tail -n 40 "$run/build.log" >&2; return 1; }
}

prepare() {
	scripts/setup.sh flex bison libelf-dev libssl-dev bc qemu-system-x86 busybox-static cpio \
		kmod sparse xz-utils make gcc e2fsprogs git sqlite3 debian-archive-keyring
	kernel=${HMM_VM_KERNEL:-$("$here/kernel.sh" "$version" "$variant")}
	build=$(realpath -m "${HMM_BUILD:-build}")
	mkdir -p "$build" "$run/shared/modules"
	mkfifo "$run/monitor.in" "$run/monitor.out"
	[ ! -e kernel-driver/Kbuild ] || build_module "$PWD/kernel-driver" HMMDRM_SELFTEST=1
	build_module "$here/hotplug"
	[ -z "$icount" ] || build_module "$here/floor"
	cp "$kernel/build/lib/test_hmm.ko" "$run/shared/modules/"
	pack_initramfs
}

# Reads what the kernel said and holds it against the tests that ran.
judge_kernel() {
	local name
	awk -f "$here/complaints.awk" "$run/kernel.log" >"$run/complaints" || true
	while read -r name; do
		fail "$name" "the kernel complains:"
		awk -F '\t' -v name="$name" '$1 == name' "$run/complaints" | cut -f 2- | head -n 60
	done < <(cut -f 1 "$run/complaints" | uniq | awk '!seen[$0]++')
	# The leak detector must have run, and found nothing.
	[ -e "$run/shared/done" ] && [ "$variant" = debug ] || return 0
	if [ ! -e "$run/shared/kmemleak" ]; then
		fail leaks "kmemleak did not run"
	elif [ -s "$run/shared/kmemleak" ]; then
		fail leaks "kmemleak reports:"
		head -n 60 "$run/shared/kmemleak"
	fi
}

# What became of the tests in todo, which were given to one boot; those that it did not come to
# stay in todo.
judge() {
	local name now='' status rest=() before=${#failure[@]}
	[ ! -e "$run/shared/now" ] || now=$(cat "$run/shared/now")
	for name in "${todo[@]}"; do
		if [ -s "$run/shared/result.$name" ]; then
			status=$(cat "$run/shared/result.$name")
			case $status in
			0) ;;
			124 | 137) fail "$name" "took longer than it may ($status)" ;;
			*) fail "$name" "exit status $status" ;;
			esac
		elif [ "${now% *}" = "test $name" ]; then
			fail "$name" "the machine ${overdue:-died}; its last words:"
			tail -n 30 "$run/kernel.log"
		else
			rest+=("$name")
		fi
	done
	judge_kernel
	if [ ${#rest[@]} -eq ${#todo[@]} ]; then
		for name in "${todo[@]}"; do
			fail "$name" "the machine did not come to it"
		done
		cat "$run/qemu.log"
		tail -n 30 "$run/kernel.log"
		rest=()
	elif [ ! -e "$run/shared/done" ] && [ ${#failure[@]} -eq "$before" ]; then
		fail end "the machine ended before its end; its last words:"
		tail -n 30 "$run/kernel.log"
	elif [ -e "$run/shared/done" ] && (($(cat "$run/shared/done") & 0x42a0)); then
		fail end "the kernel is tainted ($(cat "$run/shared/done"))"
	fi
	todo=("${rest[@]}")
}

run_tests() {
	local todo=("$@")
	while [ ${#todo[@]} -gt 0 ]; do
		boot "${todo[@]}"
		[ "$first" != '?' ] || [ ! -e "$run/shared/ready" ] ||
			first=$(stat -c %.Y "$run/shared/ready")
		judge
	done
}

if [ ${#only[@]} -eq 0 ]; then
	mapfile -t only < <(cd "$tests" && printf '%s\n' [0-9]*.sh | sed 's/\.sh$//')
fi
for name in "${only[@]}"; do
	[ -x "$tests/$name.sh" ] || { fail "$name" "there is no such test"; exit 1; }
done
[ -n "$self_test" ] || build_programs
prepare
[ -z "$only_prepare" ] || exit 0
if [ -n "$shell" ]; then
	boot
	exit
fi
if [ -n "$self_test" ]; then
	# shellcheck source=tests/vm/selftest.sh
	. "$here/selftest.sh"
	self_test
	exit
fi
if [ -n "$kill" ]; then
	# shellcheck source=tests/vm/kill.sh
	. "$here/kill.sh"
	kill_test
	exit
fi
run_tests "${only[@]}"
[ "$first" = '?' ] || first=$(awk "BEGIN { printf \"%.1f\", $first - $began }")
echo "Linux $(cat "$kernel/release") ($variant): ${#only[@]} tests, ${#failure[@]} failed," \
	"first test after $first s, $SECONDS s in all"
[ ${#failure[@]} -eq 0 ]

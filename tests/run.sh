#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# All tests, from a bare Debian: installs what is missing, builds, runs, and ends with the
# runner's own summary.
#
#   tests/run.sh [--quick] [--full] [--scale N]
#
#   --quick    leave out what needs a virtual machine
#   --full     the long runs: counts times ten, and every test on every kernel
#   --scale N  counts of the stress tests times N
set -euo pipefail
cd "$(dirname "$0")/.."

scale=1 vm=1 full=
while [ $# -gt 0 ]; do
	case $1 in
	--quick) vm= ;;
	--full) scale=10 full=1 ;;
	--scale) scale=${2:?--scale wants a number}; shift ;;
	*) sed -n '3,12p' "$0" >&2; exit 2 ;;
	esac
	shift
done
export HMM_TEST_SCALE=$scale

scripts/setup.sh g++ libcunit1-dev clinfo python3-pyopencl python3-numpy shellcheck codespell \
	clang-tidy clang-format git util-linux systemtap-sdt-dev ccache python3-minimal \
	e2fsprogs xfsprogs btrfs-progs dmsetup
# What was compiled once, in whatever folder, is not compiled again.
export CMAKE_C_COMPILER_LAUNCHER=ccache CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
echo "== counts times $scale, as $(id -un), Linux $(uname -r)"

cmake --preset default >/dev/null
cmake --build build
scripts/check build

# The engine keeps its addresses free for the client's, so only the library and the tests are
# built with sanitizers.
cmake --preset asan >/dev/null
cmake --build build-asan
cmake --preset tsan >/dev/null
cmake --build build-tsan --target api conformance unit unit_wire hmm-engine

# Tests wait for faults and for timers more than they compute.
jobs=$(($(nproc) + 1))
run_ctest() { ctest --test-dir "$1" --output-on-failure -j "$jobs" "${@:2}"; }

status=0
echo "== with AddressSanitizer and UndefinedBehaviorSanitizer"
run_ctest build-asan -L asan || status=1
echo "== with ThreadSanitizer"
run_ctest build-tsan -R '^unit(_wire)?$' || status=1
tests/races.sh build-tsan || status=1
if [ "$(id -u)" -eq 0 ] && ! setpriv --reuid=65534 --regid=65534 --clear-groups \
	test -x "$PWD/build/bin/api"; then
	echo "== not as an ordinary user: one cannot enter $PWD"
elif [ "$(id -u)" -eq 0 ]; then
	echo "== as an ordinary user, with user-mode faults only"
	home=$(mktemp -d)
	chown 65534:65534 "$home"
	mkdir -p build/Testing/Temporary
	chmod -R a+rwX build/Testing
	setpriv --reuid=65534 --regid=65534 --clear-groups env HOME="$home" \
		HMM_TEST_SCALE="$scale" ctest --test-dir build --output-on-failure -j "$jobs" \
		-L user || status=1
	rm -rf "$home"
fi
echo "== all tests"
run_ctest build || status=1
if [ -n "$vm" ]; then
	echo "== on kernels of our own, in virtual machines"
	debug=(--debug)
	if [ -z "$full" ]; then
		# What looks at the driver most closely; the library's suites and OpenCL take too long there.
		for name in 00-boot 10-driver 14-driver-model 20-hmmfs \
			22-hmmfs-lower 30-driver-answers 31-driver-fuzz 32-driver-faults; do
			debug+=(--only "$name")
		done
	fi
	# A machine seldom has work for two processors: both at a time, once each has its kernel.
	tests/vm/run.sh --prepare && tests/vm/run.sh --debug --prepare || status=1
	log=$(mktemp)
	tests/vm/run.sh "${debug[@]}" >"$log" 2>&1 &
	tests/vm/run.sh || status=1
	wait $! || status=1
	cat "$log"
	rm "$log"
	[ -z "$full" ] || tests/vm/run.sh --kernel 7.2 || status=1
fi
exit $status

#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Shared pointers on a device that the CPU cannot address, on this machine, now.
# Installs what is missing, builds, runs the examples, shows where the pages are.
set -euo pipefail
cd "$(dirname "$0")/.."

bold() { printf '\n\033[1m%s\033[0m\n' "$*"; }
trap 'echo "demo: stopped at line $LINENO" >&2' ERR

scripts/setup.sh
if [ ! -x build/bin/oversubscribe ] || [ -n "$(find runtime examples include -newer build/bin/oversubscribe -name '*.[ch]' -print -quit)" ]; then
	bold "Building"
	log=$(mktemp)
	if ! { cmake -G Ninja -S . -B build -DHMM_BUILD_TESTS=OFF && cmake --build build; } \
		>"$log" 2>&1; then
		tail -n 30 "$log" >&2
		exit 1
	fi
	rm -f "$log"
fi

stats=$(mktemp -d)
trap 'rm -rf "$stats"' EXIT
png=$PWD/build/residency.png
names=()

run() {
	local name=$1
	shift
	names+=("$name")
	HMM_STATS="$stats/$name" OCL_ICD_VENDORS=$PWD/build/lib/libhmm_opencl.so "build/bin/$name" "$@"
}

bold "The device"
build/bin/hmmctl devices
echo "   It is a process of its own: none of its memory is mapped in the programs below. In the"
echo "   maps, # is a page on the device, . a page in system memory, a blank an untouched one."

bold "1. Vectors straight from malloc()"
echo "   No buffers and no copies: the kernel gets the pointers, faults, and the pages move."
run vecadd
bold "2. Following pointers"
echo "   A list and a tree of malloc() nodes. The same pointers are good on both sides."
run chase
bold "3. A real graph: this machine's packages and what they depend on"
run bfs
bold "4. Four times more data than the device has memory"
echo "   The least recently used pages go home, like in a page cache."
run oversubscribe "$png"

bold "What moved"
printf '   %-14s %10s %10s %10s %10s %10s\n' example launches faults migrated home evicted
for name in "${names[@]}"; do
	sed -n 's/^device .*pages_to_device=\([0-9]*\) pages_to_system=\([0-9]*\) .*device_faults=\([0-9]*\) pages_evicted=\([0-9]*\) .*launches=\([0-9]*\).*/\5 \3 \1 \2 \4/p' \
		"$stats/$name" | while read -r launches faults out home evicted; do
		printf '   %-14s %10s %10s %10s %10s %10s\n' \
			"$name" "$launches" "$faults" "$out" "$home" "$evicted"
	done
done
echo
echo "   pages of 4 KiB; residency over time of example 4: $png"
echo "   Your own OpenCL program: build/bin/hmmctl run -- PROGRAM"

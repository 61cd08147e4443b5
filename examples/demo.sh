#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Shared pointers on a device that the CPU cannot address, on this machine, now.
# Installs what is missing, builds, runs the examples, shows where the pages are.
#
#   examples/demo.sh [PICTURE.png] [TEXT]   with files of yours, which stay as they are
set -euo pipefail
picture=() text=()
for file; do
	[ -r "$file" ] || { echo "demo: $file cannot be read" >&2; exit 2; }
	case $file in
	*.png | *.PNG) picture=("$(realpath "$file")") ;;
	*) text=("$(realpath "$file")") ;;
	esac
done
cd "$(dirname "$0")/.."

bold() { printf '\n\033[1m%s\033[0m\n' "$*"; }
say() { printf '   %s\n' "$@"; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'echo "demo: stopped at line $LINENO" >&2' ERR

# Its output is of interest only when it fails.
quietly() {
	"$@" >>"$scratch/log" 2>&1 || {
		tail -n 30 "$scratch/log" >&2
		return 1
	}
}

scripts/setup.sh libcunit1-dev
examples=(vecadd chase bfs oversubscribe wordcount filter numbers)
[ -x build/bin/oversubscribe ] || bold "Building"
# A build folder that is there stays as it was configured.
[ -f build/build.ninja ] || quietly cmake -G Ninja -S . -B build
quietly cmake --build build --target hmm hmm_opencl hmm-engine hmm_io hmmctl "${examples[@]}"

png=$PWD/build/residency.png

run() {
	local name=$1
	shift
	HMM_STATS="$scratch/$name" OCL_ICD_VENDORS=$PWD/build/lib/libhmm_opencl.so "build/bin/$name" "$@"
}

bold "The device"
build/bin/hmmctl devices
say "It is a process of its own: none of its memory is mapped in the programs below. In the" \
	"maps, # is a page on the device, . a page in system memory, a blank an untouched one."

bold "1. Vectors straight from malloc()"
say "No buffers and no copies: the kernel gets the pointers, faults, and the pages move."
run vecadd

bold "2. Following pointers"
say "A list and a tree of malloc() nodes. The same pointers are good on both sides."
run chase

bold "3. A real graph: the packages that this machine knows, and what they depend on"
say "Breadth-first, one kernel a level: pages of the graph move when a kernel touches them."
run bfs

bold "4. Four times more data than the device has memory"
say "The least recently used pages go home, like in a page cache."
run oversubscribe "$png"

bold "5. A file, read by a kernel where it is mapped"
say "No buffer: the file's pages go to the device when the kernel touches them."
run wordcount "${text[@]}"

bold "6. An image, changed in its file while it is on the device"
say "hmm_sync() writes from there; another process reads the new image before a page comes home."
run filter --png build "${picture[@]}"
say "before and after:" "  $PWD/build/filter-before.png" "  $PWD/build/filter-after.png"

bold "7. A file of numbers, half as large again as the device's memory, normalised in place"
say "Nobody divides it into parts: what does not fit is dropped or goes home, and comes again."
run numbers

# HMM_STATS: "device 0 pages_to_device=1 ..." for each device.
value() {
	sed -n "s/^device .*\<$1=\([0-9]*\).*/\1/p" "$scratch/$2" |
		awk '{ n += $1 } END { print n + 0 }'
}

bold "What moved"
row() { printf '   %-14s %10s %10s %10s %10s %10s\n' "$@"; }
row example launches faults migrated home evicted
for name in "${examples[@]}"; do
	row "$name" "$(value launches "$name")" "$(value device_faults "$name")" \
		"$(value pages_to_device "$name")" "$(value pages_to_system "$name")" \
		"$(value pages_evicted "$name")"
done
echo
say "Pages of 4 KiB; faults are the device's. Residency over time of example 4:" "  $png" \
	"Your own OpenCL program: build/bin/hmmctl run -- PROGRAM"

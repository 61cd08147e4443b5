#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# How libhmm compares: every number is a ratio to a reference that ran in turn with it.
#
#   tests/bench/run.sh [--quick] [--out DIR]
#
#   --quick    fewer rounds: about a minute
#   --out DIR  where rows.tsv, table.txt and ratios.png go, and the files that are mapped while it
#              runs; build/bench by default
#
# Ends with 0 also when a mark is missed: a busy machine is no error.
set -euo pipefail
cd "$(dirname "$0")/../.."

quick=() out=build/bench
while [ $# -gt 0 ]; do
	case $1 in
	--quick) quick=(--quick) ;;
	--out) out=${2:?--out wants a folder}; shift ;;
	*) sed -n '3,11p' "$0" >&2; exit 2 ;;
	esac
	shift
done

scripts/setup.sh gnuplot-nox libcunit1-dev
cmake --preset default >/dev/null
benches=(migrate fault scan file device cl)
cmake --build build --target "${benches[@]/%/_bench}" hmm_opencl hmm-engine >/dev/null
mkdir -p "$out"
bin=$PWD/build/bin

# The loader shows both platforms: ours, and the one that our engine uses.
icd=$(mktemp -d)
trap 'rm -rf "$icd"' EXIT
cp build/lib/hmm.icd /etc/OpenCL/vendors/pocl.icd "$icd"

rows=$out/rows.tsv
for bench in "${benches[@]}"; do
	(cd "$out" && OCL_ICD_VENDORS=$icd HMM_BACKEND=emulated HMM_EMULATED_BYTES=512M \
		timeout 1200 "$bin/${bench}_bench" "${quick[@]}")
done >"$rows"

{
	echo "Medians of the rounds' ratios, [quartiles], fastest rounds; Linux $(uname -r), $(nproc) CPUs," \
		"load $(cut -d' ' -f1 /proc/loadavg)"
	echo ">=: how many times as fast as the reference; <=: how many times its time"
	echo
	awk -F'\t' '{
		verdict = $4 == 0 ? "" : ($3 == ">=" ? $5 >= $4 : $5 <= $4) ? "reached" : "MISSED"
		mark = $4 == 0 ? "" : $3 " " $4
		printf "%-64s %-34s %6.2f [%5.2f %5.2f] %6.2f  %-6s %s\n", \
			$1, $2, $5, $6, $7, $8, mark, verdict
		if (verdict) marks++
		if (verdict == "reached") reached++
	} END { printf "\n%d of %d marks reached\n", reached, marks }' "$rows"
} | tee "$out/table.txt"

gnuplot -c tests/bench/plot.gp "$rows" "$out/ratios.png"
echo "picture: $out/ratios.png"

# shellcheck shell=bash disable=SC2034,SC2154 # run.sh's variables
# SPDX-License-Identifier: MIT
# The machine is killed while devices store to files, and its disk is looked at: what was synced is
# there, to the byte. Sourced by run.sh.

# What kill/write.sh synced last, "FILE BYTE", is what the disk $1 holds.
check_disk() {
	local disk=$1 file byte status=0
	read -r file byte < <(tail -n 1 "$run/shared/synced") || return 1
	# Without the journal's replay there would be no names.
	e2fsck -fy "$disk" >"$run/e2fsck.log" 2>&1 || status=$?
	[ $status -le 1 ] || { cat "$run/e2fsck.log"; return 1; }
	debugfs -R "dump /files/$file $run/found" "$disk" >/dev/null 2>&1
	head -c 262144 /dev/zero | tr '\0' "\\$(printf %o "$byte")" >"$run/wanted"
	echo "$(wc -l <"$run/shared/synced") times synced, then killed; last: $file with $byte"
	cmp "$run/found" "$run/wanted"
}

kill_test() {
	local round failures=0 disk=$run/disk todo=(write)
	tests=$here/kill
	HMM_VM_QEMU="${HMM_VM_QEMU:-} -drive file=$disk,if=virtio,format=raw"
	for round in 1 2 3; do
		rm -f "$disk" "$run/shared/synced"
		truncate -s 64M "$disk"
		boot write
		if [ ! -e "$run/shared/kill" ] || [ -s "$run/shared/result.write" ]; then
			echo "it was not killed; its last words:"
			tail -n 30 "$run/kernel.log"
			failures=$((failures + 1))
		elif ! check_disk "$disk"; then
			failures=$((failures + 1))
		fi
	done
	echo "Linux $(cat "$kernel/release") ($variant): killed $round times, $failures failed"
	[ "$failures" -eq 0 ]
}

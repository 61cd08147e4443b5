# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# For the tests to source. Whatever a test mounts and loads goes at its end, however that comes:
# the next one starts clean.

load_driver() {
	insmod "$HMM_MODULES/hmm_drm.ko" "$@"
}

# What held the module may be a process that is still dying.
unload_driver() {
	for _ in {1..600}; do
		grep -q '^hmm_drm ' /proc/modules || return 0
		rmmod hmm_drm 2>/dev/null && return 0
		sleep 0.1
	done
	echo "hmm_drm is still in use:"
	grep '^hmm_drm ' /proc/modules
	return 1
}

# A test without fence @1: it must fail (1), or its engine die (3). All else is another mistake.
must_be_seen() {
	local fence=$1 status
	shift
	for _ in {1..20}; do
		status=0
		"$@" || status=$?
		case $status in
		0) ;;
		1 | 3) return 0 ;;
		*) echo "without fence $fence: status $status"; return 1 ;;
		esac
	done
	echo "without fence $fence nothing was seen"
	return 1
}

clean_up() {
	local status=$? folder
	trap - EXIT
	set +e
	for folder in /mnt/hmmfs /mnt/ext4 /mnt/tmpfs; do
		if grep -q " $folder " /proc/mounts; then
			umount "$folder" || status=1
		fi
	done
	unload_driver || status=1
	exit $status
}
trap clean_up EXIT

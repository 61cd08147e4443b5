#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A device stores to files and they are synced, until the machine is killed. For run.sh --kill.
# limit: 60
set -euo pipefail
# shellcheck source=tests/vm/load.sh
. "$HMM_SRC/tests/vm/load.sh"
load_driver devices=1 mib=4
mkdir -p /mnt/ext4 /mnt/hmmfs
mkfs.ext4 -qF /dev/vda
mount /dev/vda /mnt/ext4
mkdir /mnt/ext4/files
mount -t hmmfs /mnt/ext4/files /mnt/hmmfs
"$HMM_BUILD/bin/driver_kill" /mnt/hmmfs /run/hmm/synced /run/hmm/kill

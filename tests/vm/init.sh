#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# shellcheck shell=dash
# First program of the virtual machine: a root like the host's, read-only, with memory where
# programs write.
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /host /root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
[ -c /dev/null ] || mount -t devtmpfs dev /dev

options=trans=virtio,version=9p2000.L,msize=262144
mount -t 9p -o ro,$options,cache=loose host /host || reboot -f
mount --bind /host /root
for folder in tmp run var/tmp mnt; do
	mount -t tmpfs -o mode=1777 tmpfs /root/$folder
done
mkdir /root/run/hmm /root/run/lock /root/tmp/home
mount -t 9p -o $options,cache=none run /root/run/hmm || reboot -f

# These may lie below a folder that was just covered.
# shellcheck source=/dev/null
. /root/run/hmm/environment
for folder in "$HMM_SRC" "$HMM_BUILD"; do
	mkdir -p "/root$folder"
	mount --bind "/host$folder" "/root$folder"
done

mount --move /proc /root/proc
mount --move /sys /root/sys
mount --move /dev /root/dev
mkdir -p /root/dev/shm /root/dev/pts /root/dev/mqueue
mount -t tmpfs -o mode=1777 shm /root/dev/shm
mount -t devpts pts /root/dev/pts
mount -t mqueue mqueue /root/dev/mqueue
mount -t debugfs debug /root/sys/kernel/debug
mount -t cgroup2 cgroup /root/sys/fs/cgroup
ifconfig lo 127.0.0.1 up
chroot /root /bin/bash "$HMM_SRC/tests/vm/guest.sh"
# QEMU is told to end where a machine would start anew; not every kernel here can power off.
reboot -f

#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# shellcheck shell=dash
# First program of the virtual machine: the host's folders under a root of our own.
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /host /root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null
options=trans=virtio,version=9p2000.L,msize=262144
mount -t 9p -o ro,$options,cache=loose host /host || poweroff -f
mount -t tmpfs root /root
for folder in bin sbin lib lib32 lib64 usr etc opt; do
	if [ -L /host/$folder ]; then
		cp -d /host/$folder /root/
	elif [ -d /host/$folder ]; then
		mkdir /root/$folder
		mount --bind /host/$folder /root/$folder
	fi
done
mkdir -p /root/proc /root/sys /root/dev /root/run/hmm /root/tmp /root/var/lib /root/root /root/mnt
chmod 1777 /root/tmp
mount --bind /host/var/lib /root/var/lib
mount -t 9p -o $options,cache=none run /root/run/hmm || poweroff -f
# shellcheck disable=SC1091
. /root/run/hmm/environment
for folder in "$HMM_SRC" "$HMM_BUILD"; do
	mkdir -p "/root$folder"
	mount --bind "/host$folder" "/root$folder"
done
mount --move /proc /root/proc
mount --move /sys /root/sys
mount --move /dev /root/dev
mkdir -p /root/dev/shm /root/dev/pts
mount -t tmpfs shm /root/dev/shm
mount -t devpts pts /root/dev/pts 2>/dev/null
mount -t debugfs debug /root/sys/kernel/debug
ifconfig lo 127.0.0.1 up 2>/dev/null
chroot /root /bin/bash "$HMM_SRC/tests/vm/guest.sh"
poweroff -f

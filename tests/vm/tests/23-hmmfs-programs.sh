#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Programs that know nothing of devices, on files whose pages are on the move all the time: a
# compiler and make, git, a database, tar.
# limit: 240
set -euo pipefail
# shellcheck source=tests/vm/load.sh
. "$HMM_SRC/tests/vm/load.sh"
load_driver devices=2 mib=16
mkdir -p /mnt/ext4 /mnt/tmpfs /mnt/hmmfs
truncate -s 256M /tmp/image
mkfs.ext4 -qF /tmp/image
mount -o loop /tmp/image /mnt/ext4
mount -t tmpfs lower /mnt/tmpfs
export HOME=/tmp/home GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a \
	GIT_COMMITTER_EMAIL=a@b GIT_CONFIG_NOSYSTEM=1

# A program of some files, and how to make it.
sources() {
	mkdir "$1"
	for i in 1 2 3 4; do
		echo "int part$i(int x) { return x * $i + 1; }" >"$1/part$i.c"
	done
	cat >"$1/main.c" <<-'END'
		#include <stdio.h>
		int part1(int), part2(int), part3(int), part4(int);
		int main(void) { return printf("%d\n", part1(part2(part3(part4(1))))) < 0; }
	END
	# shellcheck disable=SC2016
	printf 'program: main.o part1.o part2.o part3.o part4.o\n\t$(CC) -o $@ $^\n' >"$1/Makefile"
}

build() {
	sources "$1/program"
	make -s -C "$1/program" -j2
	[ "$("$1/program/program")" = 34 ]
}

repository() {
	mkdir "$1/repository"
	(cd "$1/repository" && git init -q . && cp -r "$HMM_SRC/kernel-driver" . && git add . &&
		git commit -qm one && echo more >>kernel-driver/Kbuild && git commit -qam two &&
		git checkout -q HEAD~1 && git gc -q && git fsck --strict --no-progress &&
		[ -z "$(git status --porcelain)" ] &&
		diff -r "$HMM_SRC/kernel-driver" kernel-driver)
}

database() {
	local journal
	for journal in wal delete; do
		sqlite3 "$1/$journal.db" >"$1/$journal.out" <<-END
			PRAGMA journal_mode = $journal;
			PRAGMA mmap_size = 1048576;
			CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT);
			WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
				INSERT INTO t SELECT i, hex(i * 7919) FROM n;
			UPDATE t SET b = b || 'x' WHERE a % 3 = 0;
			DELETE FROM t WHERE a % 5 = 0;
			VACUUM;
			PRAGMA integrity_check;
			SELECT count(*), sum(length(b)) FROM t;
		END
		cat "$1/$journal.out"
		grep -qx ok "$1/$journal.out"
	done
	[ "$(tail -n 1 "$1/wal.out")" = "$(tail -n 1 "$1/delete.out")" ]
}

archive() {
	tar -C "$HMM_SRC" -cf "$1/driver.tar" kernel-driver
	tar -C "$HMM_SRC" -cf - kernel-driver | cmp - "$1/driver.tar"
	mkdir "$1/again"
	tar -C "$1/again" -xf "$1/driver.tar"
	diff -r "$HMM_SRC/kernel-driver" "$1/again/kernel-driver"
}

build /mnt/tmpfs
mv /mnt/tmpfs/program /tmp/program.there
for lower in tmpfs ext4; do
	echo "-- over $lower"
	mount -t hmmfs "/mnt/$lower" /mnt/hmmfs
	rm -f /tmp/stop
	"$HMM_BUILD/bin/driver_mover" /mnt/hmmfs /tmp/stop &
	build /mnt/hmmfs
	repository /mnt/hmmfs
	database /mnt/hmmfs
	archive /mnt/hmmfs
	for part in /tmp/program.there/part*.o; do
		cmp "$part" "/mnt/hmmfs/program/${part##*/}"
	done
	: >/tmp/stop
	wait $!
	# What is below is what was written above.
	sync
	tar -C /mnt/hmmfs -cf /tmp/above.tar --sort=name .
	umount /mnt/hmmfs
	tar -C "/mnt/$lower" -cf /tmp/below.tar --sort=name .
	cmp /tmp/above.tar /tmp/below.tar
done

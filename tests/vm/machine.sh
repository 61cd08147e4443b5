# shellcheck shell=bash disable=SC2034,SC2154 # run.sh's variables
# SPDX-License-Identifier: MIT
# The virtual machine, for run.sh: what goes into it, one boot of it, and the watch over it.
# Uses: here, kernel, variant, run, build, tests, scale, limit, grace, shell,
# icount. Sets: machine_pid, overdue.

pack_initramfs() {
	local root=$run/initramfs
	mkdir -p "$root/bin" "$root/dev"
	cp "$(command -v busybox)" "$root/bin/busybox"
	cp "$here/init.sh" "$root/init"
	chmod +x "$root/init"
	(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$run/initramfs.gz"
}

# Builds the module in folder $1, with further variables for make, into the folder of modules.
# A copy, because kbuild leaves its files beside the sources.
build_module() {
	local from=$1 to log
	to=$run/modules/$(basename "$from") log=$run/$(basename "$from").log
	shift
	mkdir -p "$run/modules"
	cp -r "$from" "$to"
	find "$to" \( -name '*.o' -o -name '*.ko' -o -name '.*.cmd' -o -name '*.mod' \) -delete
	ln -sfn "$PWD/include" "$run/modules/include"
	! command -v sparse >/dev/null || set -- "$@" C=1 "CHECK=sparse -Wno-unknown-attribute"
	make -s -C "$kernel/source" O="$kernel/build" M="$to" W=1 -j"$(nproc)" "$@" modules \
		>"$log" 2>&1 || { cat "$log" >&2; return 1; }
	if grep -E 'warning:|error:' "$log" >&2; then
		echo "$from does not build without a complaint" >&2
		return 1
	fi
	find "$to" -name '*.ko' -exec cp {} "$run/shared/modules/" \;
}

# What the kernel is told. With KASAN its ACPI interpreter takes minutes, and gives up loops for
# want of time: the debug kernel does without, makes its second node of memory itself, and is told
# where the clock is that it would have found in a table.
command_line() {
	echo "console=ttyS0 panic=-1 oops=panic mitigations=off"
	if [ "$variant" = debug ]; then
		echo "acpi=off numa=fake=2 pmtmr=0x608 panic_on_warn=1"
		echo "rcupdate.rcu_cpu_stall_timeout=120"
	fi
}

# Memory that the kernel is not told of: where, how much, and on which node. QEMU begins with such
# memory above 4 GiB and above the rest of it.
more_start=0x100000000 more_size=0x10000000 more_node=1

# The arguments of QEMU but for the serial lines; kernel log first, then the tests' output.
machine() {
	local memory=2048
	[ "$variant" = plain ] || memory=3072
	if [ -n "$icount" ]; then
		qemu=(-accel "tcg,thread=single" -icount "shift=0,sleep=off")
	else
		qemu=(-accel "tcg,thread=multi")
	fi
	qemu+=(-cpu "max,la57=off" -smp "2,sockets=2,cores=1,threads=1"
		-m "$memory,slots=1,maxmem=$((memory + (more_size >> 20)))M"
		-object "memory-backend-ram,id=m0,size=$((memory / 2))M"
		-object "memory-backend-ram,id=m1,size=$((memory / 2))M"
		-numa "node,nodeid=0,cpus=0,memdev=m0" -numa "node,nodeid=1,cpus=1,memdev=m1"
		-object "memory-backend-ram,id=more,size=$((more_size))"
		-device "pc-dimm,memdev=more,addr=$more_start,node=$more_node"
		-nodefaults -no-user-config -display none -no-reboot
		-kernel "$kernel/bzImage" -initrd "$run/initramfs.gz" -append "$(command_line | xargs)"
		-fsdev "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"
		-device "virtio-9p-pci,fsdev=host,mount_tag=host"
		-fsdev "local,id=run,path=$run/shared,security_model=none"
		-device "virtio-9p-pci,fsdev=run,mount_tag=run")
	# More of it, in the words of QEMU's command line.
	# shellcheck disable=SC2206
	qemu+=(${HMM_VM_QEMU:-})
}

environment() {
	rm -f "$run/shared"/{now,ready,done,kill,kmemleak} "$run/shared"/result.*
	printf 'export %s=%q\n' HMM_SRC "$PWD" HMM_BUILD "$build" HMM_MODULES /run/hmm/modules \
		HMM_TEST_SCALE "$scale" HMM_VARIANT "$variant" HMM_TESTS "$*" \
		HMM_TESTS_FOLDER "$tests" HMM_SHELL "$shell" HMM_LIMIT "$limit" \
		HMM_ICOUNT "$icount" HMM_MORE_MEMORY "$more_start $more_size $more_node" \
		>"$run/shared/environment"
}

# Waits for the machine $1 to end; ends it when what it does takes longer than it may.
watch() {
	local pid=$1 now="boot 900" last='' since=$SECONDS allowed
	while kill -0 "$pid" 2>/dev/null; do
		# A test that asks for it (kill.sh).
		[ ! -e "$run/shared/kill" ] || kill -9 "$pid"
		if [ -e "$run/shared/now" ]; then
			now=$(cat "$run/shared/now" 2>/dev/null) || continue
		fi
		[ "$now" = "$last" ] || { last=$now since=$SECONDS; }
		allowed=${now##* }
		if ((SECONDS - since > allowed + grace)); then
			overdue=hung
			# The kernel answers with the state of its processors and panics.
			timeout 1 tee "$run/monitor.in" <<<nmi >/dev/null || true
			sleep 3
			kill "$pid" 2>/dev/null || true
			sleep 1
			kill -9 "$pid" 2>/dev/null || true
			break
		fi
		sleep 0.2
	done
	wait "$pid" 2>/dev/null || true
}

# One boot for the tests @.
boot() {
	local qemu pid reader
	environment "$@"
	machine
	: >"$run/kernel.log" && : >"$run/output.log"
	if [ -n "$shell" ]; then
		qemu-system-x86_64 "${qemu[@]}" -serial "file:$run/kernel.log" -serial mon:stdio
		return
	fi
	overdue=
	qemu-system-x86_64 "${qemu[@]}" -serial "file:$run/kernel.log" \
		-serial "file:$run/output.log" -chardev "pipe,id=monitor,path=$run/monitor" \
		-mon chardev=monitor </dev/null >"$run/qemu.log" 2>&1 &
	pid=$!
	machine_pid=$pid
	tail -f -s 0.2 --pid="$pid" "$run/output.log" &
	reader=$!
	watch "$pid"
	machine_pid=
	wait "$reader" || true
	sed -i 's/\r$//' "$run/kernel.log"
}

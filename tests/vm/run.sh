#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests on a kernel of our own, in a virtual machine: builds the kernel (cached), the module and
# what runs there, boots, and takes each test's result from a shared folder, never from the
# absence of output. Whatever the kernel complains about is a failure.
#
#   tests/vm/run.sh [--kernel VERSION] [--debug] [--only NAME]... [--scale N] [--self-test]
#
#   --only NAME   tests/vm/tests/NAME.sh (several: once each); default: all of them
#   --self-test   see this script find a failure, a hang, a warning and a crash
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."

version=6.12 variant=plain only=() scale=${HMM_TEST_SCALE:-1} self_test=
while [ $# -gt 0 ]; do
	case $1 in
	--kernel) version=${2:?}; shift ;;
	--debug) variant=debug ;;
	--only) only+=("${2:?}"); shift ;;
	--scale) scale=${2:?}; shift ;;
	--self-test) self_test=1 ;;
	*) sed -n '3,12p' "$0" >&2; exit 2 ;;
	esac
	shift
done

scripts/setup.sh flex bison libelf-dev libssl-dev bc qemu-system-x86 busybox-static cpio kmod \
	sparse xz-utils make
kernel=$("$here/kernel.sh" "$version" "$variant")
run=$(mktemp -d "${TMPDIR:-/tmp}/hmm-vm.XXXXXX")
trap 'rm -rf "$run"' EXIT
build=${HMM_BUILD:-$PWD/build}
mkdir -p "$build" "$run/shared/modules"

if [ -n "$self_test" ]; then
	only=(selftest-pass selftest-fail selftest-hang selftest-warn selftest-crash)
fi
if [ ${#only[@]} -eq 0 ]; then
	mapfile -t only < <(cd "$here/tests" && printf '%s\n' [0-9]*.sh | sed 's/\.sh$//')
fi
for name in "${only[@]}"; do
	[ -e "$here/tests/$name.sh" ] || { echo "no test $name" >&2; exit 2; }
done

# With the switches that leave fences out. Out of the source tree: kbuild leaves its files beside the sources.
build_module() {
	local from=$1 to checker=()
	to=$run/module-$(basename "$from")
	cp -r "$from" "$to"
	cp -rT include "$run/include"
	command -v sparse >/dev/null && checker=(C=1 CHECK="sparse -Wno-unknown-attribute")
	make -s -C "$kernel/source" O="$kernel/build" M="$to" W=1 "${checker[@]}" HMMDRM_SELFTEST=1 modules \
		>"$run/module.log" 2>&1 || { cat "$run/module.log" >&2; return 1; }
	if grep -E 'warning:|error:' "$run/module.log" >&2; then
		echo "the module does not build without a complaint" >&2
		return 1
	fi
	find "$to" -name '*.ko' -exec cp {} "$run/shared/modules/" \;
}
[ ! -e kernel-driver/Kbuild ] || build_module kernel-driver
[ -z "$self_test" ] || build_module "$here/selftest"
cp "$kernel/build/lib/test_hmm.ko" "$run/shared/modules/"

pack_initramfs() {
	mkdir -p "$run/initramfs/bin"
	cp "$(command -v busybox)" "$run/initramfs/bin/busybox"
	cp "$here/init.sh" "$run/initramfs/init"
	chmod +x "$run/initramfs/init"
	(cd "$run/initramfs" && find . | cpio -o -H newc --quiet | gzip -1) >"$run/initramfs.gz"
}
pack_initramfs

# One boot for the tests @2...; limit of each in seconds @1.
boot() {
	local limit=$1 memory=2048 append="console=ttyS0 panic=-1 oops=panic"
	shift
	[ "$variant" = plain ] || memory=3072
	[ "$variant" = plain ] || append+=" panic_on_warn=1"
	[ -z "${HMM_VM_NO_PANIC:-}" ] || append=${append/panic_on_warn=1/}
	rm -f "$run"/shared/{ready,done,dmesg,kmemleak} "$run"/shared/result.*
	cat >"$run/shared/environment" <<-END
		export HMM_SRC='$PWD' HMM_BUILD='$build' HMM_MODULES=/run/hmm/modules
		export HMM_TEST_SCALE='$scale' HMM_TIME='$limit' HMM_TESTS='$*' HMM_VARIANT='$variant'
	END
	timeout $((60 + limit * $#)) qemu-system-x86_64 -accel tcg,thread=multi -cpu max,la57=off -smp 2,sockets=2,cores=1,threads=1 \
		-m $memory -object memory-backend-ram,id=m0,size=$((memory / 2))M \
		-object memory-backend-ram,id=m1,size=$((memory / 2))M \
		-numa node,nodeid=0,cpus=0,memdev=m0 -numa node,nodeid=1,cpus=1,memdev=m1 \
		-nodefaults -no-user-config -display none -no-reboot -serial stdio \
		-kernel "$kernel/bzImage" -initrd "$run/initramfs.gz" -append "$append" \
		-fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap \
		-device virtio-9p-pci,fsdev=host,mount_tag=host \
		-fsdev local,id=run,path="$run/shared",security_model=none \
		-device virtio-9p-pci,fsdev=run,mount_tag=run \
		</dev/null 2>"$run/qemu.err" | stdbuf -o0 tr -d '\r' >"$run/console" &
	wait $! || true
}

complaints='WARNING:|BUG:|Oops|KASAN|UBSAN|possible (recursive|circular)|inconsistent lock|suspicious RCU|INFO: task .* blocked|rcu.*stall|general protection|Bad page|unreferenced object|Kernel panic|Call Trace'

# The tests @... have run: what became of them.
failed=0
report() {
	local name status
	for name in "$@"; do
		status=$(cat "$run/shared/result.$name" 2>/dev/null || echo "none: the machine ended")
		[ "$status" = 0 ] || { echo "FAILED: $name ($status)"; failed=$((failed + 1)); }
	done
	if grep -qE "$complaints" "$run/console" "$run"/shared/{dmesg,kmemleak} 2>/dev/null; then
		echo "FAILED: the kernel complains:"
		grep -hE -A 25 "$complaints" "$run/console" | head -n 60
		failed=$((failed + 1))
	elif [ ! -e "$run/shared/done" ]; then
		echo "FAILED: the machine did not come to its end; the last it said:"
		failed=$((failed + 1))
	fi
	[ -e "$run/shared/done" ] || { tail -n 25 "$run/console"; cat "$run/qemu.err"; }
}

if [ -n "$self_test" ]; then
	wrong=0
	for name in "${only[@]}"; do
		failed=0
		boot 20 "$name"
		report "$name" >"$run/report"
		expected=1
		[ "$name" != selftest-pass ] || expected=0
		if [ $((failed > 0)) -eq $expected ]; then
			echo "$name: as it should be ($failed failures)"
		else
			echo "$name: NOT as it should be"; cat "$run/report"; wrong=1
		fi
	done
	exit $wrong
fi

start=$SECONDS
boot "${HMM_VM_LIMIT:-300}" "${only[@]}"
sed -n '/^=== /,$p' "$run/console"
report "${only[@]}"
if [ -n "${HMM_VM_KEEP:-}" ]; then
	cp "$run/console" "$HMM_VM_KEEP"
fi
echo "Linux $(cat "$kernel/release") ($variant): ${#only[@]} tests, $failed failed," \
	"first test after $(cat "$run/shared/ready" 2>/dev/null || echo '?') s, $((SECONDS - start)) s in all"
[ "$failed" -eq 0 ]

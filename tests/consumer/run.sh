#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Installs BUILD to a prefix and builds a C and a C++ program against it, by pkg-config and by
# CMake, as a user would; then runs them, and hmmctl, from there. And looks whether manual pages and
# the OpenCL platform are where they are looked for.
set -euo pipefail
build=$1
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/prefix" >/dev/null
pc=$(dirname "$(find "$work/prefix" -name libhmm.pc)")
# The prefix was chosen at installation, not at configuration.
flags=$(PKG_CONFIG_PATH=$pc pkg-config --define-variable=prefix="$work/prefix" --cflags --libs libhmm)
libs=$(PKG_CONFIG_PATH=$pc pkg-config --define-variable=prefix="$work/prefix" --variable=libdir libhmm)
# shellcheck disable=SC2086 # several words
cc "$here/consumer.c" -o "$work/c" $flags -Wl,-rpath,"$libs"
cp "$here/consumer.c" "$work/consumer.cc"
# shellcheck disable=SC2086
c++ "$work/consumer.cc" -o "$work/cxx" $flags -Wl,-rpath,"$libs"
# The driver's ABI, for who calls it without the library.
for language in c c++; do
	# shellcheck disable=SC2046,SC2086
	printf '#include <drm/hmm_drm.h>\nint x = DRM_HMM_QUERY;\n' |
		cc -x $language -Werror -fsyntax-only $flags $(pkg-config --cflags libdrm) -
done
[ ! -e "$work/prefix/include/hmm/hmm_engine.h" ] || { echo "a private header is installed"; exit 1; }

mkdir "$work/project"
cp "$here/consumer.c" "$work/project/"
cp "$here/CMakeLists.project.txt" "$work/project/CMakeLists.txt"
cmake -G Ninja -S "$work/project" -B "$work/project/build" -DCMAKE_PREFIX_PATH="$work/prefix" >/dev/null
cmake --build "$work/project/build" >/dev/null

for program in "$work/c" "$work/cxx" "$work/project/build/consumer-c" \
	"$work/project/build/consumer-cxx"; do
	"$program"
done
"$work/prefix/bin/hmmctl" devices

echo "-- each public function has a manual page"
while read -r function; do
	[ -e "$work/prefix/share/man/man3/$function.3" ] || { echo "no manual page: $function"; exit 1; }
done < <(grep -oE '\bhmm_[a-z_]+\(' "$here/../../include/hmm/hmm.h" | tr -d '(' | sort -u)

echo "-- the platform is where the OpenCL loader looks"
same() { [ "$(cat "$1")" = "$2" ] || { echo "$1 does not name $2"; exit 1; }; }
same "$work/prefix/etc/OpenCL/vendors/hmm.icd" "$libs/libhmm_opencl.so"
for prefix in /usr /usr/local; do
	DESTDIR=$work/root cmake --install "$build" --prefix $prefix >/dev/null
	same "$work/root/etc/OpenCL/vendors/hmm.icd" "$prefix/${libs#"$work/prefix/"}/libhmm_opencl.so"
done
echo "consumers: built by pkg-config and by CMake, C and C++, and run"

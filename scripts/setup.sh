#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Installs Debian packages that are missing: setup.sh PACKAGE... (none: what a build needs).
set -euo pipefail

build=(gcc libc6-dev cmake ninja-build pkg-config libnuma-dev libdrm-dev ocl-icd-opencl-dev
	opencl-c-headers ocl-icd-libopencl1 pocl-opencl-icd libpng-dev)
missing=()
for package in "${build[@]}" "$@"; do
	dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q ' installed$' ||
		missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

echo "Installing: ${missing[*]}"
sudo=()
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || {
		echo "Not root and no sudo here; please install: ${missing[*]}" >&2
		exit 1
	}
	sudo=(sudo)
fi
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
	apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null

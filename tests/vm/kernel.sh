#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Builds the unpatched kernel of a Debian source package with the project's configuration, once
# for each version and configuration, and prints the folder: source/, build/, release, bzImage.
#
#   tests/vm/kernel.sh 6.12|7.2 plain|debug
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=$1 variant=$2
cache=${HMM_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hmm-vm}
mkdir -p "$cache"

fragments=("$here/config/base.config")
[ "$variant" = plain ] || fragments+=("$here/config/$variant.config")

say() { echo "-- $*" >&2; }

# apt with folders of its own: the system's sources stay as they are. The repository's
# address is the system's.
apt_setup() {
	local uri
	# shellcheck disable=SC2016 # apt's own variable
	uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
		grep -v security | sort -u | head -n 1)
	mkdir -p "$cache/apt/lists/partial" "$cache/apt/cache/archives/partial"
	for suite in bookworm-backports trixie sid; do
		echo "deb $uri $suite main"
	done >"$cache/apt/sources.list"
	apt=(-o "Dir::Etc::SourceList=$cache/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
		-o "Dir::State::Lists=$cache/apt/lists" -o "Dir::Cache=$cache/apt/cache"
		-o APT::Sandbox::User=root -o Acquire::AllowInsecureRepositories=false)
	[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] &&
		apt+=(-o Dir::Etc::Trusted=/usr/share/keyrings/debian-archive-keyring.gpg)
	return 0
}

# Prints the folder of the unpacked source.
source_of() {
	local package=linux-source-$version found folder work
	found=$(find "$cache" -maxdepth 1 -name "$package-*" -type d | sort -V | tail -n 1)
	if [ -z "$found" ]; then
		apt_setup
		apt-get "${apt[@]}" update -qq >&2
		work=$(mktemp -d "$cache/unpack.XXXXXX")
		(cd "$work" && apt-get "${apt[@]}" download -qq "$package" >&2 && dpkg -x ./*.deb . &&
			tar -xJf "usr/src/$package.tar.xz")
		folder=$(cd "$work" && echo ./*.deb | sed 's/.*_\(.*\)_all.deb/\1/; s/[^0-9.]/-/g')
		found=$cache/$package-$folder
		[ -d "$found" ] || mv "$work/$package" "$found"
		rm -rf "$work"
	fi
	echo "$found"
}

# What the fragments ask for, the last word on each option: "CONFIG_X=y", "# CONFIG_X is not set".
wanted() {
	grep -hE '^CONFIG_|^# CONFIG_[A-Z0-9_]* is not set$' "${fragments[@]}" | grep -v optional |
		awk '{ name = $1 == "#" ? $2 : $1; sub(/=.*/, "", name); last[name] = $0 }
			END { for (name in last) print last[name] }'
}

configure() {
	local line name missing=0
	make -s -C "$source" O="$1" tinyconfig >&2
	(cd "$source" && scripts/kconfig/merge_config.sh -m -O "$1" "$1/.config" \
		"${fragments[@]}" >/dev/null)
	make -s -C "$source" O="$1" olddefconfig >&2
	# An option that was not taken, for want of another, would be missed later.
	while read -r line; do
		name=${line#\# }
		case $line in
		\#*) ! grep -q "^${name%% *}=" "$1/.config" ;;
		*) grep -qxF "$line" "$1/.config" ;;
		esac || { say "this kernel did not take $line"; missing=1; }
	done < <(wanted)
	return $missing
}

source=$(source_of)
hash=$({ basename "$source"; gcc -dumpfullversion; cat "${fragments[@]}"; } | sha256sum | cut -c1-16)
kernel=$cache/kernel-$version-$variant-$hash
exec 9>"$cache/lock-$version-$variant-$hash"
flock 9
# Modules are built with the source, which somebody may have tidied away.
if [ ! -e "$kernel/bzImage" ] || [ ! -e "$kernel/source/Makefile" ] ||
	[ ! -e "$kernel/build/Makefile" ]; then
	say "building Linux $version ($variant); a few minutes, once"
	start=$SECONDS
	rm -rf "$kernel" && mkdir -p "$kernel/build"
	configure "$kernel/build"
	make -s -C "$source" O="$kernel/build" -j"$(nproc)" bzImage modules >"$kernel/build.log" 2>&1 ||
		{ tail -n 30 "$kernel/build.log" >&2; exit 1; }
	ln -s "$source" "$kernel/source"
	cp "$kernel/build/include/config/kernel.release" "$kernel/release"
	# What modules need stays; the rest of the objects would fill the cache.
	find "$kernel/build" \( -name '*.o' -o -name '*.a' -o -name 'vmlinux*' \) \
		-not -path '*/scripts/*' -not -path '*/tools/*' -delete
	# Last, and at once: it says that the rest is whole.
	cp "$kernel/build/arch/x86/boot/bzImage" "$kernel/bzImage.new"
	mv "$kernel/bzImage.new" "$kernel/bzImage"
	say "built in $((SECONDS - start)) s"
fi
echo "$kernel"

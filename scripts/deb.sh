#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The kernel as Debian packages, by the kernel's own bindeb-pkg. The default is
# the running distribution kernel's configuration plus ours, which takes long;
# SMALL=1 packages the configuration of the virtual machine.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

src=$build/linux
out=$build/deb/kernel

kmake() {
	make -C "$src" O="$out" CC="ccache gcc" LOCALVERSION=-p2pdma "$@"
}

distribution_config() {
	local f

	for f in "/boot/config-$(uname -r)" /boot/config-*; do
		if [[ -f $f ]]; then
			printf '%s\n' "$f"
			return
		fi
	done
	return 1
}

configure() {
	local base

	if [[ ${SMALL:-} != 1 ]] && base=$(distribution_config); then
		note "configuration: $base and ours"
		cp "$base" "$out/.config"
		# Debian's keys and certificates are not here.
		"$src/scripts/config" --file "$out/.config" \
			--set-str SYSTEM_TRUSTED_KEYS '' --set-str MODULE_SIG_KEY '' \
			--disable MODULE_SIG --disable DEBUG_INFO_BTF --disable DEBUG_INFO \
			--enable DEBUG_INFO_NONE --enable PCI_P2PDMA
		run_logged config-deb kmake olddefconfig
	else
		note "configuration: that of the virtual machine"
		cat "$top"/scripts/config/{base,p2pdma}.config >"$out/all.config"
		run_logged config-deb kmake KCONFIG_ALLCONFIG="$out/all.config" allnoconfig
	fi
	grep -q '^CONFIG_PCI_P2PDMA=y' "$out/.config" ||
		die "CONFIG_PCI_P2PDMA did not survive in $out/.config"
}

step "Building packages"
need_packages git gcc make flex bison bc libelf-dev libssl-dev libc6-dev ccache kmod \
	cpio xz-utils zstd perl python3 rsync binutils dpkg-dev debhelper fakeroot lsb-release
one_at_a_time deb
mkdir -p "$out"
configure
run_logged deb kmake -j"$(nproc)" bindeb-pkg
step "Packages:"
find "$build/deb" -maxdepth 1 -name '*.deb' -printf '  %p\n' | sort

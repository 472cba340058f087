#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# series-check.sh versions: does the series apply to every linux-source-6.12
# that apt offers? The packages are fetched into build/cache.
#
# series-check.sh commits: does every commit of the series build? For each,
# the affected directories and every other user of the interface, with the
# feature on and off, each in a directory of its own so that a commit costs no
# more than what it touches. From commit number FROM on, if that is set.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

package=linux-source-6.12
cache=$build/cache
work=$build/commits

fetch() {
	local version=$1 deb

	if [[ -e $cache/$version/done ]]; then
		return
	fi
	rm -rf "${cache:?}/$version"
	mkdir -p "$cache/$version"
	(cd "$cache/$version" && run_logged "fetch-$package" apt-get -q download "$package=$version")
	deb=$(find "$cache/$version" -name '*.deb')
	dpkg-deb --fsys-tarfile "$deb" |
		tar -x -C "$cache/$version" --wildcards --strip-components=3 \
			"./usr/src/$package.tar.*"
	rm -f "$deb"
	touch "$cache/$version/done"
}

check_versions() {
	local -a versions
	local v bad=0

	step "Applying the series to every $package that apt offers"
	need_packages git python3 xz-utils
	mapfile -t versions < <(apt-cache madison "$package" |
		awk -F'|' '$3 ~ /Packages/ { gsub(/ /, "", $2); print $2 }' | sort -uV)
	((${#versions[@]})) || die "apt offers no $package; run apt-get update"
	one_at_a_time tree
	for v in "${versions[@]}"; do
		fetch "$v"
		"$top/scripts/tree.py" check "$cache/$v"/"$package".tar.* || bad=1
	done
	return $bad
}

kmake() {
	make -C "$work/linux" O="$work/out-$on" CC="ccache gcc" -j"$(nproc)" "$@"
}

# The virtual machine's configuration, plus those other users of the interface
# that it does not have.
configure() {
	local out=$work/out-$on

	mkdir -p "$out"
	cat "$top"/scripts/config/{base,p2pdma}.config >"$out/all.config"
	cat >>"$out/all.config" <<-END
		CONFIG_PCI_P2PDMA=$on
		CONFIG_DRM=m
		CONFIG_DRM_AMDGPU=m
		CONFIG_HSA_AMD=y
		CONFIG_DRM_XE=m
		CONFIG_DRM_ACCEL=y
		CONFIG_DRM_ACCEL_HABANALABS=m
		CONFIG_MEMORY_FAILURE=y
		CONFIG_BACKLIGHT_CLASS_DEVICE=y
	END
	kmake KCONFIG_ALLCONFIG="$out/all.config" KCONFIG_CONFIG="$out/.config.new" allnoconfig
	# An unchanged .config keeps its date, so that nothing is built for it.
	cmp -s "$out/.config.new" "$out/.config" || mv "$out/.config.new" "$out/.config"
	kmake prepare
}

# The object files of the users elsewhere, as far as they are configured in.
other_users() {
	local f d

	for d in drivers/gpu/drm/amd/amdgpu/amdgpu_dma_buf drivers/gpu/drm/amd/amdgpu/amdgpu_device \
		drivers/gpu/drm/xe/xe_dma_buf drivers/accel/habanalabs/common/memory; do
		f=$work/linux/$d.c
		if [[ -f $f ]] && grep -q 'pci-p2pdma.h' "$f"; then
			printf '%s.o\n' "$d"
		fi
	done
}

build_commit() {
	local on=$1
	local -a others

	configure
	mapfile -t others < <(other_users)
	kmake drivers/pci/ drivers/nvme/ drivers/infiniband/core/ block/ kernel/dma/ mm/ lib/
	((!${#others[@]})) || kmake -k "${others[@]}"
	if [[ -d $work/linux/samples/p2pdma ]]; then
		kmake samples/
	fi
}

check_commits() {
	local c n=0 total

	step "Building every commit of the series"
	need_packages git gcc make flex bison bc libelf-dev libssl-dev libc6-dev ccache \
		xz-utils perl python3 binutils
	one_at_a_time commits
	mkdir -p "$work"
	if [[ ! -e $work/linux/.git ]]; then
		git -C "$build/linux" worktree prune
		git -C "$build/linux" worktree add -q --detach "$work/linux" refs/p2pdma/pristine
	fi
	total=$(git -C "$build/linux" rev-list --count refs/p2pdma/pristine..refs/p2pdma/assembled)
	while read -r c; do
		n=$((n + 1))
		((n >= ${FROM:-1})) || continue
		step "$n/$total $(git -C "$build/linux" show -s --format=%s "$c")"
		git -C "$work/linux" checkout -q --detach "$c"
		run_logged "commit-$n-off" build_commit n
		run_logged "commit-$n-on" build_commit y
	done < <(git -C "$build/linux" rev-list --reverse \
		refs/p2pdma/pristine..refs/p2pdma/assembled)
}

case ${1:-} in
versions) check_versions ;;
commits) check_commits ;;
*) die "usage: series-check.sh versions|commits" ;;
esac

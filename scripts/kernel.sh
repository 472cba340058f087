#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Build one kernel: kernel.sh VARIANT, where VARIANT is
#
#	normal		the series, as shipped
#	debug		the same with sanitizers, lockdep and fault injection
#	nop2pdma	the same with CONFIG_PCI_P2PDMA off
#	gcov		the normal one, counting which lines of ours run
#	stock		the untouched 6.12.y, to compare with
#
# The result is build/kernel-VARIANT: vmlinux, which QEMU starts as it is, and
# modroot/ with the modules. Nothing is done if the tree and the configuration are those of
# the last build.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

variant=${1:-normal}
fragments=("$top/scripts/config/base.config")
src=$build/linux
out=$build/kernel-$variant
flags=()
watched=
# Lines of a first build's log, for its progress.
lines=1900

case $variant in
normal)
	fragments+=("$top/scripts/config/p2pdma.config")
	;;
debug)
	fragments+=("$top/scripts/config/p2pdma.config" "$top/scripts/config/debug.config")
	watched=yes
	;;
nop2pdma)
	fragments+=("$top/scripts/config/nop2pdma.config")
	;;
gcov)
	fragments+=("$top/scripts/config/p2pdma.config" "$top/scripts/config/gcov.config")
	# The subsystem's own files, without its tests.
	for file in "$top"/drivers/pci/p2pdma*.c "$top"/block/blk-p2pdma.c \
		    "$top"/drivers/nvme/host/cmb.c "$top"/drivers/nvme/target/p2pmem.c; do
		[[ $file == *_test.c ]] || flags+=("GCOV_PROFILE_$(basename "$file" .c).o=y")
	done
	;;
stock)
	fragments+=("$top/scripts/config/p2pdma.config")
	src=$build/stock
	;;
*)
	die "unknown kernel '$variant': normal, debug, nop2pdma, gcov or stock"
	;;
esac

# Fixed, so that the same source gives the same binary and the cache hits.
export KBUILD_BUILD_TIMESTAMP='Sun Nov 17 22:15:08 UTC 2024'
export KBUILD_BUILD_USER=p2pdma
export KBUILD_BUILD_HOST=localhost
export KBUILD_BUILD_VERSION=1

kmake() {
	make -C "$src" O="$out" CC="ccache gcc" "${flags[@]}" "$@"
}

# The stock kernel lives in a second working tree of the same repository.
stock_tree() {
	local want have

	want=$(git -C "$build/linux" rev-parse refs/p2pdma/pristine)
	if [[ ! -e $src/.git ]]; then
		git -C "$build/linux" worktree prune
		run_logged stock-tree git -C "$build/linux" worktree add --detach "$src" "$want"
		return
	fi
	have=$(git -C "$src" rev-parse HEAD)
	if [[ $have != "$want" ]]; then
		run_logged stock-tree git -C "$src" checkout --detach "$want"
	fi
}

# What the build depends on: the commit, edits on top of it, untracked files,
# the configuration, the compiler, and this script. Not documents and tests.
inputs() {
	local -a paths=(. ':!Documentation' ':!MAINTAINERS' ':!tools/testing')

	{
		git -C "$src" ls-tree HEAD | grep -vE $'\t(Documentation|MAINTAINERS|tools)$'
		git -C "$src" ls-tree HEAD:tools | grep -v $'\ttesting$'
		git -C "$src" diff HEAD --binary -- "${paths[@]}"
		git -C "$src" ls-files -z --others --exclude-standard -- "${paths[@]}" |
			(cd "$src" && xargs -0 -r sha256sum --)
		cat "${fragments[@]}" "$0"
		gcc --version
	} | hash_of "$variant"
}

# KASAN looks at each access of the subsystem, of its users and of what they are
# built on. In the rest of the kernel it costs most of a debug kernel's time, and
# finds other people's faults. Freed memory is poisoned everywhere all the same.
#
# make knows files by their name without a directory. So a name is left out that
# is also one of a file that runs where there is no KASAN, as far as these kernels
# have such.
watch_files() {
	local -a dirs=(block drivers/{base,dma-buf,infiniband,iommu,nvme,pci,vfio} fs/configfs
		fs/kernfs fs/sysfs kernel/dma mm/{gup,memremap,sparse,sparse-vmemmap}.c samples
		lib/{genalloc,klist,kobject,percpu-refcount,scatterlist,xarray}.c)
	local name

	flags+=(KASAN_SANITIZE=n)
	while read -r name; do
		flags+=("KASAN_SANITIZE_$name.o=y")
	done < <(comm -23 \
		<(cd "$src" && find "${dirs[@]}" -name '*.c' | sed 's|.*/||; s|\.c$||' | sort -u) \
		<(cd "$src" && {
			find arch/x86/{boot,entry,platform,purgatory,realmode} kernel/entry \
				mm/kasan -name '*.[cS]' |
				sed 's|.*/||; s|\.[cS]$||'
			git grep -hoE '^KASAN_SANITIZE_[a-z0-9_-]+' -- \
				{arch/x86,drivers,kernel,lib,mm}/'*Makefile' ':!arch/x86/coco' |
				sed 's|KASAN_SANITIZE_||'
		} | sort -u))
}

# Does any Kconfig file of the tree define the symbol?
symbol_known() {
	[[ -n ${known:-} ]] ||
		known=$(git -C "$src" grep -hE --untracked \
			'^[[:space:]]*(menu)?config[[:space:]]' -- '*Kconfig*' | awk '{ print $2 }')
	grep -qx -- "$1" <<<"$known"
}

# A symbol of p2pdma.config may be missing while the series is incomplete, and
# in the stock kernel: it is unknown to the tree, or cannot be chosen.
may_be_missing() {
	grep -q "^CONFIG_$1=" "$top/scripts/config/p2pdma.config" || return 1
	[[ $variant == stock ]] && return 0
	symbol_known "$1" || return 0
	! grep -qE '^[^#[:space:]]' "$top/patches/series"
}

# Kconfig drops what it cannot satisfy without a word. Ask again.
verify_config() {
	local symbol want have line bad=0

	while read -r line; do
		[[ $line == CONFIG_*=* ]] || continue
		symbol=${line%%=*}
		want=${line#*=}
		have=$(sed -n "s/^$symbol=//p" "$out/.config")
		[[ ${have:-n} != "$want" ]] || continue
		if may_be_missing "${symbol#CONFIG_}"; then
			note "$symbol is not in this tree (yet)"
			continue
		fi
		printf 'error: %s asked for %s, got %s\n' "$symbol" "$want" "${have:-n}" >&2
		bad=1
	done < <(awk -F= '/^CONFIG_/ { v[$1] = $0 } END { for (s in v) print v[s] }' \
		"${fragments[@]}" | sort)
	((!bad)) || die "the configuration of '$variant' is not what scripts/config asks for"
}

configure() {
	# The last word on a symbol wins, as in merge_config.sh.
	mkdir -p "$out"
	{
		awk -F= '/^CONFIG_/ { v[$1] = $0 } END { for (s in v) print v[s] }' \
			"${fragments[@]}" | sort
		printf 'CONFIG_LOCALVERSION="-p2pdma-%s"\n' "$variant"
	} >"$out/all.config.new"
	run_logged "config-$variant" kmake KCONFIG_ALLCONFIG="$out/all.config.new" \
		KCONFIG_CONFIG="$out/.config.new" allnoconfig
	mv "$out/all.config.new" "$out/all.config"
	# An unchanged .config keeps its date, so that nothing is built for it.
	if cmp -s "$out/.config.new" "$out/.config"; then
		rm -f "$out/.config.new" "$out/.config.new.old"
	else
		mv "$out/.config.new" "$out/.config"
	fi
	verify_config
}

compile() {
	kmake -j"$(nproc)" vmlinux modules
	rm -rf "$out/modroot"
	kmake -j"$(nproc)" INSTALL_MOD_PATH="$out/modroot" INSTALL_MOD_STRIP=1 modules_install
	rm -f "$out"/modroot/lib/modules/*/{build,source}
}

main() {
	local hash

	one_at_a_time "kernel-$variant"
	[[ -e $build/linux/.git ]] || die "there is no build/linux; run 'make tree'"
	need_packages git gcc make flex bison bc libelf-dev libssl-dev libc6-dev ccache kmod \
		cpio xz-utils zstd perl python3 rsync binutils
	[[ $variant != stock ]] || stock_tree
	[[ -z $watched ]] || watch_files
	hash=$(inputs)
	if [[ -f $out/vmlinux ]] && stamp_is "$out/.stamp" "$hash"; then
		step "Kernel '$variant' is up to date"
		return
	fi
	step "Building the kernel '$variant'"
	rm -f "$out/.stamp"
	configure
	RUN_LINES=$lines run_logged "kernel-$variant" compile
	stamp_set "$out/.stamp" "$hash"
}

main

# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # lint.sh sets what is not set here
#
# Requirements that can be read off the tree.  Sourced by lint.sh.

# kconfig TARGET LINE...: the .config that this target makes of these lines.
kconfig() {
	local target=$1 dir=$build/lint-kconfig
	shift

	mkdir -p "$dir"
	printf 'CONFIG_%s\n' "$@" >"$dir/all.config"
	make -s -C "$src" O="$dir" ARCH=x86_64 KCONFIG_ALLCONFIG="$dir/all.config" "$target" \
		>"$logdir/lint-kconfig.log" 2>&1 || die "$target failed; see $logdir/lint-kconfig.log"
	grep '^CONFIG_' "$dir/.config"
}

# expect_kconfig CONFIG SYMBOL VALUE WHY: VALUE is n where it is not set.
expect_kconfig() {
	local value

	value=$(sed -n "s/^CONFIG_$2=//p" <<<"$1")
	[[ ${value:-n} == "$3" ]] || printf 'CONFIG_%s is %s, not %s: %s\n' "$2" "${value:-n}" "$3" "$4"
}

# Asked of kconfig itself. No 32-bit machine has ZONE_DEVICE, so that 64BIT is
# named can only be read.
check_kconfig() {
	local -a pages=(PCI=y 64BIT=y MODULES=y MIGRATION=y SPARSEMEM_VMEMMAP=y MEMORY_HOTPLUG=y
		MEMORY_HOTREMOVE=y ZONE_DEVICE=y)
	local without with entry text word

	without=$(kconfig allnoconfig "${pages[@]}")
	with=$(kconfig allnoconfig "${pages[@]}" PCI_P2PDMA=y)
	entry=$(sed -n '/^config PCI_P2PDMA$/,/^\(config\|choice\|menu\|if\|endif\|source\)\b/p' \
		"$src/drivers/pci/Kconfig" | sed '1d;$d')
	text=$(
		expect_kconfig "$without" ZONE_DEVICE y "this check needs it"
		expect_kconfig "$(kconfig alldefconfig "${pages[@]}")" PCI_P2PDMA n "the default"
		expect_kconfig "$without" GENERIC_ALLOCATOR n "nothing else selects it"
		expect_kconfig "$without" NEED_SG_DMA_FLAGS n "nothing else selects it"
		expect_kconfig "$with" PCI_P2PDMA y "it is asked for"
		expect_kconfig "$with" GENERIC_ALLOCATOR y "selected"
		expect_kconfig "$with" NEED_SG_DMA_FLAGS y "selected"
		expect_kconfig "$(kconfig allnoconfig "${pages[@]}" PCI_P2PDMA=m)" \
			PCI_P2PDMA n "it is no module"
		expect_kconfig "$(kconfig allnoconfig "${pages[@]}" ZONE_DEVICE=n PCI_P2PDMA=y)" \
			PCI_P2PDMA n "it depends on ZONE_DEVICE"
		expect_kconfig "$(kconfig allnoconfig "${pages[@]}" PCI=n PCI_P2PDMA=y)" \
			PCI_P2PDMA n "it depends on PCI"
		grep -q '^\sdepends on .*\b64BIT\b' <<<"$entry" || printf 'Kconfig: no dependency on 64BIT\n'
		for word in costs 'access control' until; do
			sed -n '/^\shelp$/,$p' <<<"$entry" | grep -q "$word" ||
				printf 'Kconfig: the help does not say "%s"\n' "$word"
		done
	)
	finding "R1.1: configuration" "$text"
}

# Only an inline function that other modules use may need a plain one.
check_exports() {
	finding "R1.13: exports for modules of any licence" \
		"$(git -C "$src" diff refs/p2pdma/pristine refs/p2pdma/assembled |
			grep -E '^\+\s*EXPORT_[A-Z_]*\(' | grep -vE 'EXPORT_(TRACEPOINT_)?SYMBOL(_NS)?_GPL\(' |
			grep -vxF "+EXPORT_SYMBOL(pci_p2pdma_key);	/* for is_pci_p2pdma_page() */" || true)"
}

# The lines of the subsystem's sources, without its tests.
subsystem() {
	project_files 'drivers/pci/p2pdma*.c' | grep -v '_test\.c$' | xargs -d '\n' cat
}

# Names of sysfs and configfs files in our sources, each with its directory.
user_files() {
	subsystem | sed -nE 's/.*\<(DEVICE|BIN)_ATTR(_[A-Z]+)?\((\w+).*/p2pmem\/\3/p
		s/.*\.attr = \{ ?\.name = "(\w+)".*/p2pmem\/\1/p'
	sed -nE 's/.*\.ca_name = "(\w+)".*/nvmet\/.*\/\1/p' drivers/nvme/target/p2pmem.c
}

check_abi() {
	local f n=0 text

	text=$(cd "$src" && {
		scripts/get_abi.pl validate --dir Documentation/ABI 2>&1 |
			grep -E 'sysfs-bus-pci|configfs-nvmet-p2pmem' || true
	})
	while read -r f; do
		n=$((n + 1))
		grep -rqE "^What:\s.*/$f\$" "$src/Documentation/ABI/testing" ||
			text+=${text:+$'\n'}"$f: no entry in Documentation/ABI/testing"
	done < <(user_files)
	((n >= 6)) || text+=${text:+$'\n'}"only $n files found: this check does not know how they are made"
	while read -r f; do
		grep -qP "^\tp2pdma\.$f=" "$src/Documentation/admin-guide/kernel-parameters.txt" ||
			text+=${text:+$'\n'}"p2pdma.$f: not in kernel-parameters.txt"
	done < <(subsystem | sed -nE 's/^module_param(_cb|_named)?\((\w+).*/\2/p')
	finding "R5.2: ABI entries ($n files)" "$text"
}

# Directives and roles of the kernel's own are not known to docutils.
check_documents() {
	local f name text

	text=$(
		for f in $(project_files '*.rst'); do
			PATH=/usr/bin:/bin:$PATH python3 -m docutils --writer=pseudoxml --report=2 "$f" 2>&1 >/dev/null |
				grep -E '^[^ ]+:[0-9]+: \((WARNING|ERROR|SEVERE)' |
				grep -vE 'Unknown (directive type|interpreted text role) "(kernel-doc|toctree|ref|doc|c:[a-z]+)"' || true
			name=${f##*/}
			[[ $f != Documentation/* ]] || grep -qE "^\s+${name%.rst}\$" "$src/${f%/*}/index.rst" ||
				printf '%s: not in the toctree of index.rst\n' "$f"
		done
		grep -qxF '.. kernel-doc:: include/linux/pci-p2pdma.h' Documentation/driver-api/pci/p2pdma.rst ||
			printf 'the guide for drivers does not have the kernel-doc of the header\n'
		subsystem | sed -nE 's/^EXPORT_SYMBOL(_GPL)?\((\w+)\).*/\2/p' | while read -r name; do
			[[ $name == pci_p2pdma_key ]] || grep -qE "^ \* $name(\(\))? - " include/linux/pci-p2pdma.h ||
				printf '%s: exported, without kernel-doc in pci-p2pdma.h\n' "$name"
		done
	)
	finding "R10.2: documents" "$text"
}

# Our files, and the names in our entry: each matches one of the others.
check_maintainers() {
	local f pattern text='' hit
	local -a files patterns

	mapfile -t files < <("$top/scripts/tree.py" list)
	mapfile -t patterns < <(sed -n '/^PCI PEER-TO-PEER DMA/,/^$/s/^F:\s*//p' "$src/MAINTAINERS")
	# Of a pattern a directory ends in a slash, and "*" does not match one.
	for f in "${files[@]}"; do
		hit=
		for pattern in "${patterns[@]}"; do
			# shellcheck disable=SC2053 # a pattern it is
			if [[ $pattern == */ && $f == "$pattern"* ]] ||
			   [[ ${f%/*} == "${pattern%/*}" && ${f##*/} == ${pattern##*/} ]]; then
				hit=yes
			fi
		done
		[[ -n $hit ]] || text+="$f: in no F: line of MAINTAINERS"$'\n'
	done
	for pattern in "${patterns[@]}"; do
		compgen -G "$src/${pattern/%\//\/*}" >/dev/null || text+="MAINTAINERS: no file matches $pattern"$'\n'
	done
	diff -q <(sed -n '/^PCI PEER-TO-PEER DMA/,/^$/p' "$src/MAINTAINERS" | sed '$d') MAINTAINERS >/dev/null ||
		text+="MAINTAINERS: not what the series adds to the kernel's"$'\n'
	finding "R10.4: MAINTAINERS (${#files[@]} files)" "${text%$'\n'}"
}

# What is in no list is never run.
check_tests_are_built() {
	local f text='' dir=tools/testing/selftests

	grep -qx 'TARGETS += p2pdma' "$src/$dir/Makefile" || text="p2pdma is no target of $dir/Makefile"$'\n'
	while read -r f; do
		grep -qE "^	${f##*/}( \\\\)?$" "$dir/p2pdma/Makefile" || text+="$f: not in TEST_PROGS"$'\n'
	done < <(grep -l '^# topology:' "$dir"/p2pdma/*.sh)
	for f in drivers/pci/p2pdma_*_test.c; do
		f=${f##*/}
		grep -q "\b${f%.c}\.o" "$src/drivers/pci/Makefile" || text+="$f: not in drivers/pci/Makefile"$'\n'
	done
	finding "R10.1: tests that are not built" "${text%$'\n'}"
}

# Transports ask the target's core.
check_transports() {
	finding "R9.7: transports that allocate peer memory" \
		"$(grep -nE '\bpci_\w*p2p(mem|dma)' "$src"/drivers/nvme/target/{rdma,tcp,fc,loop}.c || true)"
}

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What can be found without running anything. Every check prints its findings;
# the last line counts them, and any finding fails.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

src=$build/linux
out=$build/lint
problems=0
objects=()
cd "$top"

# checkpatch types that say nothing about this series:
ignore_always=(
	# MAINTAINERS entries come in a commit of their own.
	FILE_PATH_CHANGES
	# A stable tree's checkpatch does not know the commit ids of the others.
	UNKNOWN_COMMIT_ID GIT_COMMIT_ID
	# "generation=$(p2p generation ...)" in shell is no slip of the pen.
	REPEATED_WORD
	# A macro that puts strings together evaluates nothing twice.
	MACRO_ARG_REUSE
	# A check that ends its test is what tests are made of.
	MACRO_WITH_FLOW_CONTROL
)
# ... and about the commits that only take the stock implementation out:
ignore_removal=(
	# The context of removed lines is not ours to restyle.
	LONG_LINE LONG_LINE_COMMENT SPLIT_STRING
	MULTIPLE_ASSIGNMENTS PARENTHESIS_ALIGNMENT
	# A Kconfig symbol without a prompt has no help to be long enough.
	CONFIG_DESCRIPTION
)

commas() {
	local IFS=,

	printf '%s' "$*"
}

# finding CHECK TEXT: TEXT holds one finding a line, or nothing.
finding() {
	local check=$1 text=$2 n=0

	if [[ -n $text ]]; then
		n=$(wc -l <<<"$text")
		printf '%s\n' "$text"
	fi
	printf '  %s: %d\n' "$check" "$n"
	problems=$((problems + n))
}

# Our files, whether git has them yet or not.
project_files() {
	git ls-files -z --cached --others --exclude-standard -- "$@" |
		while IFS= read -r -d '' f; do
			[[ ! -f $f || -L $f ]] || printf '%s\n' "$f"
		done
}

scripts_of() {
	local f first

	while read -r f; do
		first=
		IFS= read -r first <"$f" 2>/dev/null || true
		case $1:$f:$first in
		bash:*:'#!'*bash* | bash:*:'#!/bin/sh'* | bash:*.sh:*) printf '%s\n' "$f" ;;
		python:*:'#!'*python* | python:*.py:*) printf '%s\n' "$f" ;;
		esac
	done < <(project_files)
}

# Findings of checkpatch for one commit, a line each.
checkpatch_commit() {
	local commit=$1 subject
	shift

	subject=$(git -C "$src" show -s --format=%s "$commit")
	# Unfolded, lest the rest of a long From: pass for the commit message.
	# spdxcheck.py wants the system's python with its packages.
	git -C "$src" format-patch -1 -p --no-renames --no-signature --stdout "$commit" |
		awk '!body && /^[ \t]/ { printf "%s", $0; next }
			NR > 1 { print "" }
			/^$/ { body = 1 }
			{ printf "%s", $0 }
			END { print "" }' |
		(cd "$src" && PATH=/usr/bin:/bin:$PATH scripts/checkpatch.pl --strict --terse --showfile --no-summary \
			--color=never --max-line-length=100 --ignore "$(commas "$@")" -) |
		sed "/^total:/d; s|^|$subject: |" || true
}

# The first commits are those of patches/base.
check_commits() {
	local nbase n=0 commit text='' more
	local -a ignore

	nbase=$(grep -c '^[0-9]\{4\}-.*\.patch' patches/base/series || true)
	while read -r commit; do
		n=$((n + 1))
		ignore=("${ignore_always[@]}")
		((n > nbase)) || ignore+=("${ignore_removal[@]}")
		more=$(checkpatch_commit "$commit" "${ignore[@]}")
		[[ -z $more ]] || text+=${text:+$'\n'}$more
	done < <(git -C "$src" rev-list --reverse \
		refs/p2pdma/pristine..refs/p2pdma/assembled)
	finding "checkpatch --strict ($n commits)" "$text"
}

kmake() {
	make -C "$src" O="$out" CC="ccache gcc" -j"$(nproc)" "$@"
}

# derive SETTING...: build/lint is a copy of the warm build of the normal kernel;
# give it other settings. Only what is named gets compiled there.
derive() {
	local kernel=$build/kernel-normal wanted line

	if [[ ! -f $out/.config || $kernel/.stamp -nt $out/.config ]]; then
		rsync -a --delete --exclude=/modroot --exclude='/*kselftest*' --exclude='/payload*' \
			--exclude='/vmlinux*' --exclude='/.tmp_*' "$kernel/" "$out/"
	fi
	printf '%s\n' CONFIG_WERROR=n "$@" | cat "$kernel/.config" - >"$out/.config"
	kmake olddefconfig
	for wanted; do
		line=$(grep -F "${wanted%=n}" "$out/.config" || true)
		[[ $line == "$wanted" || $line == "# ${wanted%=n} is not set" || -z $line ]] ||
			die "lint: asked for $wanted, got $line"
	done
	kmake modules_prepare
}

# Compile OBJECT... with sparse and W=1, for PREEMPT_RT: the normal build has
# compiled them for the rest. Sparse may stumble over headers that are not ours:
# only what is said about our files counts.
compile_all() {
	derive CONFIG_EXPERT=y CONFIG_PREEMPT_RT=y
	rm -f "${@/#/$out/}"
	kmake -k C=2 W=1 CF=-fdiagnostic-prefix=sparse: "$@"
}

# Test modules are built as a user builds them, in a copy. Sparse does not see that
# guard() unlocks.
compile_modules() {
	local dir=$1

	rm -rf "$build/lint-modules"
	cp -r "$dir" "$build/lint-modules"
	kmake -k C=2 W=1 CF="-fdiagnostic-prefix=sparse: -Wno-context" KBUILD_MODPOST_WARN=1 M="$build/lint-modules" modules
}

# Everything that speaks of peer memory, with the feature off: R1.9 at compile
# time. Of our own files only the CMB's is for both.
compile_off() {
	local -a objects

	derive CONFIG_PCI_P2PDMA=n
	mapfile -t objects < <(git -C "$src" grep -liE 'p2pdma|p2pmem' -- '*.c' |
		grep -vxF -f <("$top/scripts/tree.py" list | grep -vx drivers/nvme/host/cmb.c) |
		while read -r f; do
			[[ ! -f $out/${f%.c}.o ]] || printf '%s.o\n' "${f%.c}"
		done)
	((${#objects[@]} > 10)) || die "lint: no objects to compile with the feature off"
	rm -f "${objects[@]/#/$out/}"
	kmake "${objects[@]}"
}

# The lines of a log that are about one of the given files.
about() {
	local log=$1
	shift

	grep -E '(warning|error):' "$log" |
		grep -F -f <(printf '%s:\n' "$@") | sed 's,^\.\./[a-z]*/,,' | sort -u || true
}

# One processor compiles while the other reads. Sets $compiler and what it compiles.
start_compiler() {
	local f

	mapfile -t sources < <("$top/scripts/tree.py" list | grep '\.[ch]$')
	for f in "${sources[@]}"; do
		case $f in
		*/modules/*.c) modules=$(dirname "$f") ;;
		tools/*) ;;
		*.c) objects+=("${f%.c}.o") ;;
		esac
	done
	(
		run_logged lint-objects compile_all "${objects[@]}"
		out=$build/kernel-normal run_logged lint-modules compile_modules "$modules"
		run_logged lint-off compile_off
	) &
	compiler=$!
}

check_objects() {
	local text=''

	wait "$compiler" || text="the compiler failed: see $logdir/lint-*.log"
	text+=$'\n'$(about "$logdir/lint-objects.log" "${sources[@]}")
	text+=$'\n'$(about "$logdir/lint-modules.log" "${sources[@]##*/}")
	finding "R1.4 R1.9 sparse, W=1, PREEMPT_RT, the feature off (${#objects[@]} objects)" \
		"$(sed '/^$/d' <<<"$text")"
}

check_kernel_doc() {
	local -a sources

	mapfile -t sources < <("$top/scripts/tree.py" list | grep '\.[ch]$')
	((${#sources[@]})) || return 0
	finding "N24: kernel-doc" "$("$src/scripts/kernel-doc" -none -Wall "${sources[@]}" 2>&1 |
		sed '/^$/d; /^[0-9]* warnings as/d' || true)"
}

# SC2317: functions that a test runner or a trap calls look unreachable.
check_shell() {
	local -a files

	mapfile -t files < <(scripts_of bash)
	finding "shellcheck (${#files[@]} files)" "$(printf '%s\n' "${files[@]}" |
		xargs -d '\n' -P "$(nproc)" -n 5 \
			shellcheck -x -e SC2317 -P SCRIPTDIR -P "$top" -f gcc 2>&1 || true)"
}

check_python() {
	local f text=''

	while read -r f; do
		text+=$(python3 -c 'import sys
try:
    compile(open(sys.argv[1], encoding="utf-8").read(), sys.argv[1], "exec")
except SyntaxError as e:
    print("%s:%s: %s" % (sys.argv[1], e.lineno, e.msg))' "$f")
	done < <(scripts_of python)
	finding python "$text"
}

# The scripts' own tests, with what a machine or a tree may give them.
check_scripts() {
	local f text=''

	for f in scripts/tests/*; do
		run_logged "$(basename "$f")" "$f" || text+="$f: see $logdir/$(basename "$f").log"$'\n'
	done
	finding "scripts' own tests" "${text%$'\n'}"
}

# Context and removed lines of patches are not ours.
check_spelling() {
	local -a files
	local text words=filp,inflight,inout,parms,ser,te,extraversion

	mapfile -t files < <(project_files | grep -v '\.patch$')
	text=$(codespell --ignore-words-list="$words" "${files[@]}" 2>&1 || true)
	text+=$(git ls-files -z --cached --others --exclude-standard -- 'patches/*.patch' |
		xargs -0 -r sed -n '/^---$/,$!p; /^+/p' | codespell --ignore-words-list="$words" - 2>&1 | sed '/==>/!d' || true)
	finding codespell "$(sed '/^$/d' <<<"$text")"
}

# Letters that look like others hide in source (N24).
check_ascii() {
	local text

	text=$(project_files '*.c' '*.h' '*.S' 'scripts/*' |
		xargs -r -d '\n' grep -nHP '[^\x00-\x7F]' || true)
	text+=$(project_files 'patches/*.patch' |
		xargs -r -d '\n' grep -nHP '^\+.*[^\x00-\x7F]' || true)
	finding "N24: non-ASCII source" "$text"
}

# kconfig TARGET LINE...: the .config that this target makes of these lines.
kconfig() {
	local target=$1 dir=$out/kconfig
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

check_series() {
	local text=''

	run_logged lint-series "$top/scripts/tree.sh" export || text="see $logdir/lint-series.log"
	finding "R10.5: git am of the series" "$text"
}

# Each requirement has a test, and the table of them is up to date.
check_requirements() {
	finding "requirements and tests" "$(scripts/requirements.py --check || true)"
}

main() {
	step "Lint"
	[[ -e $src/.git ]] || die "there is no build/linux; run 'make tree'"
	need_packages git gcc make flex bison bc libelf-dev libssl-dev libc6-dev ccache \
		xz-utils rsync perl python3 python3-ply python3-git python3-docutils sparse shellcheck codespell binutils
	one_at_a_time lint
	if [[ $(git -C "$src" rev-parse HEAD) != "$(git -C "$src" rev-parse refs/p2pdma/assembled)" ]]; then
		warn "build/linux has edits that the project does not: they are not checked as commits"
	fi
	start_compiler
	check_commits
	check_kernel_doc
	check_shell
	check_python
	check_scripts
	check_spelling
	check_ascii
	check_kconfig
	check_exports
	check_abi
	check_documents
	check_maintainers
	check_tests_are_built
	check_transports
	check_series
	check_requirements
	check_objects
	if ((problems)); then
		printf 'lint: %d problems\n' "$problems"
		exit 1
	fi
	printf 'lint: no problems\n'
}

main

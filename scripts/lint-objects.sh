# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # lint.sh sets what is not set here
#
# What the compiler and sparse find, in configurations that are not built
# otherwise.  Sourced by lint.sh.

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

check_objects() {
	local f modules='' text='' failed="the compiler failed: see $logdir/lint-*.log"
	local -a sources objects=()

	mapfile -t sources < <("$top/scripts/tree.py" list | grep '\.[ch]$')
	for f in "${sources[@]}"; do
		case $f in
		*/modules/*.c) modules=$(dirname "$f") ;;
		tools/*) ;;
		*.c) objects+=("${f%.c}.o") ;;
		esac
	done
	run_logged lint-objects compile_all "${objects[@]}" || text=$failed
	out=$build/kernel-normal run_logged lint-modules compile_modules "$modules" || text=$failed
	run_logged lint-off compile_off || text=$failed
	text+=$'\n'$(about "$logdir/lint-objects.log" "${sources[@]}")
	text+=$'\n'$(about "$logdir/lint-modules.log" "${sources[@]##*/}")
	finding "R1.4 R1.9 sparse, W=1, PREEMPT_RT, the feature off (${#objects[@]} objects)" \
		"$(sed '/^$/d' <<<"$text")"
}

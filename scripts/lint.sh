#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What can be found without running anything. Every check prints its findings;
# the last line counts them, and any finding fails.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$top/scripts/lint-objects.sh"
. "$top/scripts/lint-requirements.sh"

src=$build/linux
out=$build/lint
problems=0
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

check_series() {
	local text=''

	run_logged lint-series "$top/scripts/tree.sh" export || text="see $logdir/lint-series.log"
	finding "R10.5: git am of the series" "$text"
}

# Each requirement has a test, and the table of them is up to date.
check_requirements() {
	finding "requirements and tests" "$(scripts/requirements.py --check || true)"
}

# run_checks CHECK...: as many at a time as there are processors, the longest first;
# what one says comes when it is over
run_checks() {
	local dir check

	dir=$(mktemp -d)
	exec 3>&1
	for check; do
		(($(jobs -rp | wc -l) < $(nproc))) || wait -n || true
		(
			trap 'cat "$dir/$check" >&3' EXIT
			"$check"
			printf '%d\n' "$problems" >"$dir/$check.count"
		) >"$dir/$check" 2>&1 &
	done
	wait
	for check; do
		if [[ -s $dir/$check.count ]]; then
			problems=$((problems + $(<"$dir/$check.count")))
		else
			printf '  %s: could not be done\n' "$check"
			problems=$((problems + 1))
		fi
	done
	rm -rf "$dir"
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
	run_checks check_objects check_commits check_shell check_scripts check_kconfig \
		check_kernel_doc check_python check_spelling check_ascii check_exports check_abi \
		check_documents check_maintainers check_tests_are_built check_transports \
		check_series check_requirements
	if ((problems)); then
		printf 'lint: %d problems\n' "$problems"
		exit 1
	fi
	printf 'lint: no problems\n'
}

main

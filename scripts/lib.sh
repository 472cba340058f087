# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# What the scripts share: places, progress, logs, packages and stamps.
# Sourced, never run.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${BUILD:-$top/build}
[[ $build == /* ]] || build=$top/$build
logdir=$build/log
export BUILD=$build
export LC_ALL=C.UTF-8
mkdir -p "$logdir"

# What the user told our make is not meant for the kernel's.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL KBUILD_OUTPUT KBUILD_VERBOSE

# Objects come from the user's ordinary cache. In depend mode a miss costs no
# second run of the preprocessor. Paths are hashed relative to build/, so a
# second clone of the same source compiles next to nothing.
export CCACHE_DEPEND=1
export CCACHE_BASEDIR=$build
export CCACHE_NOHASHDIR=1

lib_t0=$SECONDS

elapsed() {
	local s=$((SECONDS - lib_t0))

	printf '%d:%02d' $((s / 60)) $((s % 60))
}

# step TEXT: say what starts now.
step() {
	if [[ -t 1 ]]; then
		printf '\033[1m[%s] %s\033[0m\n' "$(elapsed)" "$*"
	else
		printf '%s\n' "$*"
	fi
}

note() {
	printf '  %s\n' "$*"
}

warn() {
	printf 'warning: %s\n' "$*" >&2
}

die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

# Show how far a logged command is, against the number of lines that the same
# command wrote when it last succeeded.
show_progress() {
	local name=$1 pid=$2 t0=$SECONDS total=${RUN_LINES:-0} n text

	[[ ! -s $logdir/$name.lines ]] || total=$(<"$logdir/$name.lines")
	while kill -0 "$pid" 2>/dev/null; do
		n=$(wc -l <"$logdir/$name.log" 2>/dev/null || echo 0)
		text="$((SECONDS - t0)) s"
		if ((total > 0)); then
			((n < total)) || n=$((total - 1))
			text="$((100 * n / total)) %, $text"
		fi
		printf '\r\033[K  %s: %s' "$name" "$text"
		sleep 0.5
	done
	printf '\r\033[K'
}

# run_logged NAME CMD...: the whole output goes to build/log/NAME.log. On
# failure its tail and its path are shown and the status is passed on.
# RUN_LINES, if set, guesses the number of lines of a first run.
run_logged() {
	local name=$1 t0=$SECONDS rc=0 pid lines
	shift

	"$@" >"$logdir/$name.log" 2>&1 </dev/null &
	pid=$!
	# A background job ignores the terminal's interrupt: pass it on.
	# shellcheck disable=SC2064
	trap "kill $pid 2>/dev/null; exit 130" INT TERM
	if [[ -t 1 ]]; then
		show_progress "$name" "$pid"
	fi
	wait "$pid" || rc=$?
	trap - INT TERM
	if ((rc)); then
		printf 'error: %s failed with status %d; the end of its log:\n' "$name" "$rc" >&2
		tail -n "${RUN_TAIL:-25}" "$logdir/$name.log" | sed 's/^/    /' >&2
		printf 'the whole log: %s\n' "$logdir/$name.log" >&2
		return "$rc"
	fi
	# A full run is the measure for progress, not the short one after an edit.
	lines=$(wc -l <"$logdir/$name.log")
	if [[ ! -s $logdir/$name.lines ]] || ((lines > $(<"$logdir/$name.lines"))); then
		printf '%d\n' "$lines" >"$logdir/$name.lines"
	fi
	# For the table of "make check"
	printf '%s %d\n' "$name" $((SECONDS - t0)) >>"$logdir/times"
	note "$name: done in $((SECONDS - t0)) s"
}

missing_packages() {
	local p have

	# dpkg-query fails when one is not known, which is an answer too.
	have=" $({ dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' "$@" 2>/dev/null || true; } |
		sed -n 's/^ii  *//p' | tr '\n' ' ') "
	for p; do
		[[ $have == *" $p "* ]] || printf '%s\n' "$p"
	done
}

as_root() {
	if ((EUID == 0)); then
		"$@"
	elif sudo -n true 2>/dev/null; then
		sudo -n "$@"
	else
		sudo "$@"
	fi
}

can_be_root() {
	((EUID == 0)) && return
	command -v sudo >/dev/null || return
	sudo -n true 2>/dev/null || [[ -t 0 && -t 2 ]]
}

apt_update() {
	run_logged apt-update as_root apt-get -q update
}

apt_install() {
	run_logged apt-install as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get -q -y -o DPkg::Lock::Timeout=600 install --no-install-recommends "$@"
}

# need_packages PKG...: installed when this returns.
need_packages() {
	local -a missing
	local p

	command -v dpkg-query >/dev/null ||
		die "this needs Debian's package manager; packages: $*"
	mapfile -t missing < <(missing_packages "$@")
	((${#missing[@]})) || return 0

	if ! can_be_root; then
		printf 'error: packages are missing. Install them with\n\n' >&2
		printf '    sudo apt-get update && sudo apt-get install --no-install-recommends %s\n\n' \
			"${missing[*]}" >&2
		exit 1
	fi
	step "Installing packages: ${missing[*]}"
	for p in "${missing[@]}"; do
		if ! apt-cache show "$p" >/dev/null 2>&1; then
			apt_update
			break
		fi
	done
	# Lists that are too old name files that the mirror no longer has.
	apt_install "${missing[@]}" || { apt_update && apt_install "${missing[@]}"; } ||
		die "cannot install: ${missing[*]}"
}

# Stamps: a step is done again only when the hash of its inputs changed.
# hash_of WORD...: the hash of the words and of standard input.
hash_of() {
	{
		printf '%s\n' "$@"
		cat
	} | sha256sum | cut -c1-40
}

stamp_is() {
	[[ -f $1 && $(<"$1") == "$2" ]]
}

stamp_set() {
	mkdir -p "$(dirname "$1")"
	printf '%s\n' "$2" >"$1"
}

# one_at_a_time NAME: hold a lock until the script ends.
one_at_a_time() {
	exec {lock_fd}>"$build/.lock-$1"
	if ! flock -n "$lock_fd"; then
		note "waiting for another $1 to finish"
		flock "$lock_fd"
	fi
}

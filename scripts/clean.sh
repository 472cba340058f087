#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# clean.sh: remove kernels, logs and exports. clean.sh all: remove build/, but
# never edits in build/linux that exist nowhere else (FORCE=1 does).
set -euo pipefail
. "$(dirname "$0")/lib.sh"

has_edits() {
	local linux=$build/linux

	[[ -d $linux/.git ]] || return 1
	[[ -n $(git -C "$linux" status --porcelain) ]] && return 0
	[[ $(git -C "$linux" rev-parse -q --verify HEAD) != \
		"$(git -C "$linux" rev-parse -q --verify refs/p2pdma/assembled)" ]]
}

if [[ ${1:-} == all ]]; then
	if has_edits && [[ ${FORCE:-} != 1 ]]; then
		die "build/linux has edits; 'make refresh' first, or give FORCE=1"
	fi
	step "Removing $build"
	rm -rf "$build"
	exit
fi

step "Removing kernels, logs and exports"
if [[ -e $build/stock ]]; then
	git -C "$build/linux" worktree remove --force "$build/stock" || rm -rf "$build/stock"
fi
rm -rf "$build"/kernel-* "$build"/{log,series,deb,commits,lint,lint-kconfig,lint-modules}

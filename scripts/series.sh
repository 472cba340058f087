#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Write the series to build/series/, and prove that "git am" takes it on the
# pristine tree and arrives at the same result.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

scratch=$build/series-am

cleanup() {
	git -C "$build/linux" worktree remove --force "$scratch" 2>/dev/null || true
	rm -rf "$scratch"
}

# Only the files that the series touches are checked out.
apply() {
	git -C "$build/linux" worktree add -q --no-checkout --detach "$scratch" \
		refs/p2pdma/pristine
	git -C "$scratch" sparse-checkout set --no-cone --stdin < <(
		git -C "$build/linux" diff --name-only --no-renames \
			refs/p2pdma/pristine refs/p2pdma/assembled | sed 's,^,/,')
	git -C "$scratch" checkout -q
	git -C "$scratch" -c user.name=test -c user.email=test@localhost \
		am -q "$build"/series/000[1-9]*.patch "$build"/series/00[1-9]*.patch
	git -C "$scratch" diff --exit-code HEAD refs/p2pdma/assembled
}

step "Writing the series"
need_packages git python3
one_at_a_time series
"$top/scripts/tree.py" export
trap cleanup EXIT
cleanup
shopt -s nullglob
run_logged series-am apply
note "git am takes all of it on the pristine tree, with the same result"

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Assemble build/linux: the pristine kernel, without its own peer-to-peer DMA,
# with the series. LINUX= names another 6.12.y (a directory or a tarball);
# FORCE=1 throws edits in build/linux away, after saving them.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

package=linux-source-6.12

# The tarball that the newest installed package brings.
package_tarball() {
	local f

	for f in /usr/src/"$package".tar.*; do
		if [[ -f $f ]]; then
			printf '%s\n' "$f"
			return
		fi
	done
	die "the package $package has no /usr/src/$package.tar.*"
}

main() {
	local source

	step "Assembling the kernel tree"
	need_packages git python3 xz-utils zstd
	one_at_a_time tree
	if [[ -n ${LINUX:-} ]]; then
		source=$LINUX
	else
		need_packages "$package"
		source=$(package_tarball)
	fi
	"$top/scripts/tree.py" assemble "$source"
}

main

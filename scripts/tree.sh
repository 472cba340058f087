#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# tree.sh: assemble build/linux from the pristine kernel and the series.
# LINUX= names another 6.12.y (a directory or a tarball); FORCE=1 throws edits
# in build/linux away, after saving them.
#
# tree.sh refresh: write the commits of build/linux back.
# tree.sh export: write build/series/, and prove it with "git am".
set -euo pipefail
. "$(dirname "$0")/lib.sh"

package=linux-source-6.12

need_packages git python3 xz-utils zstd
one_at_a_time tree
case ${1:-} in
refresh) step "Writing the edits in build/linux back" ;;
export) step "Writing the series" ;;
*)
	step "Assembling the kernel tree"
	if [[ -z ${LINUX:-} ]]; then
		need_packages "$package"
		LINUX=$(compgen -G "/usr/src/$package.tar.*") ||
			die "the package $package has no /usr/src/$package.tar.*"
	fi
	set -- assemble "$LINUX"
	;;
esac
"$top/scripts/tree.py" "$@"

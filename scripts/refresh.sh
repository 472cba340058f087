#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Write the commits of build/linux back into patches/ and the project's files.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

step "Writing the edits in build/linux back"
need_packages git python3
one_at_a_time tree
"$top/scripts/tree.py" refresh

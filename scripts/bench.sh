#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The normal kernel and the stock one, side by side: see scripts/bench.py. Both
# and the guest must be built. REPEAT=9 measures each job more often.

set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=scripts/lib.sh
. scripts/lib.sh

need_packages qemu-system-x86 python3 squashfs-tools rsync gcc libc6-dev

step "Bench: instructions of the guest, this implementation and the stock one"
exec python3 -B scripts/bench.py

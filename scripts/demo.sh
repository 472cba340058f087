#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The main job, end to end, with a short report: see scripts/demo.py. The kernel
# and the guest must be built. DEMO_MIB=256 moves more, KEEP=1 keeps the disks
# and QEMU's trace below build/run.

set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=scripts/lib.sh
. scripts/lib.sh

need_packages qemu-system-x86 python3 squashfs-tools rsync gcc libc6-dev

step "Demo: a host writes to a remote drive, and reads back, through a drive's memory"
exec python3 -B scripts/demo.py

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# check.sh [WORD...]: run all tests, or those that the words name (a test, a
# tag, "kunit", "kselftest", a kernel). T=... in the environment does the same.
# KERNELS="normal" limits the kernels, JOBS=1 the machines that run at once,
# KEEP=1 keeps disks and traces. The kernels and the guest must be built.

set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=scripts/lib.sh
. scripts/lib.sh

need_packages qemu-system-x86 python3 squashfs-tools rsync gcc libc6-dev

step "Tests: in virtual machines"
if [ $# -eq 0 ] && [ -n "${T:-}" ]; then
	set -- "$T"
fi
exec python3 -B scripts/check.py "$@"

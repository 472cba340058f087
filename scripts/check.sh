#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# check.sh [WORD...]: build kernels and guest, then run all tests, or those that
# the words name (a test, a tag, "kunit", "kselftest", a kernel). T=... in the
# environment does the same. KERNELS="normal" limits the kernels, JOBS=1 the
# machines that run at once, KEEP=1 keeps disks and traces, SEED=random has tests
# choose at random.
#
# The kernel with the feature off is built and booted only when something that
# decides what it does is not what it was when its test passed the last time;
# scripts/config/nop2pdma.passed, part of the repository, says what that was.
# "make lint" compiles with the feature off each time.

set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=scripts/lib.sh
. scripts/lib.sh

passed=scripts/config/nop2pdma.passed

feature_off_inputs() {
	git ls-files -- include block drivers patches scripts/config samples \
		tools/testing/selftests/p2pdma/{nop2pdma.sh,lib.sh} |
		grep -vE "_test\.[ch]$|^drivers/pci/p2pdma|^$passed$" |
		xargs -d '\n' sha256sum -- | hash_of off
}

# The kernels that are asked for, by KERNELS or as a word; else those for all.
choose_kernels() {
	local word

	[[ -z ${KERNELS:-} ]] || return 0
	for word in "${@//,/ }"; do
		case " $word " in
		*' normal '* | *' debug '* | *' nop2pdma '* | *' gcov '*) KERNELS+=" $word" ;;
		esac
	done
	if [[ -z ${KERNELS:-} ]]; then
		KERNELS="normal debug"
		(($#)) || stamp_is "$passed" "$(feature_off_inputs)" || KERNELS+=" nop2pdma"
	fi
}

need_packages qemu-system-x86 python3 squashfs-tools rsync gcc libc6-dev
if [ $# -eq 0 ] && [ -n "${T:-}" ]; then
	set -- "$T"
fi
choose_kernels "$@"
for kernel in $KERNELS; do
	case $kernel in
	normal | debug | nop2pdma | gcov | stock) scripts/kernel.sh "$kernel" ;;
	esac
done
scripts/guest.sh

step "Tests: in virtual machines"
rc=0
KERNELS=$KERNELS python3 -B scripts/check.py "$@" || rc=$?
if ((rc == 0)) && grep -q '^ok .*(nop2pdma,' "$build/check/summary.txt"; then
	stamp_set "$passed" "$(feature_off_inputs)"
	note "the feature off passed: commit $passed"
fi
exit "$rc"

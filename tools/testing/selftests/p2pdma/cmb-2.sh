#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A CMB of 2 MiB: exactly the smallest that can have struct pages on x86.
# Guards R8.1 at its edge, and copies that need more than there is at once.
#
# topology: cmb-2
# kernels: normal
# timeout: 90
# tags: nvme cmb

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=cmb-lib.sh
. "$(dirname "$0")/cmb-lib.sh"

# Chunks of 1 MiB, four at a time, do not fit; of 256 KiB they do.
small_copies()
{
	local length

	length=$(blockdev --getsize64 "$src")
	wipe "$dst"
	copy "$src" "$dst"
	check_equal provider "$(report provider)" "$cmb_bdf"
	check_copied 0 0 "$length"
	(($(report bytes_p2p) > 0)) || fail "nothing went through the CMB"
	copy_parameter chunk_kib 256
	copy_through_it
}

cmb_cases $((2 * MIB))
add "R8.1 R10.3: copies through it, that need more and less than it has" small_copies
run_cases

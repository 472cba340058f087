#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A CMB of 1 MiB: smaller than the kernel can give struct pages. The stock
# kernel skips it without a word.
#
# Guards R8.7: one line says why; and R8.2: submission queues need no struct
# pages, so they are in the CMB all the same.
#
# topology: cmb-1
# kernels: normal
# timeout: 90
# leaks: normal
# tags: nvme cmb

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=cmb-lib.sh
. "$(dirname "$0")/cmb-lib.sh"

one_line()
{
	local said

	bind_anew
	said=$(said_of cmb | grep -v "submission queues")
	note "$said"
	check_equal "lines about the CMB" "$(wc -l <<<"$said")" 1
	check_match "the line" "$said" "CMB not .*0x100000 bytes .*multiples of 0x200000"
	check_equal p2pmem "$(has_p2pmem "$cmb_bdf" && echo there)" ""
	check_fails "allocating" "Cannot allocate memory" p2p alloc "$cmb_bdf" 4096

	# And a reset is no reason to say it again.
	echo 1 >"/sys/class/nvme/$(ctrl_of cmb)/reset_controller"
	wait_for 30 ctrl_in_state cmb live
	check_equal "lines after a reset" \
		"$(said_of cmb | grep -vc "submission queues")" 1
}

# A mapping is enough for queues: they need no struct pages.
queues()
{
	wipe "$cmb" 0 $((4 * MIB))
	(($(commands_in_cmb) > 0)) || fail "no command of the drive lies in the CMB"
}

# With nothing to use it for. What the queues left there before is overwritten.
no_use_for_it()
{
	defer load_nvme 1
	load_nvme 0
	"$here/p2pmem_mmap" scribble "$PCI/$cmb_bdf/resource2" 0
	check_no_log "nothing is said about queues" "submission queues"
	check_log_count "it is said why" "CMB not .*multiples of 0x200000" 1
	attributes "$MIB"
	drive_works
	check_equal "commands in the CMB" "$(commands_in_cmb)" 0
}

drive_works()
{
	check_drive
	check_equal provider "$(report provider)" none
	check_all_host $((4 * MIB)) "$nothing_on_offer"
}

add "R8.7: one line says why the CMB is not used" one_line
add "R8.3: its attributes are there all the same" attributes "$MIB"
add "R8.2: submission queues are in it nevertheless" queues
add "R8.7: the drive works" drive_works
add "R8.2 R8.7: nor are queues in it, if they shall not be" no_use_for_it
run_cases

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Submission queues in the CMB, on and off by use_cmb_sqes.
#
# Guards R8.2: space for queues is set aside before anything is published, and
# commands really lie there (the case looks into the BAR); the rest is peer
# memory; when off, all is.
#
# topology: cmb-sqes
# kernels: normal debug
# timeout: 120
# tags: nvme cmb

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=cmb-lib.sh
. "$(dirname "$0")/cmb-lib.sh"

size=$((16 * MIB))

# Nothing that looks like a command may be left from before.
clean_cmb()
{
	local id

	id=$(p2p_value id alloc "$cmb_bdf" "$(p2pmem_available "$cmb_bdf")")
	p2p fill "$id" 0
	p2p free "$id"
}

on()
{
	local taken number

	check_equal use_cmb_sqes "$(</sys/module/nvme/parameters/use_cmb_sqes)" Y
	check_equal size "$(p2pmem_size "$cmb_bdf")" "$size"
	check_equal published "$(p2pmem_published "$cmb_bdf")" 1
	taken=$((size - $(p2pmem_available "$cmb_bdf")))
	note "$taken bytes are set aside"
	((taken > 0 && taken <= size / 2)) || fail "$taken bytes are set aside"
	check_drive
	check_all_p2p "$cmb_bdf" $((4 * MIB))
	number=$(commands_in_cmb)
	note "$number commands found in the CMB"
	((number > 0)) || fail "no command of the drive lies in the CMB"
	check_equal "set aside after I/O" $((size - $(p2pmem_available "$cmb_bdf"))) "$taken"
}

off()
{
	defer load_nvme 1
	load_nvme 0
	check_equal size "$(p2pmem_size "$cmb_bdf")" "$size"
	check_equal available "$(p2pmem_available "$cmb_bdf")" "$size"
	clean_cmb
	check_drive
	check_all_p2p "$cmb_bdf" $((4 * MIB))
	check_equal "commands in the CMB" "$(commands_in_cmb)" 0
	check_no_log "nothing is said about queues" "submission queues"
}

# Others have all of the memory: the queues keep theirs, also over a reset.
nothing_left()
{
	local taken

	taken=$((size - $(p2pmem_available "$cmb_bdf")))
	defer p2p free-all
	p2p alloc-all "$cmb_bdf" 4K >/dev/null
	check_equal available "$(p2pmem_available "$cmb_bdf")" 0
	echo 1 >"/sys/class/nvme/$(ctrl_of cmb)/reset_controller"
	wait_for 30 ctrl_in_state cmb live || fail "not live after a reset"
	check_drive
	(($(commands_in_cmb) > 0)) || fail "no command of the drive lies in the CMB"
	p2p free-all
	check_equal "set aside" $((size - $(p2pmem_available "$cmb_bdf"))) "$taken"
}

add "R8.2: on: commands lie in the CMB, and the rest is peer memory" on
add "R8.2: with nothing left to allocate the queues survive a reset" nothing_left
add "R8.2: off: no command lies there, and all is peer memory" off
add "R8.2: and on again" on
run_cases

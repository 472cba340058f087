#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A CMB of 64 MiB: as large as the drive behind it. Guards R8.1. The drive has two
# interrupt vectors, so that there can be one I/O queue, whatever the number of
# CPUs. Guards R8.2: memory set aside for queues that there cannot be.
#
# topology: cmb-64
# kernels: normal
# timeout: 90
# tags: nvme cmb

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=cmb-lib.sh
. "$(dirname "$0")/cmb-lib.sh"

one_queue()
{
	bind_anew
	check_log "one queue" "1 submission queues of [0-9]+ entries in the CMB"
	check_equal "queues" "$(trim "/sys/class/nvme/$(ctrl_of cmb)/queue_count")" 2
}

cmb_cases $((64 * MIB))
add "R8.2: memory for the queues that there can be" one_queue
add "R8.1 R8.4: a copy through it" copy_through_it
run_cases

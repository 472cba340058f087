#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A switch below a switch: distance counts each bridge on a leg, and the nearer
# provider is preferred.
#
# Guards R2.2 and R2.5 with the closest common bridge at two levels.
#
# topology: switch-nested
# kernels: normal
# timeout: 60
# tags: topology

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=topology-lib.sh
. "$(dirname "$0")/topology-lib.sh"

require_topology src dst cmb

verdicts()
{
	local lower upper

	use_provider_sample publish=1
	check_reached "$src_bdf" "$dst_bdf" 4 bus
	check_reached "$dst_bdf" "$src_bdf" 4 bus
	check_reached "$cmb_bdf" "$mem_bdf" 4 bus
	check_reached "$mem_bdf" "$cmb_bdf" 4 bus
	for lower in "$cmb_bdf" "$mem_bdf"; do
		for upper in "$src_bdf" "$dst_bdf"; do
			check_reached "$lower" "$upper" 6 bus
			check_reached "$upper" "$lower" 6 bus
		done
	done
}

add "R2.4 R2.5 R3.1: every pair" verdicts
# For clients of both levels the sum counts: 6 + 0 against 6 + 4.
add "R2.2: the nearest provider, however much another has free" own_memory_first
add "R3.1 N25: the data, through the drive one level below" copy_through "$cmb_bdf"
add "R3.1 N25: the data, through the memory one level below" through_third_party
run_cases

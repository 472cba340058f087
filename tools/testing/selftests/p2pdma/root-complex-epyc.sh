#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Root ports on a CPU whose root complex routes: AMD's, from Zen on.
#
# Guards R2.6: paths through the root complex are accepted without being asked
# for, mapped by CPU physical address, and the data arrives.
#
# topology: two-root-ports
# cpu: EPYC
# kernels: normal
# timeout: 60
# tags: topology map host

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=topology-lib.sh
. "$(dirname "$0")/topology-lib.sh"

require_topology src dst cmb
distance_here=$((ROOT_COMPLEX + 4))

verdicts()
{
	every_pair check_reached "$distance_here" physical
	check_reached "$cmb_bdf" "$cmb_bdf" 0 bus
	check_refused "$mem_bdf" "$mem_bdf" "$(refused_by_itself "$mem_bdf" "$mem_bdf")"
}

# The parameter only adds.
nothing_to_add()
{
	allow_host_bridges 1234:5678
	check_reached "$cmb_bdf" "$src_bdf" "$distance_here" physical
	echo >"$ALLOW"
	check_reached "$cmb_bdf" "$src_bdf" "$distance_here" physical
}

masks()
{
	local id

	narrow_mask physical
	id=$(p2p_value id sgl "$cmb_bdf" 64K)
	check_fails mapping "Remote I/O error" p2p map "$mem_bdf" "$id"
	# What dma_map_sgtable() says about ordinary memory, too
	check_fails "the DMA API" "Input/output error" p2p dma-map "$mem_bdf" "$id"
	p2p free "$id"
}

add "R2.5 R2.6: every pair" verdicts
add "R2.2: a drive's own CMB is still best" own_memory_first
add "R2.6 N25: the data, through a drive" copy_through "$cmb_bdf" $((16 * MIB))
add "R2.6 N25: the data, through a third party" through_third_party
add "R2.6: the parameter has nothing to add" nothing_to_add
add "R3.2: an address mask that the provider is not in" masks
run_cases

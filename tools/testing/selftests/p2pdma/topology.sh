#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Verdict, distance and mapping of every pair of functions below one switch.
#
# Guards R2.4 and R2.5 on the simplest machine: every function whose BARs could
# be wanted, with or without a region, as every other one sees it, and a client
# with an address mask into which the provider does not fit (R3.2).
#
# topology: switch
# kernels: normal
# timeout: 60
# tags: topology map

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=topology-lib.sh
. "$(dirname "$0")/topology-lib.sh"

require_topology src dst cmb

its_own()
{
	use_provider_sample publish=1
	check_reached "$cmb_bdf" "$cmb_bdf" 0 bus
	check_refused "$mem_bdf" "$mem_bdf" "$(refused_by_itself "$mem_bdf" "$mem_bdf")"
	check_refused "$src_bdf" "$src_bdf" "$(refused_by_itself "$src_bdf" "$src_bdf")"
}

# The ports are functions as well: edges up to the switch, or to the root.
ports()
{
	local up

	up=$(port_of "$src_port")
	check_reached "$cmb_bdf" "$src_port" 3 bus
	check_refused "$cmb_bdf" "$up" \
		"$(refused_by_root_complex "$cmb_bdf" "$up" "$(host_bridge_of "$cmb_bdf")")"
}

masks()
{
	narrow_mask bus
	check_maps_not "$cmb_bdf" "$mem_bdf"
}

add "R2.4 R2.5 R3.1: every pair" every_pair check_reached 4 bus
add "R1.12 R2.8: a function and its own memory" its_own
add "R2.5: ports of the switch as clients" ports
add "R3.1 N25: the data" copy_through "$cmb_bdf"
add "R3.2: an address mask that the provider is not in" masks
run_cases

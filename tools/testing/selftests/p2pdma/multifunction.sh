#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Provider and client are functions of one device.
#
# Guards R2.5: they are at distance 2, without any port between them, so that
# what the port above them redirects does not matter; and one in another slot is
# not taken for one of them.  QEMU's functions have no ACS of their own; KUnit
# has those that redirect.
#
# topology: multifunction
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
	check_equal "the device of src" "${src_bdf%.*}" "${cmb_bdf%.*}"
	check_reached "$cmb_bdf" "$src_bdf" 2 bus
	check_reached "$src_bdf" "$cmb_bdf" 2 bus
	check_reached "$cmb_bdf" "$dst_bdf" 4 bus
	check_reached "$dst_bdf" "$cmb_bdf" 4 bus
	check_reached "$dst_bdf" "$src_bdf" 4 bus
	check_reached "$cmb_bdf" "$cmb_bdf" 0 bus
}

data()
{
	copy_through "$cmb_bdf"
	# From one function to the other
	wipe "$cmb" 0 $((4 * MIB))
	copy "$src" "$cmb" 0 0 4M
	check_all_p2p "$cmb_bdf" $((4 * MIB))
	check_equal "the data" "$(sum_of "$cmb" 0 $((4 * MIB)))" \
		"$(sum_of "$src" 0 $((4 * MIB)))"
}

port_redirects()
{
	acs_capable "$cmb_port" "$RR" || skip "the port has no ACS"
	acs_until_end "$cmb_port"
	acs_write "$cmb_port" $((SV | RR | CR | UF))
	check_reached "$cmb_bdf" "$src_bdf" 2 bus
	check_reached "$src_bdf" "$cmb_bdf" 2 bus
	check_refused "$cmb_bdf" "$dst_bdf" \
		"$(refused_by_acs "$cmb_bdf" "$dst_bdf" "$cmb_port")"
}

add "R2.4 R2.5 R3.1: every pair" verdicts
add "R2.5: the port above both redirects" port_redirects
add "R3.1 N25: the data" data
run_cases

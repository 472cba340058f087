#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Two host bridges, with a CPU of a family that routes.
#
# Guards R2.6: accepted across host bridges, and the data arrives.
#
# topology: host-bridges
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

verdicts()
{
	local provider client

	use_provider_sample publish=1
	for provider in "$cmb_bdf" "$mem_bdf"; do
		for client in "$src_bdf" "$dst_bdf"; do
			check_reached "$provider" "$client" $((ROOT_COMPLEX + 4)) physical
			check_reached "$client" "$provider" $((ROOT_COMPLEX + 4)) physical
		done
	done
	check_reached "$cmb_bdf" 0000:00:1f.2 $((ROOT_COMPLEX + 3)) physical
}

add "R2.5 R2.6: every pair" verdicts
add "R2.6 N25: the data" copy_through "$cmb_bdf"
run_cases

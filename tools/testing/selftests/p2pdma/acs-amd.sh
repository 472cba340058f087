#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# AMD with an IOMMU: every port redirects, and the root complex routes.
#
# Guards R2.5 and R2.6: redirected paths are legal here without being asked for,
# mapped by CPU physical address, and behind every path within the switch (N14).
#
# topology: switch-acs
# cpu: EPYC
# iommu: amd-pt
# kernels: normal
# timeout: 60
# tags: acs topology map iommu host

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=topology-lib.sh
. "$(dirname "$0")/topology-lib.sh"

require_topology src dst cmb
redirected=$((ROOT_COMPLEX + 8))
((0x$(acs_of "$src_port") & RR)) || skip_all "the kernel did not turn ACS on"

ranked_last()
{
	local list port

	acs_until_end "$src_port" "$dst_port" "$mem_port"
	defer p2p free-all
	use_provider_sample publish=1
	p2p alloc "$mem_bdf" 8M >/dev/null
	new_list "$src_bdf" "$dst_bdf"
	check_equal "best while all are redirected" "$(found "$list")" "$cmb_bdf"
	for port in "$src_port" "$dst_port" "$mem_port"; do
		acs_write "$port" $((SV | UF))
	done
	new_list "$src_bdf" "$dst_bdf"
	check_equal "best when one is not" "$(found "$list")" "$mem_bdf"
	p2p free-all
	copy_through "$mem_bdf"
}

add "R2.5 R2.6: every pair" every_pair check_reached "$redirected" physical
add "R2.6 N25: the data" copy_through "$cmb_bdf"
add "R2.6 N14: behind every path within the switch" ranked_last
run_cases

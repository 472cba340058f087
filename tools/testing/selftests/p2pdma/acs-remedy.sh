#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The remedy for ACS, pasted from a refusal to the kernel command line.
#
# Guards R2.8 and R4.3: what the message says must work as it is, and
# pci=config_acs= as well, where an IOMMU makes the kernel turn ACS on. Other
# ports go on redirecting.
#
# topology: switch-acs
# iommu: intel-pt
# cmdline: pci=disable_acs_redir=0000:02:02.0;0000:02:00.0
# cmdline: pci=config_acs=xxx00xx@0000:02:01.0
# kernels: normal
# timeout: 60
# tags: acs topology iommu

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=topology-lib.sh
. "$(dirname "$0")/topology-lib.sh"

require_topology src dst cmb

# The refusal as it would be without the parameter
same_as_pasted()
{
	local distance text

	acs_until_end "$src_port" "$cmb_port"
	acs_write "$src_port" $((SV | RR | CR | UF))
	acs_write "$cmb_port" $((SV | RR | CR | UF))
	said "$cmb_bdf" "$src_bdf"
	grep -F -- " ${text##* } " /proc/cmdline >/dev/null ||
		fail "this machine was not started with '${text##* }'"
}

# The other bits are as firmware left them, which is what the parameters of 6.12
# mean; QEMU's leaves them off.
these_ports()
{
	local port

	for port in "$src_port" "$dst_port" "$cmb_port"; do
		check_equal "redirects of $port" "$((0x$(acs_of "$port") & (RR | CR | EC)))" 0
	done
	check_equal "ACS of $mem_port" "$((0x$(acs_of "$mem_port")))" \
		$((SV | RR | CR | UF))
}

it_works()
{
	check_reached "$cmb_bdf" "$src_bdf" 4 bus
	check_reached "$cmb_bdf" "$dst_bdf" 4 bus
	copy_through "$cmb_bdf"
}

for_these_only()
{
	use_provider_sample publish=1
	check_refused "$mem_bdf" "$src_bdf" \
		"$(refused_by_acs "$mem_bdf" "$src_bdf" "$mem_port")"
	without_cmb
	copy_through_host "$(refused_by_acs "$mem_bdf" "$src_bdf" "$mem_port")"
}

# With the IOMMU in passthrough the root complex is as without one.
host_bridge_as_well()
{
	allow_host_bridges "$(host_bridge_of "$src_bdf")"
	through_third_party
	check_reached "$mem_bdf" "$src_bdf" $((ROOT_COMPLEX + 8)) physical
}

add "R2.8: what the refusal says is what was pasted" same_as_pasted
add "R4.3: these ports do not redirect, others do" these_ports
add "R2.8 R4.3 N25: the path is good, and the data right" it_works
add "R2.8: a port that was not named goes on redirecting" for_these_only
add "R2.6 N25: the host bridge as the other remedy" host_bridge_as_well
run_cases

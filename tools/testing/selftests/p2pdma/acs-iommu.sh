#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# An IOMMU that translates, which makes the kernel turn ACS on in every port.
#
# Guards R2.5 to R2.8: below the switch everything is redirected; refused, with
# the ports named, until the host bridge is known to route. Then the path is
# through the IOMMU, and the data is right.
#
# QEMU does not route within a switch: what has a bus address would go to the
# IOMMU, and be lost. So no data is moved by bus address here.
#
# topology: switch-acs
# iommu: intel
# kernels: normal
# timeout: 60
# tags: acs topology map iommu

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=topology-lib.sh
. "$(dirname "$0")/topology-lib.sh"

require_topology src dst cmb
require_translation
redirected=$((ROOT_COMPLEX + 8))

turned_on()
{
	local port

	for port in "$src_port" "$dst_port" "$cmb_port" "$mem_port"; do
		check_equal "ACS of $port" "$((0x$(acs_of "$port")))" $((SV | RR | CR | UF))
	done
}

refused()
{
	use_provider_sample publish=1
	check_refused "$cmb_bdf" "$src_bdf" \
		"$(refused_by_acs "$cmb_bdf" "$src_bdf" "$cmb_port;$src_port")"
	check_refused "$mem_bdf" "$dst_bdf" \
		"$(refused_by_acs "$mem_bdf" "$dst_bdf" "$mem_port;$dst_port")"
	copy_through_host \
		"$(refused_by_acs "$cmb_bdf" "$src_bdf" "$cmb_port;$src_port")" \
		"$(refused_by_acs "$mem_bdf" "$src_bdf" "$mem_port;$src_port")"
}

through_the_iommu()
{
	use_provider_sample publish=1
	allow_host_bridges "$(host_bridge_of "$src_bdf")"
	check_reached "$cmb_bdf" "$src_bdf" "$redirected" iova
	check_reached "$cmb_bdf" "$dst_bdf" "$redirected" iova
	check_reached "$mem_bdf" "$src_bdf" "$redirected" iova
	check_reached "$cmb_bdf" "$cmb_bdf" 0 bus
	unload p2pdma_provider
	copy_through "$cmb_bdf"
}

# Below the switch by bus address, as soon as nothing redirects any more; also
# where the DMA API maps the pages between them for the IOMMU.
by_bus_address()
{
	local order

	acs_until_end "$src_port" "$cmb_port"
	allow_host_bridges "$(host_bridge_of "$src_bdf")"
	acs_write "$src_port" $((SV | UF))
	check_reached "$cmb_bdf" "$src_bdf" "$redirected" iova
	acs_write "$cmb_port" $((SV | UF))
	check_reached "$cmb_bdf" "$src_bdf" 4 bus
	for order in hp ph hph php hphphphp; do
		check_mixed "$cmb_bdf" "$src_bdf" "$order" iova
	done
}

# A path that changes while the memory is mapped is undone as it was made.
mapped_the_other_way()
{
	local id

	acs_until_end "$src_port" "$cmb_port"
	defer p2p free-all
	allow_host_bridges "$(host_bridge_of "$src_bdf")"
	id=$(p2p_value id sgl "$cmb_bdf" 100001)
	p2p map "$src_bdf" "$id" >/dev/null
	acs_write "$src_port" $((SV | UF))
	acs_write "$cmb_port" $((SV | UF))
	p2p unmap "$id"
	p2p map "$src_bdf" "$id" >/dev/null
	acs_write "$cmb_port" $((SV | RR | CR | UF))
	p2p unmap "$id"
	check_maps "$cmb_bdf" "$src_bdf" iova
}

add "R4.1: the policy keep leaves ACS as the kernel turned it on" turned_on
add "R2.5 R2.8: refused, with the ports named" refused
add "R2.5 R2.6 N25: through the IOMMU, and the data" through_the_iommu
add "R2.7 R3.1 R3.3 N10: by bus address, once nothing redirects" by_bus_address
add "R3.2: unmapped as it was mapped" mapped_the_other_way
run_cases

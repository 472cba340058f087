#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# p2pdma.acs=path where an IOMMU isolates the devices below the switch from each
# other.
#
# Guards R4.2: no port is opened, because the devices that could then reach each
# other are in different IOMMU groups; the refusal says so, beside the remedy.
#
# topology: switch-acs
# iommu: intel-pt
# cmdline: p2pdma.acs=path
# kernels: normal
# timeout: 60
# tags: acs iommu

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=topology-lib.sh
. "$(dirname "$0")/topology-lib.sh"

require_topology src dst cmb
require_policy path

why=' p2pdma\.acs=path does not open them, because [0-9a-f:.]* and [0-9a-f:.]* '
why+='are in different IOMMU groups;'

untouched()
{
	local port

	for port in "$src_port" "$dst_port" "$cmb_port"; do
		check_equal "ACS of $port" "$((0x$(acs_of "$port")))" \
			$((SV | RR | CR | UF))
	done
}

check_reason()
{
	check_match "the refusal" "$1" "$why"
	check_equal "the refusal, apart from that" "${1/${BASH_REMATCH[0]}/}" \
		"$(refused_by_acs "$cmb_bdf" "$src_bdf" "$cmb_port;$src_port")"
}

refused()
{
	local list

	untouched
	new_list "$src_bdf"
	check_equal found "$(found "$list")" none
	check_reason "$(p2p list-explain "$list")"
	check_fails "assigning it" "Invalid cross-device link" \
		p2p list-assign "$list" "$cmb_bdf"
	check_maps_not "$cmb_bdf" "$src_bdf"
	untouched
}

by_system_memory()
{
	wipe "$dst" 0 $((2 * MIB))
	copy "$src" "$dst" 0 0 2M
	check_reason "$(report reason)"
	check_all_host $((2 * MIB)) "$(report reason)"
	check_copied 0 0 $((2 * MIB))
	untouched
}

add "R4.2 R2.8: refused, with the reason" refused
add "R4.2 N25: a copy goes through system memory" by_system_memory
run_cases

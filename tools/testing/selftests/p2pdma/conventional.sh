#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A provider on a conventional PCI bus, behind a PCIe-to-PCI bridge below a switch.
#
# Guards R2.5: refused with a reason of its own, in both directions, and no
# host bridge that routes changes that (R2.6).
#
# topology: conventional
# kernels: normal
# timeout: 60
# tags: topology

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=topology-lib.sh
. "$(dirname "$0")/topology-lib.sh"

require_topology src dst

verdicts()
{
	local drive

	use_provider_sample publish=1
	for drive in "$src_bdf" "$dst_bdf"; do
		check_refused "$mem_bdf" "$drive" \
			"$(refused_by_conventional_pci "$mem_bdf" "$drive")"
		check_refused "$drive" "$mem_bdf" \
			"$(refused_by_conventional_pci "$drive" "$mem_bdf")"
	done
	check_reached "$src_bdf" "$dst_bdf" 4 bus
}

not_used()
{
	use_provider_sample publish=1
	copy_through_host "$(refused_by_conventional_pci "$mem_bdf" "$src_bdf")"
}

no_host_bridge_helps()
{
	use_provider_sample publish=1
	allow_host_bridges "$(host_bridge_of "$src_bdf")"
	check_refused "$mem_bdf" "$src_bdf" \
		"$(refused_by_conventional_pci "$mem_bdf" "$src_bdf")"
}

add "R2.5 R2.8: every pair" verdicts
add "R2.5 R2.8: not used, and the reason is said" not_used
add "R2.6: also where the host bridge routes" no_host_bridge_helps
run_cases

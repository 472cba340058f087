#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Ports that redirect from boot on, without an IOMMU.
#
# Guards R2.5: the first verdict ever must know what was set before there was
# anybody to ask (N11), here by pci=config_acs=.
#
# topology: switch-acs
# cmdline: pci=config_acs=xxx01xx@0000:02:00.0;xxx10xx@0000:02:03.0
# kernels: normal
# timeout: 60
# tags: acs topology

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=topology-lib.sh
. "$(dirname "$0")/topology-lib.sh"

require_topology src dst cmb

from_the_start()
{
	use_provider_sample publish=1
	check_equal "ACS of $src_port" "$((0x$(acs_of "$src_port")))" $((RR))
	check_equal "ACS of $mem_port" "$((0x$(acs_of "$mem_port")))" $((CR))
	check_refused "$cmb_bdf" "$src_bdf" \
		"$(refused_by_acs "$cmb_bdf" "$src_bdf" "$src_port")"
	check_refused "$mem_bdf" "$dst_bdf" \
		"$(refused_by_acs "$mem_bdf" "$dst_bdf" "$mem_port")"
	check_reached "$cmb_bdf" "$dst_bdf" 4 bus
	copy_through_host \
		"$(refused_by_acs "$cmb_bdf" "$src_bdf" "$src_port")" \
		"$(refused_by_acs "$mem_bdf" "$src_bdf" "$mem_port;$src_port")"
}

until_changed()
{
	acs_until_end "$src_port"
	acs_write "$src_port" 0
	check_reached "$cmb_bdf" "$src_bdf" 4 bus
	copy_through "$cmb_bdf"
}

add "R2.5 R2.8 N11: refused from the start" from_the_start
add "R2.7 N11: until it is changed" until_changed
run_cases

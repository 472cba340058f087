#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Two host bridges: provider and client meet nowhere.
#
# Guards R2.6: both host bridges must be known to route, the remedy names what is
# missing, by the lowest function where there is no function 00.0 that is a host
# bridge; and a mistake on the kernel command line is named and allows nothing.
#
# topology: host-bridges
# cmdline: p2pdma.allow_host_bridge=8086:29c0;1b36:000c
# kernels: normal
# timeout: 60
# tags: topology map host

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=topology-lib.sh
. "$(dirname "$0")/topology-lib.sh"

require_topology src dst cmb
# The drives' host bridges, and that of the machine's own devices
theirs=$(host_bridge_of "$cmb_bdf")
root_bus=0000:00:1f.2
its=$(host_bridge_of "$root_bus")
distance_here=$((ROOT_COMPLEX + 4))

on_the_command_line()
{
	grep -q 'p2pdma.allow_host_bridge=8086:29c0;1b36:000c' /proc/cmdline ||
		skip "not started with that mistake"
	check_equal "the parameter" "$(<"$ALLOW")" ""
	dmesg | grep -F "p2pdma: allow_host_bridge: \"8086:29c0;1b36:000c\" $not_an_id" \
		>/dev/null ||
		fail "the offending word was not named"
}

refused()
{
	local drive

	use_provider_sample publish=1
	check_equal "of src, too" "$(host_bridge_of "$src_bdf")" "$theirs"
	check_differ "of other devices" "$its" "$theirs"
	for drive in "$src_bdf" "$dst_bdf"; do
		check_refused "$cmb_bdf" "$drive" \
			"$(refused_by_root_complex "$cmb_bdf" "$drive" "$theirs")"
		check_refused "$mem_bdf" "$drive" \
			"$(refused_by_root_complex "$mem_bdf" "$drive" "$theirs")"
	done
	check_refused "$src_bdf" "$dst_bdf" \
		"$(refused_by_root_complex "$src_bdf" "$dst_bdf" "$theirs")"
	check_refused "$cmb_bdf" "$root_bus" \
		"$(refused_by_root_complex "$cmb_bdf" "$root_bus" "$theirs,$its")"
}

allowed()
{
	use_provider_sample publish=1
	allow_host_bridges "$theirs"
	check_reached "$cmb_bdf" "$src_bdf" "$distance_here" physical
	check_reached "$mem_bdf" "$dst_bdf" "$distance_here" physical
	check_reached "$mem_bdf" "$cmb_bdf" "$distance_here" physical
	unload p2pdma_provider
	copy_through "$cmb_bdf"
}

one_is_not_enough()
{
	local only

	for only in "$theirs,$its" "$its,$theirs"; do
		allow_host_bridges "${only%,*}"
		check_refused "$cmb_bdf" "$root_bus" \
			"$(refused_by_root_complex "$cmb_bdf" "$root_bus" "$only")"
	done
	echo "$only" >"$ALLOW"
	check_reached "$cmb_bdf" "$root_bus" $((distance_here - 1)) physical
}

add "R2.6: a mistake on the kernel command line" on_the_command_line
add "R2.6 R2.8 N7: refused, with the host bridges named" refused
add "R2.6 N25: allowed, and the data" allowed
add "R2.6: both of them must be known" one_is_not_enough
run_cases

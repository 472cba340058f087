#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# An IOMMU that translates, in a machine whose root complex is said to route, by
# the remedy on the kernel command line.
#
# Guards R2.6 and R3.3: peer memory behind the root complex is mapped through
# the DMA API, so that the IOMMU knows it, also in one list with other memory;
# and never for an untrusted device, whose lists take another way in the DMA
# API, through bounce buffers.
#
# topology: two-root-ports
# iommu: intel
# cmdline: p2pdma.allow_host_bridge=8086:29c0
# kernels: normal debug
# debug-cases: mixed|untrusted
# timeout: 60
# tags: topology map iommu host

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=topology-lib.sh
. "$(dirname "$0")/topology-lib.sh"

require_topology src dst cmb
require_translation
distance_here=$((ROOT_COMPLEX + 4))

pasted()
{
	local bridge

	bridge=$(host_bridge_of "$src_bdf")
	grep -q "p2pdma.allow_host_bridge=$bridge\>" /proc/cmdline ||
		fail "the machine was not started with the remedy for $bridge"
	check_equal "the parameter" "$(<"$ALLOW")" "$bridge"
}

# ACS is on at all root ports; it does not matter there.
verdicts()
{
	acs_capable "$src_port" "$RR" || skip "the root ports have no ACS"
	((0x$(acs_of "$src_port") & RR)) || fail "the kernel did not turn ACS on"
	every_pair check_reached "$distance_here" iova
	check_reached "$cmb_bdf" "$cmb_bdf" 0 bus
}

# The DMA API may put entries together, so that only their sum is known.
mixed()
{
	local id order bar size words

	defer p2p free-all
	read -r bar size < <(bar_of "$cmb_bdf" 2)
	id=$(p2p_value id alloc "$cmb_bdf" 32K)
	for order in hp ph hph php hhpphhpp; do
		read -r -a words <<<"$(p2p dma-map-mixed "$src_bdf" "$id" "$order")"
		entries_are iova "$bar" "$size" $((4096 * ${#order})) "${words[@]:2}"
	done
}

# Mapped while it was allowed; unmapped when it no longer is.
taken_back()
{
	local id other

	defer p2p free-all
	id=$(p2p_value id sgl "$cmb_bdf" 100001)
	other=$(p2p_value id sgl "$cmb_bdf" 100001)
	p2p map "$src_bdf" "$id" >/dev/null
	p2p dma-map "$src_bdf" "$other" >/dev/null
	allow_host_bridges ""
	check_maps_not "$cmb_bdf" "$src_bdf"
	p2p unmap "$id"
	p2p unmap "$other"
	copy_through_host \
		"$(refused_by_root_complex "$cmb_bdf" "$src_bdf" "$(host_bridge_of "$src_bdf")")"
}

# An address that unmapping does not give back is lost: mem has 4 GiB of them.
given_back()
{
	local id i

	defer p2p free-all
	id=$(p2p_value id sgl "$cmb_bdf" 8M)
	for ((i = 0; i < 600; i++)); do
		p2p map "$mem_bdf" "$id" >/dev/null
		p2p unmap "$id"
	done
}

# Whole pages, of which no bounce buffer would be made, and others.
untrusted()
{
	local id length

	defer p2p free-all
	defer p2p untrusted "$mem_bdf" 0
	p2p untrusted "$mem_bdf" 1
	for length in 512 4096 65536 100001; do
		id=$(p2p_value id sgl "$cmb_bdf" "$length")
		check_fails "$length bytes by the DMA API" "Remote I/O error" \
			p2p dma-map "$mem_bdf" "$id"
		check_fails "$length bytes" "Remote I/O error" p2p map "$mem_bdf" "$id"
	done
	id=$(p2p_value id alloc "$cmb_bdf" 32K)
	for length in hp ph hhhhhhhp; do
		check_fails "mixed, $length" "Remote I/O error" \
			p2p dma-map-mixed "$mem_bdf" "$id" "$length"
	done
	p2p dma-map-mixed "$mem_bdf" "$id" hhh >/dev/null
	p2p untrusted "$mem_bdf" 0
	check_maps "$cmb_bdf" "$mem_bdf" iova
}

add "R2.6 R2.8: the remedy on the kernel command line" pasted
add "R2.6 R3.3: every pair" verdicts
add "R2.6 N25: the data, through a drive" copy_through "$cmb_bdf" $((16 * MIB))
add "R2.6 N25: the data, through a third party" through_third_party
add "R3.3 N10: both kinds of memory in one list" mixed
add "R2.7 N11: taken back while mapped" taken_back
add "R3.2: unmapping gives the addresses back" given_back
add "R3.3: nothing for an untrusted device" untrusted
run_cases

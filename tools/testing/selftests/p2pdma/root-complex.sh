#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Drives and memory below root ports of their own: they meet only in the root
# complex, which need not route between its ports.
#
# Guards R2.6, R2.8 and N7: such a pair must not be used without being allowed,
# the reason must be said, and the copy goes through system memory.
#
# topology: two-root-ports
# kernels: normal
# timeout: 60
# tags: core clients

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

require_copies src dst cmb

refused()
{
	wipe "$dst" 0 $((8 * MIB))
	copy "$src" "$dst" 0 0 8M
	check_equal provider "$(report provider)" none
	check_all_host $((8 * MIB)) "$(refused_by_root_complex "$cmb_bdf" "$src_bdf" \
		"$(host_bridge_of "$src_bdf")")"
	check_copied 0 0 $((8 * MIB))
}

distances()
{
	local from to

	for from in "$src_bdf" "$dst_bdf"; do
		for to in "$cmb_bdf" "$(bdf_of mem)"; do
			[[ $(p2p_value distance distance "$to" "$from") == -* ]] ||
				fail "$from reaches $to"
		done
	done
	check_equal "its own" "$(p2p_value distance distance "$cmb_bdf" "$cmb_bdf")" 0
}

# A drive always reaches its own CMB.
own_cmb()
{
	wipe "$cmb" $((8 * MIB)) $((4 * MIB))
	fill "$cmb" 0 $((4 * MIB)) /dev/urandom
	copy "$cmb" "$cmb" 0 8M 4M
	check_all_p2p "$cmb_bdf" $((4 * MIB))
	check_equal "the data" "$(sum_of "$cmb" $((8 * MIB)) $((4 * MIB)))" \
		"$(sum_of "$cmb" 0 $((4 * MIB)))"
}

mapping()
{
	local id

	defer p2p free-all
	id=$(p2p_value id sgl "$cmb_bdf" 64K)
	check_fails "mapping for src" "Remote I/O error" p2p map "$src_bdf" "$id"
	check_fails "mapping for src by the DMA API" "Remote I/O error" \
		p2p dma-map "$src_bdf" "$id"
}

add "R2.6 R2.8 N7: not used, and the reason is said" refused
add "R2.4 N7: no distance" distances
add "R1.12: within one drive its own CMB serves" own_cmb
# The driver of src takes peer memory, but src does not reach this. In the
# background: a request that is queued again for ever cannot be killed.
refused_io()
{
	local file=$PCI/$cmb_bdf/p2pmem/allocate layout out pid

	out=$(mktemp)
	defer rm -f "$out"
	for layout in p pp pppppppp; do
		"$here/block_buffer" io "$src" "$file" "$layout" 0 >"$out" &
		pid=$!
		end_of "$pid" "$layout: I/O" || fail "$layout: $(<"$out")"
		check_equal "$layout" "$(<"$out")" \
			"written=0 write_error=121 read=0 read_error=121"
	done
}

add "R8.4 N16: I/O that cannot be mapped fails, and soon" refused_io
add "R3.2 R3.3: mapping is refused for good" mapping
run_cases
